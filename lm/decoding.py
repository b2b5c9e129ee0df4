"""Decoding a token a row at a time without copying the cache, on which transformers' own loop spends most of its time.

At every step transformers concatenates each layer's keys and values anew, and where a mask stands beside grouped
queries it first writes them out once for every query head. Here new ones are written in place, and a group's queries
share theirs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ROOM = 64  # tokens that a full cache grows by: one copy in 64 steps instead of one a step
GROUPED = "rung_grouped"


class RoomyLayer(DynamicLayer):
    """Keys and values (B, heads, T, D) as views of longer buffers: a new token is written and nothing copied."""

    room: tuple[torch.Tensor, ...]

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> tuple[Any, Any]:
        begin = self.get_seq_length()
        end = begin + key_states.shape[-2]
        if not self.is_initialized or end > self.room[0].shape[-2]:
            self.dtype, self.device = key_states.dtype, key_states.device
            longer = tuple(x.new_empty((*x.shape[:-2], end + ROOM, x.shape[-1])) for x in (key_states, value_states))
            if begin:
                for new, old in zip(longer, self.room, strict=True):
                    new[..., :begin, :] = old[..., :begin, :]
            self.room, self.is_initialized = longer, True
        for room, new in zip(self.room, (key_states, value_states), strict=True):
            room[..., begin:end, :] = new
        self._show(end)
        return self.keys, self.values

    def batch_repeat_interleave(self, repeats: int) -> None:
        self._replace([x.repeat_interleave(repeats, 0) for x in self.room])

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        self._replace([x.index_select(0, indices) for x in self.room])

    def _replace(self, room: list[torch.Tensor]) -> None:
        length = self.get_seq_length()
        self.room = tuple(room)
        self._show(length)

    def _show(self, length: int) -> None:
        self.keys, self.values = (x[..., :length, :] for x in self.room)


def roomy_cache(model: "PreTrainedModel") -> DynamicCache:
    """The model's own kind of cache, with its full-attention layers as ``RoomyLayer``."""
    cache = DynamicCache(config=model.config)
    cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **rest: Any,
) -> tuple[torch.Tensor, None]:
    """Transformers' SDPA attention; for one query a row, the query heads that share a key head are run as so many
    queries of it: query (B, G·K, 1, D), key and value (B, K, T, D) -> (B, 1, G·K, D)."""
    rows, heads, queries, _ = query.shape
    by_head = attention_mask is not None and attention_mask.shape[1] > 1
    if queries > 1 or by_head or rest.get("position_bias") is not None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **rest)
    shared = key.shape[1]
    out = torch.nn.functional.scaled_dot_product_attention(
        query.view(rows, shared, heads // shared, -1), key, value, attn_mask=attention_mask, scale=scaling
    )
    return out.reshape(rows, 1, heads, -1), None


@contextmanager
def decoding(model: "PreTrainedModel") -> Iterator[None]:
    """Within it the model runs without gradients or dropout, and its SDPA attention as ``grouped_attention``."""
    AttentionInterface.register(GROUPED, grouped_attention)
    AttentionMaskInterface.register(GROUPED, sdpa_mask)
    config: Any = model.config
    attention, training = config._attn_implementation, model.training
    model.eval()
    try:
        if attention == "sdpa":
            config._attn_implementation = GROUPED
        with torch.inference_mode():
            yield
    finally:
        config._attn_implementation = attention
        model.train(training)
