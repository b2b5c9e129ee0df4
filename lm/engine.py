"""Sampling: prompts in, completions with exact log-probs out. One protocol; transformers is the first engine of it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from lm.config import key
from lm.lora import plain_weights

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn from a model."""

    temperature: float = key(1.0, "divides the logits; 0 is greedy", low=0)
    top_p: float = key(1.0, "nucleus: the fewest tokens that have this much probability; 1 keeps all", low=0, high=1)
    max_tokens: int = key(96, "longest completion, in tokens; one that reaches it is cut", low=1)
    n: int = key(1, "completions of each prompt", low=1)


@dataclass(frozen=True)
class Completion:
    """What the model wrote after a prompt.

    ``token_ids`` (n,) ends in EOS exactly when ``finish`` is "stop". ``logprobs`` (n,) float32 are those of the sampled
    tokens under softmax(logits / temperature) before nucleus truncation (temperature 1 where sampling is greedy).
    """

    token_ids: tuple[int, ...]
    logprobs: np.ndarray
    finish: Literal["stop", "length"]


class Engine(Protocol):
    """Anything that samples. ``generate`` returns n completions a prompt, those of one prompt side by side."""

    def load_weights(self, model: "PreTrainedModel") -> None: ...

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        seed: int,
        advance: Callable[[int], None] | None = None,
    ) -> list[Completion]: ...


class TransformersEngine:
    """Samples with a transformers model in this process, ``batch`` sequences at a time.

    Prompts of like length share a batch, each prompt is prefilled once for its n completions, and sequences that have
    ended leave the batch. The same seed, prompts and batch size give the same completions.
    """

    def __init__(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", batch: int = 256) -> None:
        self.model, self.batch = model, batch
        self.eos, self.pad = int(tokenizer.eos_token_id), int(tokenizer.pad_token_id)

    def load_weights(self, model: "PreTrainedModel") -> None:
        if model is not self.model:
            self.model.load_state_dict(plain_weights(model))

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        seed: int,
        advance: Callable[[int], None] | None = None,
    ) -> list[Completion]:
        import torch

        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        found: list[list[Completion]] = [[] for _ in prompts]
        per_batch = max(1, self.batch // sampling.n)
        generator = torch.Generator(device=self.model.device).manual_seed(seed)
        training = self.model.training
        self.model.eval()
        try:
            for start in range(0, len(order), per_batch):
                chunk = order[start : start + per_batch]
                completions = self._generate_batch([prompts[i] for i in chunk], sampling, generator)
                for place, i in enumerate(chunk):
                    found[i] = completions[place * sampling.n : (place + 1) * sampling.n]
                if advance is not None:
                    advance(len(chunk))
        finally:
            self.model.train(training)
        return [completion for group in found for completion in group]

    def _generate_batch(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, generator: "torch.Generator"
    ) -> list[Completion]:
        """Prefill left-padded prompts once, then decode all their completions in step."""
        import torch

        device = self.model.device
        width = max(map(len, prompts))
        ids = torch.full((len(prompts), width), self.pad, device=device)
        mask = torch.zeros((len(prompts), width), dtype=torch.long, device=device)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(list(prompt), device=device)
            mask[row, width - len(prompt) :] = 1

        with torch.inference_mode():
            positions = (mask.cumsum(1) - 1).clamp(min=0)
            out = self.model(
                input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True, logits_to_keep=1
            )
            cache, logits = out.past_key_values, out.logits[:, -1]
            rows = len(prompts) * sampling.n
            if sampling.n > 1:
                cache.batch_repeat_interleave(sampling.n)
                logits = logits.repeat_interleave(sampling.n, 0)
                mask = mask.repeat_interleave(sampling.n, 0)
            tokens = torch.full((rows, sampling.max_tokens), self.pad, device=device)
            logprobs = torch.zeros((rows, sampling.max_tokens), device=device)
            lengths = torch.full((rows,), sampling.max_tokens, device=device)
            stopped = torch.zeros(rows, dtype=torch.bool, device=device)
            alive = torch.arange(rows, device=device)  # which completion each row of the batch is
            for step in range(sampling.max_tokens):
                token, logprob = draw(logits, sampling, generator)
                tokens[alive, step], logprobs[alive, step] = token, logprob
                ended = alive[(token == self.eos) & ~stopped[alive]]
                stopped[ended], lengths[ended] = True, step + 1
                running = ~stopped[alive]
                if step + 1 == sampling.max_tokens or not bool(running.any()):
                    break
                mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
                # Dropping rows copies the cache, so wait until an eighth of the batch has ended.
                if int(running.sum()) * 8 <= len(alive) * 7:
                    alive, token, mask = alive[running], token[running], mask[running]
                    cache.batch_select_indices(running.nonzero()[:, 0])
                out = self.model(
                    input_ids=token[:, None],
                    attention_mask=mask,
                    position_ids=mask.sum(1, keepdim=True) - 1,
                    past_key_values=cache,
                    use_cache=True,
                )
                logits = out.logits[:, -1]
        return [
            Completion(tuple(t[:n]), p[:n], "stop" if s else "length")
            for t, p, n, s in zip(
                tokens.tolist(), logprobs.cpu().numpy(), lengths.tolist(), stopped.tolist(), strict=True
            )
        ]


def draw(
    logits: "torch.Tensor", sampling: Sampling, generator: "torch.Generator"
) -> "tuple[torch.Tensor, torch.Tensor]":
    """One token a row from logits (B, V), and its log-prob (B,) under the untruncated distribution.

    Sampling is by the Gumbel trick: argmax of log p + g with g = -log(-log u), an exact draw from softmax.
    """
    import torch

    logits = logits.float()
    if sampling.temperature > 0:
        logits = logits / sampling.temperature
    logprobs = torch.log_softmax(logits, -1)
    if sampling.temperature == 0:
        token = logprobs.argmax(-1)
    else:
        kept = nucleus(logprobs, sampling.top_p) if sampling.top_p < 1 else logprobs
        # -log of an exponential draw is a Gumbel draw
        token = (kept - torch.empty_like(kept).exponential_(generator=generator).log()).argmax(-1)
    return token, logprobs.gather(-1, token[:, None])[:, 0]


def nucleus(logprobs: "torch.Tensor", top_p: float) -> "torch.Tensor":
    """Log-probs with everything outside the nucleus at -inf (Holtzman et al. 2020): (B, V) -> (B, V).

    The nucleus is the smallest set of most probable tokens whose probability reaches ``top_p``, never empty.
    """
    ordered, index = logprobs.sort(-1, descending=True)
    before = ordered.exp().cumsum(-1) - ordered.exp()  # probability of all that come earlier
    outside = before >= top_p
    outside[..., 0] = False
    ordered = ordered.masked_fill(outside, -math.inf)
    return logprobs.scatter(-1, index, ordered)
