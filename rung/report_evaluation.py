"""What an evaluation (the content of eval/summary.json) says: measurements with intervals, and paired differences."""

import math
from dataclasses import dataclass

from rung.report_data import Row, arm_name, number

BASE = "sft"


@dataclass(frozen=True)
class Measurement:
    """One cell of the final table: a mean in [0, 1] and its interval, whose ends are nan where none was recorded."""

    metric: str
    arm: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """a − b on the same problems and its 95% interval, in fractions."""

    a: str
    b: str
    metric: str
    mean: float
    low: float
    high: float

    @property
    def settled(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0


def comparisons(evaluation: Row) -> list[Comparison]:
    """The paired differences of an evaluation, turned so that a trained arm is measured against its base.

    One without an interval is left out: it would look like a result and is none.
    """
    found = []
    for row in evaluation.get("paired", []):
        a, b, metric = arm_name(str(row.get("a"))), arm_name(str(row.get("b"))), metric_name(str(row.get("metric", "")))
        mean, low, high = (number(row.get(key)) for key in ("mean", "low", "high"))
        if a == BASE or (a == "outcome" and b == "process"):
            a, b, mean, low, high = b, a, -mean, -high, -low
        if math.isfinite(mean + low + high):
            found.append(Comparison(a, b, metric, mean, low, high))
    return found


def measurements(summary: Row) -> list[Measurement]:
    """The final table of an evaluation summary, metric by metric in the order they first appear.

    A metric is {"mean", "low", "high"}, a bare fraction, or a mapping from k to either ("pass@k": {"8": ...}).
    Whole numbers are counts (problems, samples), not metrics.
    """
    cells = [cell for row in summary.get("arms", []) for cell in _arm_cells(row)]
    order = list(dict.fromkeys(cell.metric for cell in cells))
    return sorted(cells, key=lambda cell: order.index(cell.metric))


def metric_name(key: str, k: object = None) -> str:
    """How a metric reads on the page: ("best_of_n", 8) is "best of 8", "pass@k" stays as it is without a k."""
    words = key.replace("_", " ")
    if k is None:
        return words
    for ending in ("@k", " n", " k"):
        if words.endswith(ending):
            return f"{words[:-1]}{k}"
    return f"{words} {k}"


def _arm_cells(row: Row) -> list[Measurement]:
    arm = arm_name(str(row.get("name", "?")))
    cells = []
    for key, value in row.items():
        if isinstance(value, float) and key != "name":
            cells.append(Measurement(metric_name(key), arm, value, math.nan, math.nan))
        elif isinstance(value, dict) and "mean" in value:
            cells.append(_interval_cell(metric_name(key, value.get("k", value.get("n"))), arm, value))
        elif isinstance(value, dict):
            for k, inner in value.items():
                as_interval = inner if isinstance(inner, dict) else {"mean": inner}
                cells.append(_interval_cell(metric_name(key, k), arm, as_interval))
    return [cell for cell in cells if math.isfinite(cell.mean)]


def _interval_cell(metric: str, arm: str, value: Row) -> Measurement:
    return Measurement(metric, arm, *(number(value.get(end)) for end in ("mean", "low", "high")))
