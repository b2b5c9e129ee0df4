"""Differences between arms of several evaluations, paired problem by problem and seed by seed.

Which pairs: those that the evaluations themselves have (an arm against its base), and each policy of a later folder
against that of the same name in the first folder, by every metric.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from rung.report_data import Row, RunRecord
from rung.report_evaluation import measurements
from rung.statistics import interval_over_seeds_and_problems, paired_bootstrap

Asked = tuple[str, str, str]  # a problem's id, question and gold answer
Pair = tuple[str, str, str]  # arm a, arm b, metric: the difference a − b


@dataclass(frozen=True)
class Earned:
    """What one policy earned by one metric, problem by problem: ``arm`` is its name on the page, ``policy`` that in its
    evaluation, ``seed`` that of its ladder."""

    arm: str
    policy: str
    metric: str
    seed: str
    values: dict[Asked, float]


def earned(record: RunRecord, arm_of: Callable[[RunRecord, str], str]) -> list[Earned]:
    """All that the evaluation in a folder recorded by problem; ``arm_of`` names a policy of it on the page."""
    found: dict[tuple[str, str], dict[Asked, float]] = {}
    for row in record.outcomes:
        asked = (str(row.get("id")), str(row.get("question")), str(row.get("gold")))
        for cell in measurements(row):
            found.setdefault((cell.arm, cell.metric), {})[asked] = cell.mean
    seed = str(record.ladder.get("seed", ""))
    return [Earned(arm_of(record, policy), policy, metric, seed, values) for (policy, metric), values in found.items()]


def differences(runs: Sequence[Earned], within: Sequence[Pair]) -> dict[Pair, Row]:
    """Mean and 95% interval of the pairs ``within`` evaluations and across folders, of those that share problems.

    A difference across folders that is zero on every problem (the same model) is left out.
    """
    by_arm: dict[tuple[str, str], list[Earned]] = {}
    for run in runs:
        by_arm.setdefault((run.arm, run.metric), []).append(run)
    found = {}
    for a, b, metric in [*within, *across(runs)]:
        apart = by_problem(by_arm.get((a, metric), []), by_arm.get((b, metric), []))
        if apart is not None and ((a, b, metric) in within or apart.any()):
            found[a, b, metric] = interval(apart)
    return found


def across(runs: Sequence[Earned]) -> list[Pair]:
    """(arm, the first arm of the same policy, metric) for every later arm, in order."""
    first: dict[tuple[str, str], str] = {}
    pairs = dict.fromkeys((run.arm, first.setdefault((run.policy, run.metric), run.arm), run.metric) for run in runs)
    return [pair for pair in pairs if pair[0] != pair[1]]


def by_problem(a: Sequence[Earned], b: Sequence[Earned]) -> np.ndarray | None:
    """(S, P) a − b of S pairs of runs on the P problems that all of them met; None where they met none.

    Runs with the same seed are a pair, whatever else the arms have; where no seed is the same, the first of a and the
    first of b are, and so on.
    """
    pairs = [(x, y) for x in a for y in b if x.seed == y.seed] or list(zip(a, b, strict=False))
    shared = [p for p in pairs[0][0].values if all(p in run.values for pair in pairs for run in pair)] if pairs else []
    return np.array([[x.values[p] - y.values[p] for p in shared] for x, y in pairs]) if shared else None


def interval(apart: np.ndarray) -> Row:
    """Of one run by bootstrap over problems, of three or more over seeds and problems; of two the mean alone."""
    runs, problems = apart.shape
    if runs == 1:
        return asdict(paired_bootstrap(apart[0], np.zeros(problems), 0))
    if runs == 2 or problems == 1:
        return {"mean": float(apart.mean()), "low": math.nan, "high": math.nan}
    return asdict(interval_over_seeds_and_problems(apart))
