"""Sampling: prompts in, completions with exact log-probs out. One protocol; transformers is the first engine of it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import numpy as np

from lm.config import key
from lm.errors import UserError
from lm.lora import plain_weights
from lm.stopping import StopStrings

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

T = TypeVar("T")


@dataclass(frozen=True)
class TokenSampling:
    """How one token after another is drawn from a model, and how many at most."""

    temperature: float = key(1.0, "divides the logits; 0 is greedy", low=0)
    top_p: float = key(1.0, "nucleus: the fewest tokens that have this much probability; 1 keeps all", low=0, high=1)
    max_tokens: int = key(96, "longest completion, in tokens; one that reaches it is cut", low=1)


@dataclass(frozen=True)
class Sampling(TokenSampling):
    """How completions of a prompt are drawn. Raises UserError for an empty stop string."""

    n: int = key(1, "completions of each prompt", low=1)
    stop: tuple[str, ...] = key((), "a completion also ends with the token that completes one of these texts")

    def __post_init__(self) -> None:
        if "" in self.stop:
            raise UserError("sampling.stop holds an empty text, which every token would complete: take it out")


def check_one_each(sampling: Sampling) -> None:
    """UserError where more than the one completion of a prompt that is used is asked for."""
    if sampling.n != 1:
        raise UserError(f"sampling.n is {sampling.n}, and one completion of each prompt is used: leave it at 1")


@dataclass(frozen=True)
class Completion:
    """What the model wrote after a prompt.

    ``token_ids`` (n,) ends in EOS, or in the token that completes a stop string, exactly when ``finish`` is "stop".
    ``logprobs`` (n,) float32 are those of the sampled tokens under softmax(logits / temperature) before nucleus
    truncation (temperature 1 where sampling is greedy).
    """

    token_ids: tuple[int, ...]
    logprobs: np.ndarray
    finish: Literal["stop", "length"]


# Told of prompts as they are done: by a prompt's place in the call, its n completions.
Finished = Callable[[Mapping[int, Sequence[Completion]]], None]


class Engine(Protocol):
    """Anything that samples. ``generate`` returns n completions a prompt, those of one prompt side by side.

    ``seed`` is one number a prompt, or one for the call that ``request_seeds`` makes them of. A prompt with its seed
    gets the same completions (to rounding) whatever else is in the call. ``finished`` is told of each prompt once, in
    the caller's thread, while others are still sampled.
    """

    def load_weights(self, model: "PreTrainedModel") -> None: ...

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        seed: int | Sequence[int],
        finished: Finished | None = None,
    ) -> list[Completion]: ...


def request_seeds(seed: int | Sequence[int], count: int) -> list[int]:
    """A seed for each of a call's prompts: those given, or of one number (below 2^63, the same as count grows)."""
    if not isinstance(seed, int):
        return list(seed)
    return [int(s) >> 1 for s in np.random.SeedSequence(seed % 2**64).generate_state(count, np.uint64)]


def in_groups(items: Sequence[T], n: int) -> list[list[T]]:
    """The n things of each prompt, of those of several prompts side by side."""
    return [list(items[start : start + n]) for start in range(0, len(items), n)]


def in_order(found: Mapping[int, Sequence[Completion]]) -> list[Completion]:
    """All completions, in the order of their prompts' places 0, 1, ..."""
    return [completion for place in range(len(found)) for completion in found[place]]


