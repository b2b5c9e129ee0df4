"""Estimates with their uncertainty: pass@k, majority and best-of-n without sampling noise, and bootstrap intervals.

The first group works on the samples of one problem and returns one number in [0, 1]; the second takes those numbers,
one a problem (or one a seed), and says how sure their mean is.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Interval:
    """A mean and the ends of its confidence interval, in the unit of the values."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """The mean of a - b over the same problems and the ends of its confidence interval."""

    mean: float
    low: float
    high: float

    @property
    def settled(self) -> bool:
        """True where the interval leaves zero out, so that the sign of the difference can be believed."""
        return self.low > 0 or self.high < 0


def pass_at_k(n: int, c: int, k: int) -> float:
    """P(at least one right among k of the n samples, c of them right) = 1 - C(n-c, k) / C(n, k).

    Unbiased for the probability that k fresh samples hold a right one (Chen et al. 2021, arXiv:2107.03374, eq. 1).
    ValueError unless 0 <= c <= n and 1 <= k <= n.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"pass@k needs 0 <= c <= n and 1 <= k <= n, not n={n}, c={c}, k={k}")
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def majority(answers: Sequence[Hashable | None], correct: Sequence[bool]) -> float:
    """P(the most common answer is right) over all the samples of one problem, a tie broken by a fair draw.

    ``answers`` holds one key a sample, equal for equivalent answers; None (no answer) has no vote. ``correct`` is the
    verdict on each sample; where a verifier disagrees with itself inside one class, the class counts its share of
    right ones. 0 if nobody answered (self-consistency, Wang et al. 2023, arXiv:2203.11171).
    """
    votes, value = _classes(answers, correct)
    if not votes:
        return 0.0
    most = max(votes.values())
    tied = [value[key] for key, count in votes.items() if count == most]
    return sum(tied) / len(tied)


def majority_at_k(answers: Sequence[Hashable | None], correct: Sequence[bool], k: int) -> float:
    """The mean of ``majority`` over all C(n, k) subsets of the n samples, counted exactly rather than drawn.

    For a class with n_j votes, C(n_j, a) subsets give it a votes; the other k - a samples come from classes that get
    at most a each. The generating function prod_i (sum_{b<a} C(n_i, b) x^b + C(n_i, a) x^a y) counts those subsets,
    the power of y being how many classes tie with it. ValueError unless 1 <= k <= n.
    """
    n = len(answers)
    if not 1 <= k <= n:
        raise ValueError(f"majority@k needs 1 <= k <= n, not n={n}, k={k}")
    votes, value = _classes(answers, correct)
    silent = n - sum(votes.values())
    favourable = 0.0
    for key, share in value.items():
        if share == 0:
            continue
        others = [count for other, count in votes.items() if other != key]
        for a in range(1, min(votes[key], k) + 1):
            ways = _ways_of_losing_or_tying(others, silent, a, k - a)
            wins = sum(count / (ties + 1) for ties, count in ways.items())
            favourable += share * math.comb(votes[key], a) * wins / math.comb(n, k)
    return favourable


def _classes(
    answers: Sequence[Hashable | None], correct: Sequence[bool]
) -> tuple[dict[Hashable, int], dict[Hashable, float]]:
    """Votes of each answer class and the share of its samples that were judged right."""
    votes: Counter[Hashable] = Counter()
    right: Counter[Hashable] = Counter()
    for key, ok in zip(answers, correct, strict=True):
        if key is not None:
            votes[key] += 1
            right[key] += bool(ok)
    return dict(votes), {key: right[key] / count for key, count in votes.items()}


def _ways_of_losing_or_tying(others: Sequence[int], silent: int, a: int, size: int) -> dict[int, int]:
    """Ways to draw ``size`` samples from the other classes and the silent ones, no class above ``a`` votes.

    Keyed by how many classes got exactly ``a``.
    """
    ways = {(size - b, 0): math.comb(silent, b) for b in range(min(silent, size) + 1)}  # (still to draw, ties)
    for count in others:
        grown: defaultdict[tuple[int, int], int] = defaultdict(int)
        for (left, ties), number in ways.items():
            for b in range(min(count, a, left) + 1):
                grown[left - b, ties + (b == a)] += number * math.comb(count, b)
        ways = dict(grown)
    return {ties: number for (left, ties), number in ways.items() if left == 0}


