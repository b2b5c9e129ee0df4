import math
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap, t, ttest_rel

from rung import statistics

samples = st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.integers(0, 3)), min_size=1, max_size=8)


def test_pass_at_k_by_hand_and_by_enumeration() -> None:
    assert statistics.pass_at_k(4, 1, 2) == pytest.approx(0.5)
    assert statistics.pass_at_k(5, 2, 1) == pytest.approx(0.4)
    assert statistics.pass_at_k(3, 0, 3) == 0.0
    assert statistics.pass_at_k(3, 1, 3) == 1.0
    right = [True, True, False, False, False, False, False]
    for k in range(1, 8):
        brute = np.mean([any(subset) for subset in combinations(right, k)])
        assert statistics.pass_at_k(7, 2, k) == pytest.approx(brute)


@pytest.mark.parametrize(("n", "c", "k"), [(3, 4, 1), (3, 1, 4), (3, 1, 0), (3, -1, 1)])
def test_pass_at_k_refuses_nonsense(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match="pass@k needs"):
        statistics.pass_at_k(n, c, k)


def test_majority_by_hand() -> None:
    assert statistics.majority(["5", "5", "7"], [True, True, False]) == 1.0
    assert statistics.majority(["5", "7"], [True, False]) == 0.5
    assert statistics.majority(["5", "7", "8"], [True, False, False]) == pytest.approx(1 / 3)
    assert statistics.majority([None, None, "7"], [False, False, False]) == 0.0
    assert statistics.majority([None, None, "5"], [False, False, True]) == 1.0  # silence has no vote
    assert statistics.majority([None], [False]) == 0.0


@settings(max_examples=150, deadline=None)
@given(samples, st.integers(1, 8))
def test_majority_at_k_is_the_mean_over_all_subsets(drawn: list[tuple[str | None, int]], k: int) -> None:
    answers = [answer for answer, _ in drawn]
    correct = [answer == "a" for answer in answers]
    k = min(k, len(drawn))
    brute = np.mean([_majority_of(subset) for subset in combinations(zip(answers, correct, strict=True), k)])
    assert statistics.majority_at_k(answers, correct, k) == pytest.approx(brute, abs=1e-12)


def _majority_of(subset: tuple[tuple[str | None, bool], ...]) -> float:
    """An independent count: every answer with the most votes, each as likely."""
    votes = Counter(answer for answer, _ in subset if answer is not None)
    top = [answer for answer, count in votes.items() if count == max(votes.values())]
    return sum(answer == "a" for answer in top) / len(top) if top else 0.0


def test_majority_at_k_by_hand() -> None:
    # pairs of (5, 5, 7): {5,5} -> 1, {5,7} twice -> 1/2
    assert statistics.majority_at_k(["5", "5", "7"], [True, True, False], 2) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="majority@k needs"):
        statistics.majority_at_k(["5"], [True], 2)


def test_best_of_n_by_hand() -> None:
    assert statistics.best_of_n([0.1, 0.9, 0.5], [True, False, True]) == 0.0
    assert statistics.best_of_n([0.9, 0.9, 0.5], [True, False, True]) == 0.5


@settings(max_examples=150, deadline=None)
@given(samples, st.integers(1, 8))
def test_best_of_n_from_pool_is_the_mean_over_all_subsets(drawn: list[tuple[str | None, int]], n: int) -> None:
    correct, scores = [answer == "a" for answer, _ in drawn], [score for _, score in drawn]
    n = min(n, len(drawn))
    subsets = combinations(range(len(drawn)), n)
    brute = np.mean([statistics.best_of_n([scores[i] for i in s], [correct[i] for i in s]) for s in subsets])
    assert statistics.best_of_n_from_pool(scores, correct, n) == pytest.approx(brute, abs=1e-12)


def test_best_of_n_from_pool_refuses_a_small_pool() -> None:
    with pytest.raises(ValueError, match="best-of-n needs"):
        statistics.best_of_n_from_pool([1.0], [True], 2)


def test_bootstrap_interval_agrees_with_scipy() -> None:
    values = np.random.default_rng(1).random(200)
    ours = statistics.bootstrap_interval(values, seed=0, resamples=4000)
    theirs = bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=2).confidence_interval
    assert ours.mean == pytest.approx(values.mean())
    assert (ours.low, ours.high) == (pytest.approx(theirs.low, abs=3e-3), pytest.approx(theirs.high, abs=3e-3))
    assert ours == statistics.bootstrap_interval(values, seed=0, resamples=4000)


