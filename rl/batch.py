"""The records of the RL loop: a rollout, a rectangle of tokens, and the experience a policy learns from.

Everything (B, T) is aligned to tokens: ``ids[b, t]`` is an action where ``actions[b, t]``; its log-prob, value and
reward stand at the same place. The value at t is that of the state in which token t is chosen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lm.engine import Completion
from lm.padding import by_length, pad
from lm.sft import Pair
from verifiers.solution import Solution

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Rollout:
    """A sampled solution. ``step_ends`` (S,) index, in the completion, the last token of each step."""

    prompt_ids: tuple[int, ...]
    completion: Completion
    solution: Solution
    step_ends: tuple[int, ...]


@dataclass(frozen=True)
class TokenBatch:
    """B rollouts as rectangles (B, T), padded on the right: ``ids``, ``attention`` (1 = real), ``actions`` (bool)."""

    ids: "torch.Tensor"
    attention: "torch.Tensor"
    actions: "torch.Tensor"
    rollouts: tuple[Rollout, ...]

    def sampled_logprobs(self) -> "torch.Tensor":
        """(B, T): each action's log-prob as the engine gave it, 0 elsewhere."""
        import torch

        rows = [[0.0] * len(r.prompt_ids) + r.completion.logprobs.tolist() for r in self.rollouts]
        return pad(rows, 0.0, torch.float32).to(self.ids.device)

    def select(self, rows: Sequence[int]) -> "TokenBatch":
        """Some rows, cut to the longest of them."""
        index = list(rows)
        width = max(len(r.prompt_ids) + len(r.completion.token_ids) for r in (self.rollouts[i] for i in index))
        return TokenBatch(
            self.ids[index, :width],
            self.attention[index, :width],
            self.actions[index, :width],
            tuple(self.rollouts[i] for i in index),
        )

    def by_length(self, tokens: int) -> Iterator[list[int]]:
        """Rows in batches of like length, each at most ``tokens`` when padded."""
        yield from by_length([len(r.prompt_ids) + len(r.completion.token_ids) for r in self.rollouts], tokens)


@dataclass(frozen=True)
class Experience:
    """What one round of sampling taught: all (B, T), zero where not an action."""

    tokens: TokenBatch
    old_logprobs: "torch.Tensor"
    reference_logprobs: "torch.Tensor"
    old_values: "torch.Tensor"
    advantages: "torch.Tensor"
    returns: "torch.Tensor"

    def select(self, rows: Sequence[int]) -> "Experience":
        tokens = self.tokens.select(rows)
        width, index = tokens.ids.shape[1], list(rows)
        return Experience(
            tokens,
            self.old_logprobs[index, :width],
            self.reference_logprobs[index, :width],
            self.old_values[index, :width],
            self.advantages[index, :width],
            self.returns[index, :width],
        )


def pack(rollouts: Sequence[Rollout], device: "torch.device | str" = "cpu", pad_id: int = 0) -> TokenBatch:
    """Rollouts side by side in one rectangle."""
    return pack_pairs([(r.prompt_ids, r.completion.token_ids) for r in rollouts], device, pad_id, tuple(rollouts))


def pack_pairs(
    pairs: Sequence[Pair], device: "torch.device | str" = "cpu", pad_id: int = 0, rollouts: tuple[Rollout, ...] = ()
) -> TokenBatch:
    """(prompt, response) token ids side by side in one rectangle; the tokens of the responses are the actions."""
    import torch

    return TokenBatch(
        pad([[*prompt, *response] for prompt, response in pairs], pad_id, torch.long).to(device),
        pad([[1] * (len(prompt) + len(response)) for prompt, response in pairs], 0, torch.long).to(device),
        pad([[0] * len(prompt) + [1] * len(response) for prompt, response in pairs], 0, torch.bool).to(device),
        rollouts,
    )
