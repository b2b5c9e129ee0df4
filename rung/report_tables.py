"""The report's tables as records: the final table with its bars, paired differences, the reward model, the labels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rung.report_axes import Scale, padded_range, percent, plain, points, three_decimals
from rung.report_data import Row, number
from rung.report_evaluation import Comparison, Measurement, comparisons, measurements
from rung.report_plots import Canvas

BAR_START, BAR_END = 3.0, 97.0  # percent of the width of a bar's cell
PRM_MEASURES = [
    (("auc",), "AUC of right against wrong steps", "higher is better"),
    (("calibration_error",), "Expected calibration error", "lower is better"),
    (("brier",), "Brier score", "lower is better"),
    (("step_accuracy",), "Steps judged rightly", "higher is better"),
    (("first_error", "f1"), "First-error F1", "higher is better"),
    (("first_error", "error_accuracy"), "First error named, wrong solutions", "higher is better"),
    (("first_error", "correct_accuracy"), "Left alone, right solutions", "higher is better"),
]


@dataclass(frozen=True)
class BarRow:
    """A row of a table with an interval bar."""

    name: str
    style: str
    value: str
    interval: str
    verdict: str
    bar: Markup


@dataclass(frozen=True)
class BarTable:
    """Rows grouped by metric, and the scale under their bars."""

    groups: dict[str, list[BarRow]]
    axis: Markup


@dataclass(frozen=True)
class ScoreRow:
    """A measure of a run's reward model beside what blind guesses earn; a dash where it was not recorded."""

    run: str
    name: str
    sense: str
    model: str
    constant: str
    mixed: str


@dataclass(frozen=True)
class Matrix:
    """A small table of counts with the names of its rows and columns."""

    title: str
    columns: list[str]
    rows: list[tuple[str, list[str]]]


def final_table(canvas: Canvas, evaluation: Row) -> BarTable | None:
    """Every arm's result on every metric, all bars on one scale; None without results."""
    cells = measurements(evaluation)
    if not cells:
        return None
    ends = [v for c in cells for v in (c.mean, c.low, c.high) if math.isfinite(v)]
    scale = Scale(*padded_range(ends, "percent"), BAR_START, BAR_END)
    groups: dict[str, list[BarRow]] = {}
    for cell in cells:
        groups.setdefault(cell.metric, []).append(_result_row(canvas, scale, cell))
    return BarTable(groups, canvas.bar_axis(scale))


def paired_table(canvas: Canvas, evaluation: Row) -> BarTable | None:
    """Paired differences in points on one scale that holds zero; None without any."""
    pairs = comparisons(evaluation)
    if not pairs:
        return None
    ends = [0.0, *(v for p in pairs for v in (p.mean, p.low, p.high))]
    low, high = min(ends), max(ends)
    pad = 0.06 * (high - low) or 0.01
    scale = Scale(low - pad, high + pad, BAR_START, BAR_END)
    groups: dict[str, list[BarRow]] = {}
    for pair in pairs:
        groups.setdefault(pair.metric, []).append(_pair_row(canvas, scale, pair))
    return BarTable(groups, canvas.bar_axis(scale, unit=""))


def prm_table(summaries: Sequence[tuple[str, Row]]) -> list[ScoreRow]:
    """The measures that were recorded of each run's reward model (run, summary), measure by measure, beside the guesses
    that never look at a solution."""
    rows = []
    for path, name, sense in PRM_MEASURES:
        for run, summary in summaries:
            if math.isfinite(value := _at(summary, path)):
                rows.append(ScoreRow(run, name, sense, *map(three_decimals, (value, *_guesses(summary, path)))))
    return rows


def _guesses(summary: Row, path: tuple[str, ...]) -> tuple[float, float]:
    """What the best constant and the best coin toss earn; nan where it was not recorded."""
    baseline = summary.get("baseline", {})
    constant = _at(baseline, path)
    if not math.isfinite(constant):
        constant = number(baseline.get(path[-1]))
    return constant, number(baseline.get("mixed_first_error", {}).get(path[-1])) if len(path) > 1 else math.nan


def scalar_rows(record: Row, leave_out: frozenset[str] = frozenset(), above: str = "") -> list[tuple[str, str]]:
    """Every number and word in a record as (name, value), names of nested ones joined by a dot."""
    rows = []
    for key, value in record.items():
        name = f"{above}{key.replace('_', ' ')}"
        if key in leave_out:
            continue
        if isinstance(value, dict):
            rows += scalar_rows(value, leave_out, f"{name} · ")
        elif isinstance(value, str | bool) and value != "":
            rows.append((name, str(value)))
        elif isinstance(value, int | float):
            rows.append((name, plain(value)))
    return rows


def agreement_matrices(labels: Row) -> list[Matrix]:
    """Every "table" of counts in the label summary, under the names it brings ("table_rows", "table_columns")."""
    found = []
    for title, record in [("", labels), *((k, v) for k, v in labels.items() if isinstance(v, dict))]:
        counts = record.get("table")
        if isinstance(counts, list) and counts and all(isinstance(row, list) for row in counts):
            columns = _names(record.get("table_columns"), max(map(len, counts)))
            names = _names(record.get("table_rows"), len(counts))
            rows = [(name, [plain(number(v)) for v in row]) for name, row in zip(names, counts, strict=True)]
            found.append(Matrix(title.replace("_", " "), columns, rows))
    return found


def _names(given: object, size: int) -> list[str]:
    names = given if isinstance(given, list) and len(given) == size else range(size)
    return [str(name).replace("_", " ") for name in names]


def _at(record: Row, path: tuple[str, ...]) -> float:
    value: object = record
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return number(value)


def _result_row(canvas: Canvas, scale: Scale, cell: Measurement) -> BarRow:
    style = canvas.style_of(cell.arm)
    bar = canvas.bar(scale, cell.mean, cell.low, cell.high, style)
    interval = f"{percent(cell.low)} to {percent(cell.high)}" if math.isfinite(cell.low + cell.high) else ""
    return BarRow(cell.arm, style, percent(cell.mean), interval, "", bar)


def _pair_row(canvas: Canvas, scale: Scale, pair: Comparison) -> BarRow:
    style = canvas.style_of(pair.a)
    bar = canvas.bar(scale, pair.mean, pair.low, pair.high, style, zero=True)
    interval = f"{points(pair.low)} to {points(pair.high)}"
    verdict = "not settled" if not pair.settled else "more" if pair.mean > 0 else "less"
    return BarRow(f"{pair.a} −\u00a0{pair.b}", style, points(pair.mean), interval, verdict, bar)
