"""Scoring steps: solutions in, P(step right | the steps before it) out."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lm.errors import UserError
from prm.formats import FORMATS, RUNG, Format
from prm.forward import batched_states
from prm.heads import step_logits
from prm.layout import Row, encode_solutions
from prm.scores import StepScores
from verifiers.solution import Solution

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Advance = Callable[[int], None]


class Scorer(Protocol):
    """Anything that scores steps."""

    def score(self, solutions: Sequence[Solution], advance: Advance | None = None) -> list[StepScores]: ...

    def measure(self, solutions: Sequence[Solution]) -> list[int | str]: ...


class StepPRM:
    """A causal trunk read at one token a step: P = sigmoid(head(state) / temperature).

    One forward pass a solution, whatever its number of steps; solutions of one problem share the pass over what they
    have in common (``share``). ``tokens`` bounds a batch after padding.
    """

    def __init__(
        self,
        trunk: "PreTrainedModel",
        head: "torch.nn.Module",
        tokenizer: "PreTrainedTokenizerBase",
        form: Format = FORMATS[RUNG],
        *,
        prompt: str | None = None,
        tokens: int = 16384,
        temperature: float = 1.0,
        share: bool = True,
    ) -> None:
        self.trunk, self.head, self.tokenizer, self.form = trunk, head, tokenizer, form
        self.prompt, self.tokens, self.temperature, self.share = prompt, tokens, temperature, share

    def score(self, solutions: Sequence[Solution], advance: Advance | None = None) -> list[StepScores]:
        """A ``StepScores`` for each solution, in their order. A solution without steps gets an empty one.

        Raises UserError, naming the solution, for an empty step and for one that is longer than the model reads:
        see ``measure``. ``advance`` is told how many more solutions are done.
        """
        logits = self.logits(solutions, advance)
        return [
            scores_of(row, solution, self.form, self.temperature)
            for row, solution in zip(logits, solutions, strict=True)
        ]

    def logits(self, solutions: Sequence[Solution], advance: Advance | None = None) -> list[np.ndarray]:
        """The log-odds (S,) before the temperature (one for all steps where the format judges the outcome)."""
        import torch

        rows = rows_of(self.form, self.tokenizer, solutions, self.prompt)
        stop_at_complaint(measure_rows(rows, solutions, context_length(self.trunk)))
        stepped = [i for i, row in enumerate(rows) if row.ends]
        found: list[np.ndarray] = [np.empty(0)] * len(rows)
        keys = [solutions[i].problem.question if self.share else str(i) for i in stepped]
        training = self.trunk.training
        self.trunk.eval()
        with torch.inference_mode():
            for batch, states in batched_states(self.trunk, [rows[i] for i in stepped], keys, self.tokens):
                logits = step_logits(self.head(states), self.form.right).double().cpu().numpy()
                counts = [len(rows[stepped[i]].ends) for i in batch]
                for i, part in zip(batch, np.split(logits, np.cumsum(counts)[:-1]), strict=True):
                    found[stepped[i]] = part
                if advance is not None:
                    advance(len(batch))
        self.trunk.train(training)
        if advance is not None and len(stepped) < len(rows):
            advance(len(rows) - len(stepped))
        return found

    def measure(self, solutions: Sequence[Solution]) -> list[int | str]:
        """For each solution the tokens that scoring it takes, its question included, or what keeps it from a score."""
        rows = rows_of(self.form, self.tokenizer, solutions, self.prompt)
        return measure_rows(rows, solutions, context_length(self.trunk))


def rows_of(
    form: Format, tokenizer: "PreTrainedTokenizerBase", solutions: Sequence[Solution], prompt: str | None
) -> list[Row]:
    """The solutions in the format's layout, read at the last step alone where the format judges the outcome."""
    rows = encode_solutions(form, tokenizer, solutions, prompt)
    return [r._replace(ends=r.ends[-1:]) for r in rows] if form.outcome else rows


def scores_of(logits: np.ndarray, solution: Solution, form: Format, temperature: float) -> StepScores:
    """Log-odds (S,), or one where the format judges the outcome, to the solution's scores."""
    probabilities = sigmoid(logits / temperature)
    if form.outcome:
        return StepScores(np.repeat(probabilities, len(solution.steps)), outcome=True)
    return StepScores(probabilities)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e^−x) without overflow."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, small) / (1.0 + small)


def context_length(trunk: "PreTrainedModel") -> int | None:
    """How many tokens the model was made for, None where its config does not say."""
    length = getattr(trunk.config, "max_position_embeddings", None)
    return int(length) if length else None


def measure_rows(rows: Sequence[Row], solutions: Sequence[Solution], limit: int | None) -> list[int | str]:
    """Tokens, or what keeps a solution from an honest score: a step without text, or more than the model reads."""
    found: list[int | str] = []
    for row, solution in zip(rows, solutions, strict=True):
        complaint = row.fault or empty_step(solution)
        if complaint is None and limit is not None and row.ends and row.ends[-1] >= limit:
            first = next(i for i, end in enumerate(row.ends) if end >= limit)
            complaint = (
                f"solution {solution.problem.id!r}: step {first + 1} ends at token {row.ends[first] + 1}, the model "
                f"reads {limit}; shorten it or use a PRM with a longer context"
            )
        found.append(len(row.ids) if complaint is None else complaint)
    return found


def empty_step(solution: Solution) -> str | None:
    """The complaint about a solution's first step without text, None where there is none."""
    blank = next((i for i, step in enumerate(solution.steps) if not step.text.strip()), None)
    return None if blank is None else f"solution {solution.problem.id!r}: step {blank + 1} is empty; leave it out"


def score_each(prm: Scorer, solutions: Sequence[Solution], advance: Advance | None = None) -> "list[StepScores | str]":
    """The scores of each solution, or the complaint that keeps it from having any: no solution ends a whole run."""
    sizes = prm.measure(solutions)
    good = [solution for solution, size in zip(solutions, sizes, strict=True) if isinstance(size, int)]
    scored = iter(prm.score(good, advance))
    if advance is not None and len(good) < len(solutions):
        advance(len(solutions) - len(good))
    return [size if isinstance(size, str) else next(scored) for size in sizes]


def stop_at_complaint(sizes: Sequence[int | str]) -> None:
    """Raise UserError for the first complaint among what ``measure`` found."""
    for size in sizes:
        if isinstance(size, str):
            raise UserError(size)
