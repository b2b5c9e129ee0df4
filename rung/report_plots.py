"""The report's pictures as inline SVG: curves, a reliability diagram, interval bars. Colours live in report.css.

Every label passes through ``safe``; every picture carries a title and a description for those who cannot see it.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from markupsafe import Markup, escape

from rung.report_axes import (
    Kind,
    Scale,
    compact,
    padded_range,
    percent,
    plain,
    round_ticks,
    smooth,
    spread,
    thin,
    tick_label,
)

WIDTH, HEIGHT = 420.0, 236.0
LEFT, TOP, BOTTOM = 44.0, 10.0, 38.0
LETTER = 6.9  # mean advance of the 12 px label face, to leave room for labels at the ends of lines
FEW = 9  # a series this short is drawn as joined dots, smoothing it would invent a shape
_NEVER_SHOWN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


@dataclass(frozen=True)
class Series:
    """One line: ``style`` is its CSS class (a colour), ``dashed`` tells two kinds of one colour apart.

    ``smoothing`` is the σ of its smoother as a share of the series, 0 for a line through the points themselves.
    With ``low`` and ``high`` (as long as x) the line is drawn as it is, in a band between them.
    """

    label: str
    style: str
    x: list[float]
    y: list[float]
    dashed: bool = False
    smoothing: float = 0.05
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Axis:
    """What an axis measures."""

    label: str
    kind: Kind = "number"


def visible(text: str) -> str:
    """The text with every control, direction and zero-width character, and every lone surrogate, spelt out.

    Such characters could break the page (NUL, surrogates) or reorder what a reader sees (U+202E and its kin).
    """
    return _NEVER_SHOWN.sub(lambda match: _spelt_out(ord(match[0])), text)


def _spelt_out(code: int) -> str:
    return chr(0x2400 + code) if code < 0x20 else f"⟨U+{code:04X}⟩"


def safe(text: object) -> Markup:
    """Any text made fit for a page: invisible characters spelt out, markup escaped; Markup passes as it is."""
    return escape(text) if isinstance(text, Markup) else escape(visible(str(text)))


class Canvas:
    """Numbers pictures so that the ids of their titles differ within one page, and knows each arm's colour."""

    def __init__(self, styles: Mapping[str, str] | None = None) -> None:
        self._numbers = count(1)
        self._styles = styles or {}

    def style_of(self, arm: str) -> str:
        """The colour class of an arm, one for all that were given none."""
        return self._styles.get(arm, "c-arm1")

    def svg(self, width: float, height: float, title: str, description: str, parts: Sequence[Markup]) -> Markup:
        """An accessible picture that scales with its column."""
        return self._told(Markup('viewBox="0 0 {:g} {:g}"').format(width, height), title, description, parts)

    def strip(self, height: int, title: str, description: str, parts: Sequence[Markup]) -> Markup:
        """An accessible picture as wide as its cell: percent across, pixels down, so that nothing is stretched."""
        return self._told(Markup('class="strip" height="{}"').format(height), title, description, parts)

    def _told(self, size: Markup, title: str, description: str, parts: Sequence[Markup]) -> Markup:
        key = f"p{next(self._numbers)}"
        return Markup(
            '<svg {size} role="img" aria-labelledby="{k}t {k}d">'
            '<title id="{k}t">{title}</title><desc id="{k}d">{description}</desc>{body}</svg>'
        ).format(size=size, k=key, title=safe(title), description=safe(description), body=Markup("").join(parts))

    def lines(
        self, title: str, series: Sequence[Series], x_axis: Axis, y_axis: Axis, peak: Series | None = None
    ) -> Markup:
        """Smoothed lines over their faint raw points, named at their right ends. At least one series has a point.

        ``peak`` is the series (one of them) whose highest place is marked.
        """
        drawn = [s for s in series if s.x]
        right = WIDTH - 14 - LETTER * max(len(s.label) for s in drawn)
        x = Scale(*_x_range([v for s in drawn for v in s.x]), LEFT, right)
        heard = [v for s in drawn for v in (*s.y, *s.low, *s.high)]
        y = Scale(*padded_range(heard, y_axis.kind), HEIGHT - BOTTOM, TOP)
        parts = [*_grid(x, y, x_axis, y_axis)]
        parts += [_band(s, x, y) for s in drawn if s.low]
        parts += [_raw(s, x, y) for s in drawn if _is_smooth(s)]
        curves = [_curve(s) for s in drawn]
        parts += [_line(s, curve, x, y) for s, curve in zip(drawn, curves, strict=True)]
        heights = spread([y(curve[1][-1]) + 4 for curve in curves], 13.5, TOP + 8, HEIGHT - BOTTOM)
        parts += [_text(right + 8, h, s.label, f"name {s.style}") for s, h in zip(drawn, heights, strict=True)]
        told = _told(drawn, x_axis, y_axis)
        if peak is not None and peak.x:
            at, value = _peak(peak)
            show = percent if y_axis.kind == "percent" else plain
            parts += _peak_mark(x(at), y(value), f"peak {show(value)}", near_end=x(at) > (LEFT + right) / 2)
            told += f" {peak.label} peaks with {show(value)} at {at:.2g}."
        return self.svg(WIDTH, HEIGHT, title, told, parts)

    def reliability(self, rows: Sequence[tuple[float, float, int]]) -> Markup:
        """Rows (mean probability, fraction right, count): dots whose area is the count, against the diagonal."""
        side = HEIGHT - TOP - BOTTOM
        x, y = Scale(0, 1, LEFT, LEFT + side), Scale(0, 1, TOP + side, TOP)
        parts = _grid(x, y, Axis("predicted probability", "percent"), Axis("", "percent"))
        diagonal = Markup('<path class="diagonal" d="M{:.1f} {:.1f}L{:.1f} {:.1f}"/>')
        parts.append(diagonal.format(x(0), y(0), x(1), y(1)))
        path = "M" + "L".join(f"{x(p):.1f} {y(f):.1f}" for p, f, _ in rows)
        parts.append(Markup('<path class="line c-prm" d="{}"/>').format(path))
        dot = Markup('<circle class="dot c-prm" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"/>')
        most = max(n for _, _, n in rows)
        parts += [dot.format(x(p), y(f), max(2.5, 9 * math.sqrt(n / most))) for p, f, n in rows]
        notes = (
            "dotted: calibrated",
            "dot area: its steps,",
            f"{compact(sum(n for *_, n in rows))} in all",
        )
        parts += [_text(LEFT + side + 24, y(0) - 44 + 17 * i, note, "tick") for i, note in enumerate(notes)]
        told = "; ".join(f"predicted {percent(p)}, right {percent(f)}, {compact(n)} steps" for p, f, n in rows)
        return self.svg(WIDTH, HEIGHT, "Reliability diagram", told, parts)

    def bar(self, scale: Scale, mean: float, low: float, high: float, style: str, zero: bool = False) -> Markup:
        """A mean as a dot on its interval, ``scale`` in percent of the width; with ``zero``, a rule where it is."""
        stroke = Markup('<line class="{}" x1="{:.2f}%" x2="{:.2f}%" y1="{}" y2="{}"/>')
        parts = [stroke.format("track", scale.start, scale.end, 9, 9)]
        if zero:
            parts.append(stroke.format("zero", scale(0), scale(0), 0, 18))
        if math.isfinite(low) and math.isfinite(high):
            parts.append(stroke.format(f"whisker {style}", scale(low), scale(high), 9, 9))
        parts.append(Markup('<circle class="dot {}" cx="{:.2f}%" cy="9" r="4"/>').format(style, scale(mean)))
        told = f"{plain(mean)}, interval {plain(low)} to {plain(high)}"
        return self.strip(18, "Interval", told, parts)

    def bar_axis(self, scale: Scale, unit: str = "%") -> Markup:
        """The ticks under a column of bars: fractions shown times a hundred, in percent or in points."""
        ticks = round_ticks(scale.low, scale.high, 3)
        step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
        label = Markup('<text class="tick middle" x="{:.2f}%" y="12">{}</text>')
        parts = [label.format(scale(t), tick_label(t, "percent", step).removesuffix("%") + unit) for t in ticks]
        return self.strip(16, "Scale", "The scale of the bars above", parts)


