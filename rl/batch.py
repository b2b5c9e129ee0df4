"""The records of the RL loop: a rollout, a rectangle of tokens, and the experience a policy learns from.

Everything (B, T) is aligned to tokens: ``ids[b, t]`` is an action where ``actions[b, t]``; its log-prob, value and
reward stand at the same place. The value at t is that of the state in which token t is chosen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lm import processes
from lm.engine import Completion
from lm.padding import by_length, pad
from lm.sft import Pair
from rl.states import CPU_WASTE
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

    def sample(self, tokens: int) -> list[int]:
        """As many rows, evenly spaced, as have about ``tokens`` in all (at least one, at most all)."""
        rows, total = len(self.rollouts), int(self.attention.sum())
        count = max(1, min(rows, rows * tokens // total))
        return [rows * i // count for i in range(count)]

    def my_parts(
        self, rows: Sequence[int], tokens: int
    ) -> "Iterator[tuple[tuple[list[int], slice], TokenBatch, float]]":
        """Some rows in micro-batches, those of them that this process runs: (their places in a (B, T) tensor, the
        micro-batch, its weight); see ``lm.processes.my_micro_batches``. Rows of one prompt stay together."""
        if not rows:
            return
        order = sorted(rows, key=lambda i: self.rollouts[i].prompt_ids) if processes.count() > 1 else rows

        def cut(some: Sequence[int]) -> list[list[int]]:
            return [[some[i] for i in part] for part in self.select(some).micro_batches(tokens)] if some else []

        dealt = [[order[i] for i in block] for block in processes.blocks(len(order))]
        for part, weight in processes.in_step(dealt, cut):
            batch = self.select(part)
            yield (part, slice(batch.ids.shape[1])), batch, weight

    def micro_batches(self, tokens: int) -> Iterator[list[int]]:
        """Rows in batches of like length, each at most ``tokens`` (at least one row).

        Rows of one prompt are put together and the prompt counted once, for so they are run (``rl/states.py``).
        """
        groups: dict[tuple[int, ...], list[int]] = {}
        for i, rollout in enumerate(self.rollouts):
            groups.setdefault(rollout.prompt_ids, []).append(i)
        lengths = [len(r.completion.token_ids) for r in self.rollouts]
        if len(groups) == len(self.rollouts):
            waste = CPU_WASTE if self.ids.device.type == "cpu" else 1.0
            yield from by_length(
                [n + len(r.prompt_ids) for n, r in zip(lengths, self.rollouts, strict=True)], tokens, waste
            )
            return
        pieces = [piece for prompt, rows in groups.items() for piece in _pieces(rows, lengths, len(prompt), tokens)]
        batch: list[int] = []
        total = 0
        for size, rows in sorted(pieces):
            if batch and total + size > tokens:
                yield batch
                batch, total = [], 0
            batch, total = batch + rows, total + size
        yield batch


def _pieces(rows: Sequence[int], lengths: Sequence[int], prompt: int, tokens: int) -> Iterator[tuple[int, list[int]]]:
    """(tokens, rows) of one prompt's rows, cut where they are more than ``tokens`` with it."""
    piece: list[int] = []
    size = prompt
    for i in sorted(rows, key=lambda i: lengths[i]):
        if piece and size + lengths[i] > tokens:
            yield size, piece
            piece, size = [], prompt
        piece, size = [*piece, i], size + lengths[i]
    yield size, piece


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