def best_of_n(scores: ArrayLike, correct: ArrayLike) -> float:
    """P(the sample with the highest score is right), a tie for the highest broken by a fair draw; both (n,), n > 0."""
    values, right = np.asarray(scores, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    return float(right[values == values.max()].mean())


def best_of_n_from_pool(scores: ArrayLike, correct: ArrayLike, n: int) -> float:
    """The mean of ``best_of_n`` over all C(m, n) subsets of a pool of m samples, in closed form; both inputs (m,).

    With the pool sorted by score, the best of a subset is in the group of ties g with probability
    [C(m_<=g, n) - C(m_<g, n)] / C(m, n), and is then right with the group's share of right samples
    (Nakano et al. 2021, arXiv:2112.09332, with ties added). ValueError unless 1 <= n <= m.
    """
    values, right = np.asarray(scores, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if not 1 <= n <= values.size:
        raise ValueError(f"best-of-n needs 1 <= n <= m, not m={values.size}, n={n}")
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    share = np.bincount(group, weights=right) / counts
    up_to = [math.comb(int(size), n) for size in np.cumsum(counts)]
    below = [0, *up_to[:-1]]
    total = math.comb(values.size, n)
    return float(sum(s * ((high - low) / total) for s, high, low in zip(share, up_to, below, strict=True)))


def bootstrap_interval(values: ArrayLike, seed: int, level: float = 0.95, resamples: int = 2000) -> Interval:
    """Percentile bootstrap interval of the mean; values (N,), one a problem (Efron 1979).

    Resample problems, never samples inside a problem: those are not independent. nan without values.
    """
    data = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        return Interval(math.nan, math.nan, math.nan)
    generator = np.random.default_rng(seed)
    means = [data[generator.integers(data.size, size=data.size)].mean() for _ in range(resamples)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(data.mean()), float(low), float(high))


def paired_bootstrap(a: ArrayLike, b: ArrayLike, seed: int, level: float = 0.95, resamples: int = 2000) -> Difference:
    """Interval of the mean of a - b, both (N,) on the same problems in the same order.

    Pairing takes the problems' own difficulty out, which is most of the variance. ValueError if the shapes differ.
    """
    left, right = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if left.shape != right.shape:
        raise ValueError(f"a pair a problem: {left.shape} against {right.shape}")
    interval = bootstrap_interval(left - right, seed, level, resamples)
    return Difference(interval.mean, interval.low, interval.high)


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided exact p-value that as many problems flip one way as the other: Binomial(gained + lost, 1/2)
    (McNemar 1947, by the exact binomial). 1 where nothing flipped."""
    flipped, fewer = gained + lost, min(gained, lost)
    return min(1.0, 2 * sum(math.comb(flipped, i) for i in range(fewer + 1)) / 2**flipped)


def mean_interval_over_seeds(values: ArrayLike, level: float = 0.95) -> Interval:
    """mean ± t_{(1+level)/2, S-1} s / √S over S independent runs (Student 1908); unbounded for a single run."""
    data = np.asarray(values, dtype=np.float64)
    mean = float(data.mean()) if data.size else math.nan
    if data.size < 2:
        return Interval(mean, -math.inf, math.inf)
    half = student_t_quantile((1 + level) / 2, data.size - 1) * float(data.std(ddof=1)) / math.sqrt(data.size)
    return Interval(mean, mean - half, mean + half)


def interval_over_seeds_and_problems(values: ArrayLike, level: float = 0.95) -> Interval:
    """The mean of values (S, P), S > 1 independent runs on the same P > 1 problems, with an interval for other runs on
    other problems: mean ± t √(s²_S / S + s²_P / P), s_S over the means of runs and s_P over those of problems.

    What belongs to neither alone is counted in both, so the interval is rather too wide (two-way clustering, Cameron,
    Gelbach & Miller 2011, without their third term). t has Satterthwaite's (1946) degrees of freedom, rounded down.
    """
    data = np.asarray(values, dtype=np.float64)
    parts = [float(data.mean(axis).var(ddof=1)) / data.shape[1 - axis] for axis in (0, 1)]
    mean, variance = float(data.mean()), sum(parts)
    if variance == 0:
        return Interval(mean, mean, mean)
    degrees = variance**2 / sum(part**2 / (data.shape[1 - axis] - 1) for axis, part in enumerate(parts))
    half = student_t_quantile((1 + level) / 2, int(degrees + 1e-9)) * math.sqrt(variance)
    return Interval(mean, mean - half, mean + half)


def student_t_quantile(probability: float, degrees: int) -> float:
    """t with P(T <= t) = probability > 1/2, T Student with a whole number of degrees of freedom.

    Bisection on θ = atan(t / √degrees); P(|T| <= t) is a finite sum in sin θ and cos θ
    (Abramowitz & Stegun 1964, 26.7.3 and 26.7.4), so no special function is needed.
    """
    low, high = 0.0, math.pi / 2
    while high - low > 1e-15 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if _two_sided(middle, degrees) < 2 * probability - 1 else (low, middle)
    return math.sqrt(degrees) * math.tan((low + high) / 2)


def _two_sided(theta: float, degrees: int) -> float:
    """P(|T| <= √degrees tan θ) by Abramowitz & Stegun 26.7.3 (odd degrees) and 26.7.4 (even)."""
    odd = degrees % 2
    cos2 = math.cos(theta) ** 2
    term = math.cos(theta) if odd else 1.0
    total = 0.0
    for j in range(degrees // 2):
        total += term
        term *= cos2 * ((2 * j + 2) / (2 * j + 3) if odd else (2 * j + 1) / (2 * j + 2))
    if odd:
        return 2 / math.pi * (theta + math.sin(theta) * total)
    return math.sin(theta) * total