def _x_range(values: list[float]) -> tuple[float, float]:
    """The range of the values, from zero where that costs little, so that curves side by side share an axis."""
    low, high = min(values), max(values)
    if 0 <= low < 0.3 * high:
        return 0.0, high
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _grid(x: Scale, y: Scale, x_axis: Axis, y_axis: Axis) -> list[Markup]:
    """Light rules at round values, their numbers, and the name of the horizontal axis (the title names the other)."""
    parts = []
    for scale, axis, horizontal in ((y, y_axis, True), (x, x_axis, False)):
        ticks = round_ticks(scale.low, scale.high, 4 if horizontal else 5)
        step = ticks[1] - ticks[0] if len(ticks) > 1 else abs(ticks[0]) if ticks and ticks[0] else 1.0
        for tick in ticks:
            at = scale(tick)
            if horizontal:
                parts.append(Markup('<path class="grid" d="M{:.1f} {:.1f}H{:.1f}"/>').format(x.start, at, x.end))
                parts.append(_text(x.start - 6, at + 4, tick_label(tick, axis.kind, step), "tick end"))
            else:
                parts.append(Markup('<path class="mark" d="M{:.1f} {:.1f}v4"/>').format(at, y.start))
                parts.append(_text(at, y.start + 17, tick_label(tick, axis.kind, step), "tick middle"))
    parts.append(Markup('<path class="base" d="M{:.1f} {:.1f}H{:.1f}"/>').format(x.start, y.start, x.end))
    parts.append(_text((x.start + x.end) / 2, y.start + 33, x_axis.label, "axis middle"))
    return parts


