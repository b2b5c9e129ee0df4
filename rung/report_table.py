"""The final table in a terminal: what each arm earned, with intervals, and the paired differences under it."""

import math
from typing import TYPE_CHECKING

from rung.report_axes import percent, points
from rung.report_data import Row
from rung.report_evaluation import Comparison, Measurement, comparisons, measurements

if TYPE_CHECKING:
    from rich.table import Table


def terminal_table(summary: Row) -> "Table":
    """A rich table of an evaluation summary (the content of eval/summary.json): an arm a row, a metric a column.

    Differences stand in the caption with a word on whether their interval leaves zero out.
    """
    from rich.table import Table
    from rich.text import Text

    cells = measurements(summary)
    metrics = list(dict.fromkeys(cell.metric for cell in cells))
    by_place = {(cell.arm, cell.metric): cell for cell in cells}
    table = Table(title="Held-out problems", title_justify="left", caption_justify="left")
    table.add_column("arm", no_wrap=True)
    for metric in metrics:
        table.add_column(Text(metric), justify="right")
    for arm in dict.fromkeys(cell.arm for cell in cells):
        row = [cell_text(by_place[arm, metric]) if (arm, metric) in by_place else "–" for metric in metrics]
        table.add_row(Text(arm), *row)  # Text: a name is shown as it is, never read as markup
    differences = [difference_text(pair) for pair in comparisons(summary)]
    if differences:
        table.caption = Text("\n".join(differences))
    return table


def cell_text(cell: Measurement) -> str:
    """53.1% over [49.0, 57.2]; the mean alone where no interval was recorded."""
    if not (math.isfinite(cell.low) and math.isfinite(cell.high)):
        return percent(cell.mean)
    return f"{percent(cell.mean)}\n[{cell.low * 100:.1f}, {cell.high * 100:.1f}]"


def difference_text(pair: Comparison) -> str:
    """process − sft, greedy: +11.8 points [+7.9, +15.6]."""
    verdict = "" if pair.settled else ": not settled, the interval holds zero"
    change = f"{points(pair.mean)} points [{points(pair.low)}, {points(pair.high)}]"
    return f"{pair.a} − {pair.b}, {pair.metric}: {change}{verdict}"
