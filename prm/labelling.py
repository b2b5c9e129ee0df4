"""Labelling steps: by an exact check, and by rolling out from each step's prefix (Monte Carlo)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lm.engine import Completion, Engine, Sampling
from lm.tokenizer import encode, prompt_text, token_ends
from prm.metrics import auc
from prm.scores import LabeledSolution
from verifiers.families import steps_right
from verifiers.solution import Solution
from verifiers.verify import verify, verify_solution

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SYMBOLIC, MONTE_CARLO = "symbolic", "monte_carlo"
_CHECKED = {"holds": 1.0, "fails": 0.0, "unknown": None}


def symbolic_labels(solution: Solution, built_in: bool) -> LabeledSolution:
    """Label each step by its mathematics, given those before it: 1 right, 0 wrong, None where the check cannot tell.

    ``built_in`` problems have an exact check of every step; for any other, ``verifiers.check_step`` looks for the
    equations in the step, so a right label says that they hold, not that the step was the one to take.
    """
    labels: list[float | None]
    if built_in:
        labels = [float(right) for right in steps_right(solution.problem, [step.text for step in solution.steps])]
    else:
        from verifiers.steps import check_step

        checks = [check_step(step.text, solution.text[: step.start]) for step in solution.steps]
        labels = [_CHECKED[check.outcome] for check in checks]
    return LabeledSolution(solution, tuple(labels), tuple(None if x is None else SYMBOLIC for x in labels))


@dataclass(frozen=True)
class RolloutCost:
    """What Monte Carlo labelling took: steps labelled, distinct prefixes rolled out, roll-outs and their tokens."""

    steps: int
    prefixes: int
    rollouts: int
    tokens: int


def monte_carlo_labels(
    engine: Engine,
    tokenizer: "PreTrainedTokenizerBase",
    samples: Sequence[tuple[Solution, Completion]],
    sampling: Sampling,
    seed: int,
    prompt: str | None = None,
    advance: Callable[[int], None] | None = None,
) -> tuple[list[LabeledSolution], RolloutCost]:
    """Soft labels c/N: of N = ``sampling.n`` continuations from the end of a step, c reach the gold answer.

    Math-Shepherd's estimate (Wang et al. 2024, eq. 3 and 4; a step is hard-labelled right when c > 0). Equal prefixes
    of one problem share their roll-outs. After the last step of a finished solution nothing is left to sample, so its
    label is the verdict on the solution itself.
    """
    places: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
    labels: list[list[float]] = [[0.0] * len(solution.steps) for solution, _ in samples]
    for row, (solution, completion) in enumerate(samples):
        for i, step in enumerate(solution.steps):
            if i + 1 == len(solution.steps) and completion.finish == "stop":
                labels[row][i] = float(verify_solution(solution).correct)
                continue
            # With the line break that follows: the next token then begins the next step.
            end = solution.steps[i + 1].start if i + 1 < len(solution.steps) else step.end
            prefix = (solution.problem.id, solution.problem.question, solution.text[:end])
            places.setdefault(prefix, []).append((row, i))

    prefixes = list(places)
    texts = [prompt_text(tokenizer, question, prompt) + text for _, question, text in prefixes]
    completions = engine.generate(encode(tokenizer, texts), sampling, seed, advance)
    for index, prefix in enumerate(prefixes):
        group = completions[index * sampling.n : (index + 1) * sampling.n]
        problem = samples[places[prefix][0][0]][0].problem
        right = sum(verify(problem, prefix[2] + token_ends(tokenizer, c.token_ids)[0]).correct for c in group)
        for row, i in places[prefix]:
            labels[row][i] = monte_carlo_label(right, sampling.n)
    cost = RolloutCost(
        sum(map(len, labels)), len(prefixes), len(completions), sum(len(c.token_ids) for c in completions)
    )
    labeled = [
        LabeledSolution(solution, tuple(row), (MONTE_CARLO,) * len(row))
        for (solution, _), row in zip(samples, labels, strict=True)
    ]
    return labeled, cost


def monte_carlo_label(right: int, rollouts: int, hard: bool = False) -> float:
    """c/N, or 1 if c > 0 (Wang et al. 2024, eq. 3 and 4). Raises ValueError unless 0 <= c <= N, N > 0."""
    if not 0 <= right <= rollouts or rollouts == 0:
        raise ValueError(f"{right} right of {rollouts} roll-outs")
    return float(right > 0) if hard else right / rollouts


@dataclass(frozen=True)
class Agreement:
    """How two labellers compare on the steps that both judged. ``table[i][j]``: first said i, second said j (0, 1)."""

    both: int
    agree: float
    kappa: float
    auc: float
    table: tuple[tuple[int, int], tuple[int, int]]


def agreement(first: Sequence[LabeledSolution], second: Sequence[LabeledSolution]) -> Agreement:
    """Compare symbolic labels (first) with Monte Carlo ones (second), the latter hard (c > 0) for table and kappa.

    ``kappa`` is Cohen's (1960); ``auc`` ranks the steps by the soft label against the first labeller's.
    """
    pairs = [
        (a, b)
        for x, y in zip(first, second, strict=True)
        for a, b in zip(x.labels, y.labels, strict=True)
        if a is not None and b is not None
    ]
    table = np.zeros((2, 2), dtype=int)
    for a, b in pairs:
        table[int(a > 0.5), int(b > 0)] += 1
    total = max(1, len(pairs))
    observed = float(table.trace() / total)
    expected = float((table.sum(0) * table.sum(1)).sum() / total**2)
    kappa = (observed - expected) / (1 - expected) if expected < 1 else float("nan")
    ranked = auc([b for _, b in pairs], [a for a, _ in pairs])
    (a00, a01), (a10, a11) = table.tolist()
    return Agreement(len(pairs), observed, kappa, ranked, ((a00, a01), (a10, a11)))


def add_costs(costs: Sequence[RolloutCost]) -> RolloutCost:
    total = RolloutCost(0, 0, 0, 0)
    for c in costs:
        total = replace(
            total,
            steps=total.steps + c.steps,
            prefixes=total.prefixes + c.prefixes,
            rollouts=total.rollouts + c.rollouts,
            tokens=total.tokens + c.tokens,
        )
    return total
