"""Scales, round ticks, smoothing and number formats: what a plot needs before anything is drawn."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal["percent", "number"]
MINUS = "−"


@dataclass(frozen=True)
class Scale:
    """A linear map of the data range [low, high] onto the drawing range from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def padded_range(values: Iterable[float], kind: Kind = "number") -> tuple[float, float]:
    """The range of the values and 6% around it, opened where they are alike (but for rounding); percentages in [0, 1].

    Nothing that is never negative is shown on an axis that goes below zero.
    """
    data = list(values)
    low, high = min(data), max(data)
    alike = high - low <= 1e-9 * max(abs(low), abs(high))
    pad = 0.0 if alike else 0.06 * (high - low)
    pad = pad or 0.1 * abs(high) or 0.1
    start = max(low - pad, 0.0) if low >= 0 else low - pad
    return (start, min(high + pad, 1.0) if kind == "percent" and high <= 1 else high + pad)


def round_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten inside [low, high]: of these steps the one nearest to that many."""
    power = 10.0 ** math.floor(math.log10((high - low) / about))
    step = min((m * power for m in (1, 2, 5, 10)), key=lambda s: abs(math.log((high - low) / s / about)))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def tick_label(value: float, kind: Kind, step: float) -> str:
    """A tick as short as its distance to the next allows: 40%, 1.5M, 0.05."""
    if kind == "percent":
        return signed(value * 100, decimals_of(step * 100)) + "%"
    for size, suffix in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return signed(value / size, decimals_of(step / size)) + suffix
    return signed(value, decimals_of(step)) if value else "0"


def decimals_of(step: float) -> int:
    """Decimals that tell multiples of a round step apart: 0 for 20, 1 for 0.5, 2 for 0.02."""
    return max(0, -math.floor(math.log10(step) + 1e-9))


def signed(value: float, decimals: int, plus: bool = False) -> str:
    """A number with a true minus sign, and a plus sign if wanted; never a negative zero."""
    text = f"{abs(value):.{decimals}f}"
    if float(text) == 0:
        return text
    return (MINUS if value < 0 else "+" if plus else "") + text


def percent(value: float) -> str:
    """0.5312 is 53.1%; a dash where there is no number."""
    return signed(value * 100, 1) + "%" if math.isfinite(value) else "–"


def points(value: float) -> str:
    """A difference of two fractions in percentage points: 0.118 is +11.8."""
    return signed(value * 100, 1, plus=True)


def plain(value: float) -> str:
    """A number for a table: whole ones grouped by thousands, others to three decimals or two digits."""
    if not math.isfinite(value):
        return "–"
    if value == int(value):
        return f"{int(value):,}".replace("-", MINUS)
    if abs(value) >= 0.001:
        return signed(value, 3) if abs(value) < 1000 else f"{value:,.0f}".replace("-", MINUS)
    return f"{value:.1e}".replace("-", MINUS)


def three_decimals(value: float) -> str:
    """A score in [0, 1] for a column of its like: 0.931; a dash where there is no number."""
    return signed(value, 3) if math.isfinite(value) else "–"


def compact(value: float) -> str:
    """A count in three digits: 1234567 is 1.23M."""
    for size, suffix in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.3g}"


def smooth(values: Sequence[float], share: float = 0.05) -> list[float]:
    """Local linear regression under a Gaussian whose σ is that share of the series (Cleveland 1979, one pass).

    A line is fitted around every point rather than a mean, so that steep starts and ends are not pulled inwards.
    With moments S_j = Σ k d^j and T_j = Σ k d^j y over distances d, the fit is (S_2 T_0 - S_1 T_1) / (S_2 S_0 - S_1²),
    held within the values that there are: no share of nothing falls below 0.
    """
    y = np.asarray(values, dtype=np.float64)
    sigma = max(y.size * share, 1.0)
    reach = min(math.ceil(3 * sigma), y.size - 1)
    d = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (d / sigma) ** 2)

    def moment(power: int, of: np.ndarray) -> np.ndarray:
        return np.convolve(of, (kernel * d**power)[::-1], mode="full")[reach : reach + y.size]

    s0, s1, s2 = (moment(power, np.ones_like(y)) for power in range(3))
    fit = (s2 * moment(0, y) - s1 * moment(1, y)) / (s2 * s0 - s1**2)
    return list(np.clip(fit, y.min(), y.max()))


def thin(length: int, most: int = 240) -> list[int]:
    """At most that many indices spread evenly over a series, both ends kept, so that a page stays small."""
    if length <= most:
        return list(range(length))
    return sorted({round(i * (length - 1) / (most - 1)) for i in range(most)})


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions moved apart to at least ``gap`` and kept in [low, high] where they fit, in their own order."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = [places[i] for i in order]
    for i in range(1, len(moved)):
        moved[i] = max(moved[i], moved[i - 1] + gap)
    overflow = max(0.0, moved[-1] - high) if moved else 0.0
    for i in range(len(moved) - 1, -1, -1):
        ceiling = high if i == len(moved) - 1 else moved[i + 1] - gap
        moved[i] = min(moved[i], ceiling) if overflow else moved[i]
    result = [0.0] * len(places)
    for place, i in zip(moved, order, strict=True):
        result[i] = max(place, low)
    return result
