"""The cache that is written in place and the attention of grouped queries, against transformers' own."""

import contextlib

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from lm.decoding import ROOM, decoding, grouped_attention, roomy_cache


@pytest.fixture
def grouped_model() -> Qwen2ForCausalLM:
    """Four query heads on two of keys, as in most models of today."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, attn_implementation="sdpa",
    )  # fmt: skip
    return Qwen2ForCausalLM(config)


def test_steps_from_the_cache_give_the_logits_of_a_whole_pass(grouped_model: Qwen2ForCausalLM) -> None:
    rows, width, steps = 3, 5, ROOM + 8  # far enough for the cache to grow
    ids = torch.randint(0, 50, (rows, width + steps), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[0, :3] = 0  # a prompt padded on the left
    places = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        whole = grouped_model(input_ids=ids, attention_mask=mask, position_ids=places).logits
    kept = torch.tensor([0, 2, 2])
    with decoding(grouped_model):
        cache = roomy_cache(grouped_model)
        for begin, end in [(0, width), *((t, t + 1) for t in range(width, width + steps))]:
            if begin == width + 10:  # row 1 leaves, row 2 doubles
                cache.batch_select_indices(kept)
                ids, mask, places, whole = ids[kept], mask[kept], places[kept], whole[kept]
            out = grouped_model(
                input_ids=ids[:, begin:end], attention_mask=mask[:, :end], position_ids=places[:, begin:end],
                past_key_values=cache, use_cache=True,
            )  # fmt: skip
            real = mask[:, begin:end].bool()
            torch.testing.assert_close(out.logits[real], whole[:, begin:end][real], atol=1e-5, rtol=1e-4)
        assert cache.get_seq_length() == width + steps
        assert cache.layers[0].keys.data_ptr() == cache.layers[0].room[0].data_ptr()


def test_what_decoding_changes_is_put_back(grouped_model: Qwen2ForCausalLM) -> None:
    grouped_model.train()
    with contextlib.suppress(KeyError), decoding(grouped_model):
        assert not grouped_model.training
        assert torch.is_inference_mode_enabled()
        raise KeyError
    assert grouped_model.training
    assert grouped_model.config._attn_implementation == "sdpa"
    grouped_model.set_attn_implementation("eager")
    with decoding(grouped_model):
        assert grouped_model.config._attn_implementation == "eager"


@pytest.mark.parametrize("masked", [True, False])
def test_grouped_queries_see_what_repeated_keys_show_them(masked: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, heads, t, 8, generator=generator) for heads, t in ((6, 1), (2, 7), (2, 7)))
    mask = torch.ones(2, 1, 1, 7, dtype=torch.bool)
    if masked:
        mask[1, ..., :3] = False
    out, _ = grouped_attention(torch.nn.Module(), query, key, value, mask, scaling=0.3)
    wide = [x.repeat_interleave(3, 1) for x in (key, value)]
    scores = (0.3 * query @ wide[0].mT).masked_fill(~mask, -torch.inf)
    torch.testing.assert_close(out, (scores.softmax(-1) @ wide[1]).transpose(1, 2))