def _is_smooth(series: Series) -> bool:
    return series.smoothing > 0 and len(series.x) >= FEW and not series.low


def _curve(series: Series) -> tuple[list[float], list[float]]:
    """The line to draw: smoothed where the series is long and noisy, else the points themselves."""
    if not _is_smooth(series):
        return series.x, series.y
    return series.x, smooth(series.y, series.smoothing)


def _peak(series: Series) -> tuple[float, float]:
    """Where the line that is drawn for the series is highest."""
    xs, ys = _curve(series)
    best = max(range(len(ys)), key=lambda i: ys[i])
    return xs[best], ys[best]


def _peak_mark(x: float, y: float, label: str, near_end: bool) -> list[Markup]:
    """A dotted rule down from the peak to the axis, with its height in words."""
    rule = Markup('<path class="diagonal" d="M{:.1f} {:.1f}V{:.1f}"/>').format(x, y, HEIGHT - BOTTOM)
    place = (x - 6, "tick end") if near_end else (x + 6, "tick")
    return [rule, _text(place[0], HEIGHT - BOTTOM - 6, label, place[1])]


def _raw(series: Series, x: Scale, y: Scale) -> Markup:
    """Every raw point as a zero-length dash, which a round cap turns into a dot: a tenth of the bytes of circles."""
    dots = "".join(f"M{x(series.x[i]):.1f} {y(series.y[i]):.1f}h0" for i in thin(len(series.x)))
    return Markup('<path class="raw {}" d="{}"/>').format(series.style, dots)


def _band(series: Series, x: Scale, y: Scale) -> Markup:
    """The area between the ends of a band, there along the upper and back along the lower."""
    there = [f"{x(at):.1f} {y(value):.1f}" for at, value in zip(series.x, series.high, strict=True)]
    back = [f"{x(at):.1f} {y(value):.1f}" for at, value in zip(series.x, series.low, strict=True)]
    return Markup('<path class="band {}" d="M{}Z"/>').format(series.style, "L".join(there + back[::-1]))


def _line(series: Series, curve: tuple[list[float], list[float]], x: Scale, y: Scale) -> Markup:
    places = [(x(curve[0][i]), y(curve[1][i])) for i in thin(len(curve[0]))]
    path = Markup('<path class="line {}{}" d="M{}"/>').format(
        series.style, " dashed" if series.dashed else "", "L".join(f"{a:.1f} {b:.1f}" for a, b in places)
    )
    if _is_smooth(series) or series.low:
        return path
    dot = Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="2.8"/>')
    return path + Markup("").join(dot.format(series.style, a, b) for a, b in places)


def _text(x: float, y: float, text: str, style: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" class="{}">{}</text>').format(x, y, style, safe(text))


def _told(series: Sequence[Series], x_axis: Axis, y_axis: Axis) -> str:
    """The picture in a sentence a line: where each starts and ends."""
    show = percent if y_axis.kind == "percent" else plain
    ends = [f"{s.label} goes from {show(c[0])} to {show(c[-1])}" for s in series for c in [_curve(s)[1]]]
    furthest = max(v for s in series for v in s.x)
    return f"{'; '.join(ends)}; over {compact(furthest)} {x_axis.label}."
