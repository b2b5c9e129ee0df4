"""Labelling steps: by an exact check, and by rolling out from each step's prefix (Monte Carlo)."""

from collections.abc import Iterable, Sequence

from lm.chat import Cost
from prm.rollouts import Roller, Rollout, Sample
from prm.scores import LabeledSolution
from verifiers.families import steps_right
from verifiers.solution import Solution
from verifiers.verify import verify_solution

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


def monte_carlo_labels(
    roller: Roller, samples: Sequence[Sample], seed: int, hard: bool = False
) -> tuple[list[LabeledSolution], Cost]:
    """Labels c/N: of N roll-outs from the end of a step, c reach the gold answer; ``hard``: 1 where c > 0.

    Math-Shepherd's two estimates (Wang et al. 2024, eq. 3 and 4). Equal prefixes of one problem share their roll-outs.
    After the last step of a finished solution nothing is left to sample, so its label is the verdict on the solution
    itself. None where the problem has no gold answer, or the prefix leaves the policy no room to go on.
    """
    places: dict[tuple[str, str, str], list[tuple[int, int]]] = {}  # by question, answer and text: ids may differ
    labels: list[list[float | None]] = [[None] * len(sample.solution.steps) for sample in samples]
    too_long = 0
    for row, sample in enumerate(samples):
        problem, steps = sample.solution.problem, sample.solution.steps
        reach = roller.reach(problem, sample.solution.text) if problem.answer else 0
        for i in range(len(steps) if problem.answer else 0):
            if i + 1 == len(steps) and sample.finished:
                labels[row][i] = float(verify_solution(sample.solution).correct)
            elif steps[i].end > reach:
                too_long += 1
            else:
                places.setdefault((problem.question, problem.answer, sample.prefix(i + 1)), []).append((row, i))

    prefixes = [(samples[rows[0][0]].solution.problem, key[2]) for key, rows in places.items()]
    found = roller.roll(prefixes, seed)
    for rollouts, rows in zip(found, places.values(), strict=True):
        if rollouts is not None:
            for row, i in rows:
                labels[row][i] = monte_carlo_label(sum(r.right for r in rollouts), len(rollouts), hard)
    labeled = [
        LabeledSolution(sample.solution, tuple(row), tuple(None if x is None else MONTE_CARLO for x in row))
        for sample, row in zip(samples, labels, strict=True)
    ]
    cost = {"prefixes": len(places)} | rollout_cost(found)
    return labeled, cost | {"too_long": cost["too_long"] + too_long}


def rollout_cost(found: Iterable[Sequence[Rollout] | None]) -> Cost:
    """Roll-outs and sampled tokens, and the prefixes that were too long for any."""
    groups = list(found)
    rollouts = [r for group in groups if group is not None for r in group]
    tokens = sum(r.tokens for r in rollouts)
    return {"rollouts": len(rollouts), "tokens": tokens, "too_long": groups.count(None)}


def monte_carlo_label(right: int, rollouts: int, hard: bool = False) -> float:
    """c/N, or 1 if c > 0 (Wang et al. 2024, eq. 3 and 4). Raises ValueError unless 0 <= c <= N, N > 0."""
    if not 0 <= right <= rollouts or rollouts == 0:
        raise ValueError(f"{right} right of {rollouts} roll-outs")
    return float(right > 0) if hard else right / rollouts
