"""``rung watch RUN``: a run's metrics in the terminal while it goes on, with a curve of each."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm.config import REQUIRED, key
from lm.errors import UserError
from lm.run import read_metrics, read_timing

if TYPE_CHECKING:
    from rich.console import RenderableType

BARS = "▁▂▃▄▅▆▇█"
# What one looks at first, in this order; the rest of a run's numbers follow.
FIRST = ("accuracy", "eval_accuracy", "loss", "reward", "prm_score", "kl", "entropy", "response_length", "grad_norm")


@dataclass(frozen=True)
class WatchConfig:
    """Show a run, or every run below a ladder's folder, and follow it until Ctrl-C or its end."""

    folder: Path = key(REQUIRED, "the run's folder, or one with runs below it")
    metrics: tuple[str, ...] = key((), "which to show; empty: the best known, then others")
    rows: int = key(12, "metrics of each run at most", low=1)
    every: float = key(1.0, "seconds between looks", low=0.05)
    once: bool = key(False, "print what is there now and end")


def main(config: WatchConfig) -> None:
    from rich.console import Console
    from rich.live import Live

    runs = find_runs(config.folder)
    if not runs:
        raise UserError(f"{config.folder} holds no run with metrics yet: start one, or give the folder of one")
    if config.once:
        Console().print(screen(config))
        return
    with Live(screen(config, newest_first=True), auto_refresh=False, screen=False) as live:
        try:
            while not over(config.folder):
                time.sleep(config.every)
                live.update(screen(config, newest_first=True), refresh=True)
        except KeyboardInterrupt:
            pass


def find_runs(folder: Path) -> list[Path]:
    """The folder itself, or those right below it, that have metrics; the ones written last come last."""
    runs = [path for path in (folder, *folder.glob("*")) if (path / "metrics.jsonl").is_file()]
    return sorted(runs, key=lambda path: (path / "metrics.jsonl").stat().st_mtime)


def over(folder: Path) -> bool:
    """Whether nothing more is to come: every run is done and, of a ladder, its last stage too."""
    if (folder / "ladder.yaml").is_file():
        return (folder / "eval" / "summary.json").is_file()
    return all(done(run) for run in find_runs(folder))


def done(run: Path) -> bool:
    """Whether a run has written what it is for: a model, or the summary of an evaluation or of labels."""
    return (run / "model").exists() or (run / "summary.json").is_file()


def screen(config: WatchConfig, newest_first: bool = False) -> "RenderableType":
    """A table for each run that has something to show. A live view is cut at the terminal's last line, so there the
    newest stands first.

    Raises UserError for a metric that none of the runs has.
    """
    from rich.console import Group

    runs = {run: read_metrics(run) for run in find_runs(config.folder)}
    there = dict.fromkeys(name for rows in runs.values() for name in numbers(rows))
    missing = [name for name in config.metrics if name not in there]
    if missing:
        raise UserError(f"no metric {missing[0]!r} in {config.folder}; there are {', '.join(there)}")
    shown = [(run, rows) for run, rows in runs.items() if chosen(rows, config) or not config.metrics]
    return Group(*(table(run, rows, config) for run, rows in (shown[::-1] if newest_first else shown)))


def table(run: Path, rows: Sequence[dict[str, Any]], config: WatchConfig) -> "RenderableType":
    from rich.table import Table

    times = read_timing(run)
    state = "done" if done(run) else f"last step {ago(time.time() - (run / 'metrics.jsonl').stat().st_mtime)} ago"
    step = rows[-1]["step"] + 1 if rows else 0
    pace = f", {sum(t['total'] for t in times[-10:]) / len(times[-10:]):.2f} s a step" if times else ""
    out = Table(title=f"{run}: {step} steps{pace}, {state}", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name, justify in (("metric", "left"), ("now", "right"), ("first", "right"), ("course", "left")):
        out.add_column(name, justify=justify)  # type: ignore[arg-type]
    for name in chosen(rows, config)[: config.rows]:
        values = [row[name] for row in rows if _is_number(row.get(name))]
        out.add_row(name, f"{values[-1]:.4g}", f"{values[0]:.4g}", sparkline(values))
    return out


def chosen(rows: Sequence[dict[str, Any]], config: WatchConfig) -> list[str]:
    """The metrics to show of a run, of those that it has."""
    there = numbers(rows)
    if config.metrics:
        return [name for name in config.metrics if name in there]
    return [name for name in FIRST if name in there] + [name for name in there if name not in FIRST]


def numbers(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The metrics of a run, in the order in which it first logged them."""
    return list(dict.fromkeys(k for row in rows for k, value in row.items() if _is_number(value) and k != "step"))


def ago(seconds: float) -> str:
    """A time in the unit that suits it: 42 s, 5 min, 3 h."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """The values as bars, the mean of each of ``width`` equal parts, between their least and their greatest."""
    parts = min(width, len(values))
    cut = [values[i * len(values) // parts : (i + 1) * len(values) // parts] for i in range(parts)]
    means = [sum(part) / len(part) for part in cut]
    low, high = min(means), max(means)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((mean - low) * scale)] for mean in means)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
