"""rung.annotation.agreement: published worked examples, hand-worked numbers, and the definitions by brute force."""

import math
from itertools import permutations

import numpy as np
import pytest

from rung.annotation.agreement import (
    category_counts,
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    leniency,
    pairwise_kappas,
)

NAN = math.nan
# The reliability data of Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", section C.
KRIPPENDORFF = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
)
# 14 raters, 10 subjects, 5 categories: the usual worked example of Fleiss' kappa.
FLEISS = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]


def random_ratings(seed: int, raters: int = 4, units: int = 30, missing: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    truth = rng.integers(-1, 2, units)
    ratings = np.where(rng.random((raters, units)) < 0.6, truth, rng.integers(-1, 2, (raters, units))).astype(float)
    ratings[rng.random((raters, units)) < missing] = NAN
    return ratings


def test_published_examples() -> None:
    assert krippendorff_alpha(KRIPPENDORFF, "nominal") == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha(KRIPPENDORFF, "ordinal") == pytest.approx(0.815, abs=5e-4)
    assert fleiss_kappa(np.array(FLEISS)) == pytest.approx(0.210, abs=5e-4)
    # 20 times both say yes, 15 both no, 5 and 10 they differ: p_o = 0.7, p_e = 0.5 * 0.6 + 0.5 * 0.4 = 0.5
    a = np.array([1] * 20 + [0] * 15 + [1] * 5 + [0] * 10, dtype=float)
    b = np.array([1] * 20 + [0] * 15 + [0] * 5 + [1] * 10, dtype=float)
    assert cohen_kappa(a, b) == pytest.approx(0.4)


def test_by_hand() -> None:
    # three steps, two people, one disagreement: o = [[2, 1], [1, 2]], n = 3 + 3; 1 - 2 / (2 * 9 / 5) = 4/9
    two = np.array([[1, -1, 1], [1, -1, -1]], dtype=float)
    assert krippendorff_alpha(two, "nominal") == pytest.approx(4 / 9)
    assert krippendorff_alpha(two, "ordinal") == pytest.approx(4 / 9)  # with two values there is nothing between them
    assert cohen_kappa(*two) == pytest.approx((2 / 3 - 4 / 9) / (5 / 9))  # p_e = 2/3 * 1/3 + 1/3 * 2/3
    assert fleiss_kappa(category_counts(two, (-1, 0, 1))) == pytest.approx((2 / 3 - 1 / 2) / (1 / 2))
    # one is kinder by 2 on the last step, alike on the others
    lenient, strict = leniency(two)
    assert (lenient.mean, strict.mean, lenient.units) == (pytest.approx(2 / 3), pytest.approx(-2 / 3), 3)
    assert lenient.high - lenient.mean == pytest.approx(1.96 * math.sqrt(4 / 3) / math.sqrt(3))


def test_perfect_opposite_and_nothing_to_tell() -> None:
    same = np.array([[1, 0, -1, 1], [1, 0, -1, 1]], dtype=float)
    assert krippendorff_alpha(same, "ordinal") == cohen_kappa(*same) == 1
    assert fleiss_kappa(category_counts(same, (-1, 0, 1))) == 1
    opposite = np.array([[1, -1], [-1, 1]], dtype=float)
    assert cohen_kappa(*opposite) == -1
    alone = np.array([[1, -1, NAN], [NAN, NAN, 1]])
    one_value = np.ones((2, 5))
    for nothing in (alone, one_value):
        assert math.isnan(krippendorff_alpha(nothing, "nominal"))
        assert math.isnan(cohen_kappa(*nothing))
        assert math.isnan(fleiss_kappa(category_counts(nothing, (-1, 0, 1))))
    assert [m.units for m in leniency(alone)] == [0, 0]
    with pytest.raises(ValueError, match="same number of ratings"):
        fleiss_kappa(np.array([[2, 0], [1, 0]]))


@pytest.mark.parametrize("seed", range(5))
def test_alpha_by_its_definition(seed: int) -> None:
    """Mean disagreement of two ratings of one unit over that of any two ratings, by listing all pairs."""
    ratings = random_ratings(seed)
    units = [unit[~np.isnan(unit)] for unit in ratings.T]
    units = [unit for unit in units if len(unit) >= 2]
    pooled = np.concatenate(units)

    def ordinal(a: float, b: float) -> float:
        low, high = min(a, b), max(a, b)
        between = ((pooled >= low) & (pooled <= high)).sum()
        return float(between - ((pooled == a).sum() + (pooled == b).sum()) / 2) ** 2

    for level, distance in (("nominal", lambda a, b: float(a != b)), ("ordinal", ordinal)):
        within = sum(sum(distance(a, b) for a, b in permutations(unit, 2)) / (len(unit) - 1) for unit in units)
        among = sum(distance(a, b) for a, b in permutations(pooled, 2)) / (len(pooled) - 1)
        assert krippendorff_alpha(ratings, level) == pytest.approx(1 - within / among)  # type: ignore[arg-type]


def test_what_is_missing_is_left_out() -> None:
    ratings = random_ratings(7)
    for (i, j), (kappa, shared) in pairwise_kappas(ratings).items():
        both = ~np.isnan(ratings[i]) & ~np.isnan(ratings[j])
        assert shared == both.sum()
        assert kappa == pytest.approx(cohen_kappa(ratings[i, both], ratings[j, both]))
    counts = category_counts(ratings, (-1, 0, 1))
    judged = (~np.isnan(ratings)).sum(0)
    n = int(counts[0].sum())
    assert (counts.sum(1) == n).all()
    assert len(counts) == (judged == n).sum() == max((judged == k).sum() for k in (2, 3, 4))


def test_like_the_peers() -> None:
    rates = pytest.importorskip("statsmodels.stats.inter_rater", reason="statsmodels is not installed")
    alpha = pytest.importorskip("krippendorff", reason="the package krippendorff is not installed").alpha
    for seed in range(5):
        ratings = random_ratings(seed)
        for level in ("nominal", "ordinal"):
            theirs = alpha(reliability_data=ratings, level_of_measurement=level)
            assert krippendorff_alpha(ratings, level) == pytest.approx(theirs)  # type: ignore[arg-type]
        whole = random_ratings(seed, missing=0)
        table, _ = rates.aggregate_raters(whole.T)
        assert fleiss_kappa(table) == pytest.approx(rates.fleiss_kappa(table))
        pair = np.array([[((whole[0] == a) & (whole[1] == b)).sum() for b in (-1, 0, 1)] for a in (-1, 0, 1)])
        assert cohen_kappa(whole[0], whole[1]) == pytest.approx(rates.cohens_kappa(pair, return_results=False))
