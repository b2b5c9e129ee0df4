import math

import numpy as np
import pytest

from rung import report_axes as axes


@pytest.mark.parametrize(
    ("low", "high", "about", "ticks"),
    [
        (0, 1, 5, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.31, 0.68, 4, [0.4, 0.5, 0.6]),
        (0, 1_382_400, 5, [0, 200_000, 400_000, 600_000, 800_000, 1_000_000, 1_200_000]),
        (-0.03, 0.17, 4, [0, 0.05, 0.1, 0.15]),
        (-7, 7, 3, [-5, 0, 5]),
    ],
)
def test_round_ticks(low: float, high: float, about: int, ticks: list[float]) -> None:
    assert axes.round_ticks(low, high, about) == pytest.approx(ticks)


@pytest.mark.parametrize("exponent", range(-6, 9))
def test_there_are_ticks_at_every_size(exponent: int) -> None:
    for high in (1.0, 1.7, 3.3, 9.9):
        assert 2 <= len(axes.round_ticks(0.1 * 10.0**exponent, high * 10.0**exponent, 4)) <= 8


def test_labels() -> None:
    assert axes.tick_label(0.4, "percent", 0.1) == "40%"
    assert axes.tick_label(0.025, "percent", 0.005) == "2.5%"
    assert axes.tick_label(1_200_000, "number", 200_000) == "1.2M"
    assert axes.tick_label(500_000, "number", 500_000) == "500k"
    assert axes.tick_label(0, "number", 0.5) == "0"
    assert axes.tick_label(-0.05, "number", 0.05) == "−0.05"
    assert axes.points(0.118) == "+11.8"
    assert axes.points(-0.0004) == "0.0"  # neither +0.0 nor -0.0
    assert axes.percent(math.nan) == axes.three_decimals(math.nan) == axes.plain(math.inf) == "–"
    assert [axes.plain(v) for v in (9312, 0.78125, 0.00012, -3, 12345.6)] == [
        "9,312",
        "0.781",
        "1.2e−04",
        "−3",
        "12,346",
    ]
    assert [axes.compact(v) for v in (999, 1_234_567, 9216)] == ["999", "1.23M", "9.22k"]


def test_padded_range_never_invents_negative_or_impossible_values() -> None:
    assert axes.padded_range([0.0, 1.0], "percent") == (0.0, 1.0)
    assert axes.padded_range([2.0, 2.0]) == (1.8, pytest.approx(2.2))
    assert axes.padded_range([0.0, 0.0]) == (0.0, 0.1)
    low, high = axes.padded_range([-1.0, 1.0])
    assert (low, high) == (pytest.approx(-1.12), pytest.approx(1.12))


def test_smooth_keeps_lines_and_takes_noise_out() -> None:
    line = [3.0 + 0.5 * i for i in range(60)]
    assert axes.smooth(line) == pytest.approx(line)  # the ends too: a moving average would bend them
    noise = np.random.default_rng(0).standard_normal(500)
    assert np.std(axes.smooth(noise.tolist())[50:-50]) < 0.25
    assert axes.smooth([1.0, 2.0]) == pytest.approx([1.0, 2.0])
    assert min(axes.smooth([0.0] * 20 + [0.06] * 3 + [0.0] * 3)) == 0  # a line fitted to the end alone would fall below


def test_smooth_is_weighted_least_squares() -> None:
    y = np.random.default_rng(1).random(40)
    d, sigma = np.arange(40) - 13, 40 * 0.1
    weight = np.sqrt(np.exp(-0.5 * (d / sigma) ** 2) * (np.abs(d) <= math.ceil(3 * sigma)))
    fit = np.linalg.lstsq(np.stack([weight, weight * d], axis=1), weight * y, rcond=None)[0]
    assert axes.smooth(y.tolist(), 0.1)[13] == pytest.approx(fit[0])


def test_thin_keeps_the_ends() -> None:
    assert axes.thin(5) == [0, 1, 2, 3, 4]
    kept = axes.thin(10_001, 100)
    assert (kept[0], kept[-1], len(kept)) == (0, 10_000, 100)


def test_spread_moves_labels_apart_in_order() -> None:
    assert axes.spread([10, 12, 50], 13, 0, 100) == [10, 23, 50]
    assert axes.spread([99, 98, 97], 10, 0, 100) == [100, 90, 80]
    assert axes.spread([5], 10, 8, 100) == [8]
    assert axes.spread([], 10, 0, 100) == []


def test_scale_maps_ends_to_ends() -> None:
    scale = axes.Scale(0.0, 4.0, 100.0, 20.0)
    assert [scale(v) for v in (0, 1, 4)] == [100, 80, 20]
