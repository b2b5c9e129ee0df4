"""How far to trust a process reward model: ranking, calibration and finding the first wrong step, beside blind guesses.

Everything here is numpy on plain numbers, no models. ``labels`` are 1 for a right step and 0 for a wrong one;
a first error is the index of the first wrong step of a solution, or -1 where every step is right.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class ReliabilityBin:
    """One bar of a reliability diagram: the ``count`` > 0 steps whose probability fell in [low, high)."""

    low: float
    high: float
    mean_probability: float
    fraction_right: float
    count: int


@dataclass(frozen=True)
class FirstErrorScore:
    """ProcessBench's three numbers, all in [0, 1]; nan where the rows to measure one on are missing."""

    error_accuracy: float
    correct_accuracy: float
    f1: float


@dataclass(frozen=True)
class ConstantBaseline:
    """What guesses that never look at a solution earn on the same rows; the fields are named as the model's own.

    ``step_accuracy``, ``brier`` and ``calibration_error`` belong to the best constant probability for each;
    ``first_error`` to the constant guess ``guess`` that is exactly right on most rows;
    ``mixed_first_error`` to the best coin toss between "all right" and the commonest place of a first error,
    because a constant's F1 is 0 by construction and so flatters every model.
    """

    auc: float
    calibration_error: float
    brier: float
    step_accuracy: float
    guess: int
    first_error: FirstErrorScore
    mixed_first_error: FirstErrorScore


def auc(scores: ArrayLike, labels: ArrayLike) -> float:
    """P(score of a right step > score of a wrong one), ties counting half; both (N,).

    The Mann-Whitney U statistic from mid-ranks over the number of pairs (Hanley & McNeil 1982).
    nan if only one class is present or if any score is nan.
    """
    values = np.asarray(scores, dtype=np.float64)
    right = np.asarray(labels) > 0.5
    positives, negatives = int(right.sum()), int((~right).sum())
    if positives == 0 or negatives == 0 or np.isnan(values).any():
        return math.nan
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    mid_ranks = np.cumsum(counts) - (counts - 1) / 2
    wins = mid_ranks[place][right].sum() - positives * (positives + 1) / 2
    return float(wins / (positives * negatives))


def reliability(probabilities: ArrayLike, labels: ArrayLike, bins: int = 10) -> list[ReliabilityBin]:
    """The rows of a reliability diagram over ``bins`` equal widths of [0, 1]; both inputs (N,).

    Bins with no step in them are left out; a probability of exactly 1 belongs to the last bin.
    Labels may be soft (a fraction of continuations that came out right). ValueError outside [0, 1].
    """
    p = np.asarray(probabilities, dtype=np.float64)
    y = np.asarray(labels, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("reliability needs probabilities in [0, 1]")
    place = np.minimum((p * bins).astype(int), bins - 1)
    rows = []
    for index in np.unique(place):
        inside = place == index
        mean_p, mean_y = float(p[inside].mean()), float(y[inside].mean())
        rows.append(ReliabilityBin(float(index / bins), float((index + 1) / bins), mean_p, mean_y, int(inside.sum())))
    return rows


def calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = 10) -> float:
    """Expected calibration error: sum_b n_b/N |mean probability_b - fraction right_b| (Naeini et al. 2015).

    Both inputs (N,); equal-width bins; nan without any step.
    """
    rows = reliability(probabilities, labels, bins)
    total = sum(row.count for row in rows)
    if total == 0:
        return math.nan
    return sum(row.count * abs(row.mean_probability - row.fraction_right) for row in rows) / total