def test_bootstrap_interval_at_the_edges() -> None:
    assert statistics.bootstrap_interval([1.0, 1.0], seed=0) == statistics.Interval(1.0, 1.0, 1.0)
    assert math.isnan(statistics.bootstrap_interval([], seed=0).low)
    wide, narrow = (statistics.bootstrap_interval([0, 1] * 50, seed=0, level=level) for level in (0.99, 0.5))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_paired_bootstrap_takes_the_difficulty_out() -> None:
    generator = np.random.default_rng(3)
    difficulty = generator.random(300)
    a, b = difficulty + 0.05 + 0.01 * generator.standard_normal(300), difficulty
    paired = statistics.paired_bootstrap(a, b, seed=0)
    normal = ttest_rel(a, b).confidence_interval()
    assert (paired.low, paired.high) == (pytest.approx(normal.low, abs=3e-4), pytest.approx(normal.high, abs=3e-4))
    assert paired.settled
    assert not statistics.paired_bootstrap([1, 0, 1, 0], [0, 1, 0, 1], seed=0).settled
    with pytest.raises(ValueError, match="a pair a problem"):
        statistics.paired_bootstrap([1, 0], [1], seed=0)


def test_interval_over_seeds_by_hand() -> None:
    # mean 2, s = 1, t(.975, 2) = 4.302653, half width 4.302653 / sqrt(3)
    interval = statistics.mean_interval_over_seeds([1.0, 2.0, 3.0])
    assert (interval.mean, interval.high) == (2.0, pytest.approx(2 + 4.3026527 / math.sqrt(3), abs=1e-6))
    assert statistics.mean_interval_over_seeds([0.4]) == statistics.Interval(0.4, -math.inf, math.inf)


def test_interval_over_seeds_and_problems_by_hand() -> None:
    # runs 0.5, 1.5, 4: s² 3.25, over 3; problems 1, 3: s² 2, over 2; t(.975) at (25/12)² / ((13/12)²/2 + 1²/1) = 2.7
    interval = statistics.interval_over_seeds_and_problems([[0, 1], [1, 2], [2, 6]])
    half = 4.3026527 * math.sqrt(3.25 / 3 + 2 / 2)
    assert (interval.mean, interval.high) == (2.0, pytest.approx(2 + half, abs=1e-6))


def test_without_a_spread_of_problems_the_interval_is_that_over_seeds() -> None:
    values = np.array([[0.1], [0.4], [0.2], [0.7]]).repeat(5, axis=1)
    alone = statistics.mean_interval_over_seeds(values[:, 0])
    both = statistics.interval_over_seeds_and_problems(values)
    assert (both.low, both.high) == (pytest.approx(alone.low), pytest.approx(alone.high))
    assert statistics.interval_over_seeds_and_problems(np.ones((3, 4))) == statistics.Interval(1.0, 1.0, 1.0)


@pytest.mark.parametrize(("seeds", "runs", "problems"), [(3, 0.0, 0.5), (3, 0.05, 0.2), (5, 0.1, 0.2)])
def test_the_interval_holds_the_truth_of_new_runs_on_new_problems(seeds: int, runs: float, problems: float) -> None:
    draw = np.random.default_rng(0).normal
    shapes = ((runs, (seeds, 1)), (problems, (1, 100)), (0.4, (seeds, 100)))
    intervals = [
        statistics.interval_over_seeds_and_problems(sum(draw(0, size, shape) for size, shape in shapes))
        for _ in range(300)
    ]
    assert np.mean([i.low < 0 < i.high for i in intervals]) > 0.92  # over seeds alone it is 0.80 in the first case


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 7, 30, 101])
@pytest.mark.parametrize("probability", [0.75, 0.95, 0.975, 0.9995])
def test_student_t_quantile_is_scipys(degrees: int, probability: float) -> None:
    assert statistics.student_t_quantile(probability, degrees) == pytest.approx(t.ppf(probability, degrees), rel=1e-9)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 6), (6, 1), (5, 5), (30, 12), (1, 0)])
def test_mcnemar_is_the_exact_sign_test(gained: int, lost: int) -> None:
    expected = binomtest(gained, gained + lost, 0.5).pvalue if gained + lost else 1.0
    assert statistics.mcnemar(gained, lost) == pytest.approx(expected)