class TransformersEngine:
    """Samples with a transformers model in this process, ``batch`` sequences at a time.

    Prompts of like length share a batch, each prompt is prefilled once for its n completions, sequences that have
    ended leave the batch, and the cache is written in place.
    """

    def __init__(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", batch: int = 256) -> None:
        self.model, self.tokenizer, self.batch = model, tokenizer, batch
        self.eos, self.pad = int(tokenizer.eos_token_id), int(tokenizer.pad_token_id)

    def load_weights(self, model: "PreTrainedModel") -> None:
        if model is not self.model:
            self.model.load_state_dict(plain_weights(model))

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        seed: int | Sequence[int],
        finished: Finished | None = None,
    ) -> list[Completion]:
        from lm.decoding import decoding

        seeds = request_seeds(seed, len(prompts))
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        found: dict[int, list[Completion]] = {}
        per_batch = max(1, self.batch // sampling.n)
        with decoding(self.model):
            for start in range(0, len(order), per_batch):
                chunk = order[start : start + per_batch]
                uniforms = uniform_draws([seeds[i] for i in chunk], sampling)
                completions = self._generate_batch([prompts[i] for i in chunk], sampling, uniforms)
                some = dict(zip(chunk, in_groups(completions, sampling.n), strict=True))
                found |= some
                if finished is not None:
                    finished(some)
        return in_order(found)

    def _generate_batch(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, uniforms: np.ndarray
    ) -> list[Completion]:
        """Decode all completions of the prompts in step; ``uniforms`` (completions, max_tokens) choose the tokens."""
        import torch

        device, rows = self.model.device, len(prompts) * sampling.n
        width = max(map(len, prompts))
        cache, logits, mask = self._prefill(prompts, width, sampling)
        chances = torch.from_numpy(uniforms).to(device)
        stop = StopStrings(self.tokenizer, sampling.stop)
        tokens = torch.full((rows, sampling.max_tokens), self.pad, device=device)
        logprobs = torch.zeros((rows, sampling.max_tokens), device=device)
        lengths = torch.full((rows,), sampling.max_tokens, device=device)
        stopped = torch.zeros(rows, dtype=torch.bool, device=device)
        alive = torch.arange(rows, device=device)  # which completion each row of the batch is
        for step in range(sampling.max_tokens):
            token, logprob = draw(logits, sampling, chances[alive, step])
            tokens[alive, step], logprobs[alive, step] = token, logprob
            over = token == self.eos
            if sampling.stop:
                over |= stop.ended(tokens[alive, : step + 1])
            ended = alive[over & ~stopped[alive]]
            stopped[ended], lengths[ended] = True, step + 1
            running = ~stopped[alive]
            left = int(running.sum())
            if step + 1 == sampling.max_tokens or not left:
                break
            # Dropping rows copies the cache, so wait until an eighth of the batch has ended.
            if left * 8 <= len(alive) * 7:
                alive, token, mask = alive[running], token[running], mask[running]
                cache.batch_select_indices(running.nonzero()[:, 0])
            seen = mask[:, : width + step + 1]
            logits = self.model(
                input_ids=token[:, None],
                attention_mask=seen,
                position_ids=seen.sum(1, keepdim=True) - 1,
                past_key_values=cache,
                use_cache=True,
            ).logits[:, -1]
        return [
            Completion(tuple(t[:n]), p[:n], "stop" if s else "length")
            for t, p, n, s in zip(
                tokens.tolist(), logprobs.cpu().numpy(), lengths.tolist(), stopped.tolist(), strict=True
            )
        ]

    def _prefill(
        self, prompts: Sequence[Sequence[int]], width: int, sampling: Sampling
    ) -> "tuple[Any, torch.Tensor, torch.Tensor]":
        """Run left-padded prompts once: the cache, the next token's logits and the mask of what is real, with room for
        the tokens to come, each repeated for the n completions of a prompt."""
        import torch

        from lm.decoding import roomy_cache

        device = self.model.device
        ids = torch.full((len(prompts), width), self.pad)
        mask = torch.ones((len(prompts), width + sampling.max_tokens), dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(list(prompt))
            mask[row, : width - len(prompt)] = 0
        ids, mask = ids.to(device), mask.to(device)
        out = self.model(
            input_ids=ids,
            attention_mask=mask[:, :width],
            position_ids=(mask[:, :width].cumsum(1) - 1).clamp(min=0),
            past_key_values=roomy_cache(self.model),
            use_cache=True,
            logits_to_keep=1,
        )
        cache, logits = out.past_key_values, out.logits[:, -1]
        if sampling.n > 1:
            cache.batch_repeat_interleave(sampling.n)
            logits, mask = (x.repeat_interleave(sampling.n, 0) for x in (logits, mask))
        return cache, logits, mask


def uniform_draws(seeds: Sequence[int], sampling: Sampling) -> np.ndarray:
    """(len(seeds) · n, max_tokens) float64 in [0, 1): a stream for each completion, of its prompt's seed and its place
    among the n alone."""
    return np.stack(
        [np.random.default_rng((seed, k)).random(sampling.max_tokens) for seed in seeds for k in range(sampling.n)]
    )


def draw(logits: "torch.Tensor", sampling: Sampling, uniforms: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
    """One token a row from logits (B, V), and its log-prob (B,) under the untruncated distribution.

    Sampling inverts the distribution function: the first token at which the sum of probabilities exceeds u (B,), a
    float64 in [0, 1). The same u gives the same token whatever the other rows are.
    """
    import torch

    logits = logits.float()
    if sampling.temperature > 0:
        logits = logits / sampling.temperature
    total = logits.logsumexp(-1, keepdim=True)
    if sampling.temperature == 0:
        token = logits.argmax(-1, keepdim=True)
    else:
        kept = nucleus(logits - total, sampling.top_p) if sampling.top_p < 1 else logits - total
        reached = kept.exp().cumsum(-1, dtype=torch.float64)
        token = torch.searchsorted(reached, uniforms[:, None] * reached[:, -1:], right=True)
        token = token.clamp(max=logits.shape[1] - 1)  # NaN logits: the log-prob says so, an index error would not
    return token[:, 0], (logits.gather(-1, token) - total)[:, 0]


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
