"""A run folder read into records for its report; whatever the run has not written yet is simply empty."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm.errors import UserError

Row = dict[str, Any]


@dataclass(frozen=True)
class Arm:
    """One PPO run: ``name`` as people say it ("process"), ``rows`` its metrics, one a step, in order."""

    name: str
    rows: list[Row]


@dataclass(frozen=True)
class RunRecord:
    """All that a run left on disk. Empty lists, dicts and strings stand for parts that are not there."""

    name: str
    config_name: str
    config: str
    command: str
    versions: Row
    sft: list[Row]
    labels: Row
    prm: list[Row]
    prm_summary: Row
    arms: list[Arm]
    evaluation: Row
    samples: list[Row]


@dataclass(frozen=True)
class Measurement:
    """One cell of the final table: a mean in [0, 1] and its interval, whose ends are nan where none was recorded."""

    metric: str
    arm: str
    mean: float
    low: float
    high: float


def read_run(folder: Path) -> RunRecord:
    """Read a run folder (layout in docs of ``rung.report``). UserError if it is missing or a file in it is broken."""
    if not folder.is_dir():
        raise UserError(f"no run folder at {folder}: give the folder that a run wrote its results to")
    config_path = next((p for n in ("ladder.yaml", "config.yaml") if (p := folder / n).is_file()), None)
    arms = [
        Arm(arm_name(path.parent.name), read_steps(path))
        for path in sorted(folder.glob("ppo*/metrics.jsonl"), key=lambda p: ("process" not in p.parent.name, str(p)))
    ]
    return RunRecord(
        name=folder.resolve().name,
        config_name=config_path.name if config_path else "",
        config=_read_text(config_path) if config_path else "",
        command=_read_text(folder / "command.txt").strip(),
        versions=_read_object(folder / "versions.json"),
        sft=read_steps(folder / "sft" / "metrics.jsonl"),
        labels=_read_object(folder / "labels" / "summary.json"),
        prm=read_steps(folder / "prm" / "metrics.jsonl"),
        prm_summary=_read_object(folder / "prm" / "summary.json"),
        arms=[arm for arm in arms if arm.rows],
        evaluation=_read_object(folder / "eval" / "summary.json"),
        samples=read_lines(folder / "eval" / "samples.jsonl"),
    )


def read_lines(path: Path) -> list[Row]:
    """The objects of a JSON Lines file, none if it is missing; a last line still being written is left out."""
    lines = _read_text(path).split("\n")
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines):  # no newline after it: the run is in the middle of writing it
                break
            raise UserError(f"{path} line {number} is not JSON ({error.msg}): mend or delete that line") from error
        if not isinstance(row, dict):
            raise UserError(f"{path} line {number} is not a JSON object: mend or delete that line")
        rows.append(row)
    return rows


def read_steps(path: Path) -> list[Row]:
    """Metrics by step, in order; where a resumed run wrote a step twice, the later line counts."""
    rows = read_lines(path)
    return list({row.get("step", index): row for index, row in enumerate(rows)}.values())


def arm_name(name: str) -> str:
    """What to call an arm on the page: "ppo-process" is "process"."""
    return name.removeprefix("ppo-").replace("_", " ")


def number(value: object) -> float:
    """A JSON value as a float, nan where it is no number (None, a word, a truth value)."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def column(rows: list[Row], x: str, y: str) -> tuple[list[float], list[float]]:
    """The finite pairs of two columns."""
    pairs = [(number(row.get(x)), number(row.get(y))) for row in rows]
    kept = [(a, b) for a, b in pairs if math.isfinite(a) and math.isfinite(b)]
    return [a for a, _ in kept], [b for _, b in kept]


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


def _read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _read_object(path: Path) -> Row:
    text = _read_text(path)
    if not text.strip():
        return {}
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not JSON ({error.msg} at line {error.lineno}): mend or delete it") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} must hold a JSON object: mend or delete it")
    return value
