"""What the rollouts of a step look like, in numbers: the instruments that show a policy going astray."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from prm.metrics import auc
from prm.scores import StepScores
from rl.batch import Rollout
from rl.losses import Metrics
from verifiers.solution import Solution, Verdict

MOST_BINS = 8


def rollout_metrics(rollouts: Sequence[Rollout], verdicts: Sequence[Verdict], scores: Sequence[StepScores]) -> Metrics:
    """Shares and means over the rollouts of a step.

    ``prm_auc`` is that of the worst step's score against the verdicts on these fresh samples: its fall is the reward
    model's drift. It is left out where all verdicts are alike. ``answer_only`` is the share that answers in its first
    and only step. Problems without answers have no verdicts to speak of.
    """
    right = [v.correct for v in verdicts]
    worst = [s.aggregate("min") for s in scores]
    solutions = [r.solution for r in rollouts]
    share = {
        name: float(np.mean([v.reason == reason for v in verdicts]))
        for name, reason in (("no_answer", "no answer"), ("unparsable", "unparsable"), ("timeout", "timeout"))
    }
    alone = [len(s.steps) <= 1 and v.predicted is not None for s, v in zip(solutions, verdicts, strict=True)]
    metrics = {"prm_score": float(np.mean(worst))} | shape_metrics(rollouts)
    if any(s.problem.answer for s in solutions):
        metrics |= {"accuracy": float(np.mean(right)), "answer_only": float(np.mean(alone)), **share}
    return metrics | ({"prm_auc": auc(worst, right)} if len(set(right)) > 1 else {})


def shape_metrics(rollouts: Sequence[Rollout]) -> Metrics:
    """How long the rollouts are and what they are made of; ``delimiter_density`` is line breaks a token."""
    solutions = [r.solution for r in rollouts]
    lengths = [len(r.completion.token_ids) for r in rollouts]
    return {
        "response_length": float(np.mean(lengths)),
        "steps_per_solution": float(np.mean([len(s.steps) for s in solutions])),
        "empty_steps": float(np.mean([empty_steps(s) for s in solutions])),
        "repeated_steps": float(np.mean([repeated_steps(s) for s in solutions])),
        "delimiter_density": sum(s.text.count("\n") for s in solutions) / max(1, sum(lengths)),
        "truncated": float(np.mean([r.completion.finish == "length" for r in rollouts])),
    }


def empty_steps(solution: Solution) -> int:
    """Steps without a letter or a digit, and blank lines beyond the one that may stand between paragraphs."""
    lines = [bool(line.strip()) for line in solution.text.split("\n")]
    blank = sum(not before and not line for before, line in pairwise(lines))
    return blank + sum(not any(c.isalnum() for c in step.text) for step in solution.steps)


def repeated_steps(solution: Solution) -> int:
    """Steps that an earlier one of the same solution has said already, word for word."""
    return len(solution.steps) - len({step.text for step in solution.steps})


def reward_metrics(rollouts: Sequence[Rollout], rewards: np.ndarray, group: int | None) -> dict[str, Any]:
    """How the rewards (B,) of a step's rollouts spread; ``group`` rollouts are compared with one another, None: no."""
    steps = [len(r.solution.steps) for r in rollouts]
    tokens = [len(r.completion.token_ids) for r in rollouts]
    metrics = {
        "reward": float(rewards.mean()),
        "reward_by_steps": reward_by(steps, rewards),
        "reward_by_length": reward_by(tokens, rewards),
    }
    return metrics | ({"no_signal": no_signal(rewards, group)} if group is not None else {})


def reward_by(size: Sequence[int], rewards: np.ndarray) -> list[list[float]]:
    """[mean size, rollouts, mean reward] of at most ``MOST_BINS`` bins of rollouts of like size (steps or tokens).

    One bin a value where there are few values, else bins of as many rollouts each; both inputs (B,). A reward that
    rises with the number of steps and not with accuracy is what inflates solutions.
    """
    sizes = np.asarray(size)
    values = np.unique(sizes)
    if len(values) <= MOST_BINS:
        bins = [np.flatnonzero(sizes == value) for value in values]
    else:
        bins = np.array_split(np.argsort(sizes, kind="stable"), MOST_BINS)
    return [[float(sizes[rows].mean()), len(rows), float(rewards[rows].mean())] for rows in bins]


def no_signal(rewards: np.ndarray, group: int) -> float:
    """Share of groups whose rollouts all earned the same: a baseline made of the group leaves them nothing. (B,)"""
    groups = rewards.reshape(-1, group)
    return float(np.mean(np.ptp(groups, axis=1) < 1e-6))