def brier(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean squared error of the probabilities (Brier 1950), both (N,); nan without any step.

    Read it beside the calibration error, which a constant at the base rate wins outright.
    """
    errors = np.asarray(probabilities, dtype=np.float64) - np.asarray(labels, dtype=np.float64)
    return float((errors**2).mean()) if errors.size else math.nan


def step_accuracy(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Share of the steps whose probability is on the label's side of one half, both (N,); nan without any step."""
    called, right = (np.asarray(values, dtype=np.float64) >= 0.5 for values in (probabilities, labels))
    return float((called == right).mean()) if right.size else math.nan


def first_error(step_scores: ArrayLike, threshold: float) -> int:
    """Index of the first step of one solution whose score is below the threshold, -1 if there is none; scores (S,)."""
    below = np.flatnonzero(np.asarray(step_scores, dtype=np.float64) < threshold)
    return int(below[0]) if below.size else -1


def first_error_f1(predicted: Sequence[int], gold: Sequence[int]) -> FirstErrorScore:
    """ProcessBench's score (Zheng et al. 2024, arXiv:2412.06559, section 3): one first error a solution, -1 for none.

    ``error_accuracy``: share of the wrong solutions whose first error is named exactly; ``correct_accuracy``: share of
    the right ones left alone; ``f1``: their harmonic mean, so that neither flagging everything nor nothing pays.
    """
    guess, truth = np.asarray(predicted, dtype=int), np.asarray(gold, dtype=int)
    if guess.shape != truth.shape:
        raise ValueError(f"one guess a solution: {guess.shape} guesses for {truth.shape} solutions")
    hit, wrong = guess == truth, truth >= 0
    error_accuracy = float(hit[wrong].mean()) if wrong.any() else math.nan
    correct_accuracy = float(hit[~wrong].mean()) if (~wrong).any() else math.nan
    return FirstErrorScore(error_accuracy, correct_accuracy, harmonic_mean(error_accuracy, correct_accuracy))


def harmonic_mean(a: float, b: float) -> float:
    """2ab / (a + b), 0 if both are 0; nan if either is."""
    return 0.0 if a == b == 0 else 2 * a * b / (a + b)


def best_threshold(step_scores: Sequence[ArrayLike], gold: Sequence[int]) -> float:
    """The threshold in [0, 1] with the highest first-error F1; choose it on validation rows, never on the test rows.

    ``step_scores`` is ragged: one (S,) array of probabilities a solution; ``gold`` its first errors (-1 for none).
    Exact, not a grid: a solution is judged rightly for thresholds in one interval (low, high], so F1 only changes at
    the ends of these. Returns the middle of the widest best stretch; 0.5 where F1 is undefined (one class only).
    """
    intervals = [_rightly_judged(np.asarray(s, dtype=np.float64), e) for s, e in zip(step_scores, gold, strict=True)]
    wrong = np.array([e >= 0 for e in gold], dtype=bool)
    if wrong.all() or not wrong.any():
        return 0.5
    ends = np.array(intervals)
    edges = np.unique(np.clip(np.append(ends.ravel(), [0.0, 1.0]), 0.0, 1.0))
    middles = (edges[:-1] + edges[1:]) / 2
    error_accuracy = _share_inside(middles, ends[wrong])
    correct_accuracy = _share_inside(middles, ends[~wrong])
    total = error_accuracy + correct_accuracy
    f1 = 2 * error_accuracy * correct_accuracy / np.where(total > 0, total, 1.0)
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    return float(middles[best[np.argmax(np.diff(edges)[best])]])


def _rightly_judged(scores: np.ndarray, gold: int) -> tuple[float, float]:
    """(low, high]: the thresholds at which ``first_error(scores, threshold) == gold``; low >= high means never."""
    if gold < 0:
        return -math.inf, float(scores.min(initial=math.inf))
    return float(scores[gold]), float(scores[:gold].min(initial=math.inf))


def _share_inside(thresholds: np.ndarray, intervals: np.ndarray) -> np.ndarray:
    """For each threshold, the share of the intervals (low, high] that hold it; (K,) and (N, 2) to (K,)."""
    possible = intervals[intervals[:, 0] < intervals[:, 1]]
    opened = np.searchsorted(np.sort(possible[:, 0]), thresholds, side="left")
    closed = np.searchsorted(np.sort(possible[:, 1]), thresholds, side="left")
    return (opened - closed) / len(intervals)


def constant_baseline(labels: ArrayLike, gold_first_errors: Sequence[int]) -> ConstantBaseline:
    """What guessing without looking earns: ``labels`` (N,) of all steps, one first error a solution (-1 for none).

    A constant has AUC 0.5 and, set to the base rate b, a calibration error of 0 and a Brier score of b(1 - b).
    With m the share of the wrong solutions whose first error is at the commonest place, saying "all right" with
    probability q and that place otherwise has F1 2(1-q)mq / ((1-q)m + q), highest at q = √m / (1 + √m).
    """
    base = float(np.asarray(labels, dtype=np.float64).mean()) if np.size(labels) else math.nan
    gold = np.asarray(gold_first_errors, dtype=int)
    places, counts = np.unique(gold, return_counts=True)
    guess = int(places[counts.argmax()]) if gold.size else -1
    wrong = gold[gold >= 0]
    share = float(np.bincount(wrong).max() / wrong.size) if wrong.size else math.nan
    q = math.sqrt(share) / (1 + math.sqrt(share))
    right_named = q if (gold < 0).any() else math.nan
    mixed = FirstErrorScore((1 - q) * share, right_named, harmonic_mean((1 - q) * share, right_named))
    return ConstantBaseline(
        auc=0.5 if 0 < base < 1 else math.nan,
        calibration_error=0.0 if np.size(labels) else math.nan,
        brier=base * (1 - base),
        step_accuracy=max(base, 1 - base),
        guess=guess,
        first_error=first_error_f1([guess] * gold.size, gold.tolist()),
        mixed_first_error=mixed,
    )
