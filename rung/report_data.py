"""A run folder read into records for its report; whatever the run has not written yet is simply empty."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lm.errors import UserError
from lm.plain_yaml import read_mapping

Row = dict[str, Any]


@dataclass(frozen=True)
class Training:
    """One run of RL: its ``folder``, its resolved ``config``, and its metrics, one row a step, in order."""

    folder: Path
    config: Row
    rows: list[Row]

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.folder.name


@dataclass(frozen=True)
class RunRecord:
    """All that a folder holds: a ladder, one run of RL, or several side by side.

    Empty lists, dicts and strings stand for parts that are not there. ``ladder`` is the resolved config of the ladder
    that made the runs, ``config`` the text of the file named ``config_name``.
    """

    name: str
    config_name: str
    config: str
    command: str
    versions: Row
    sft: list[Row]
    labels: Row
    prm: list[Row]
    prm_summary: Row
    ladder: Row
    runs: list[Training]
    evaluation: Row
    outcomes: list[Row]
    samples: list[Row]


def read_runs(folders: Sequence[Path]) -> list[RunRecord]:
    """``read_run`` of each folder, under names of which no two are alike: as much of each path as that takes.

    A run is read once, also where a folder is given and another that it stands in.
    """
    paths = list(dict.fromkeys(folder.resolve() for folder in folders))
    parts = 1
    while len({path.parts[-parts:] for path in paths}) < len(paths):
        parts += 1
    records, seen = [], set[Path]()
    for path in paths:
        record = read_run(path)
        fresh = [run for run in record.runs if run.folder not in seen]
        seen |= {run.folder for run in fresh}
        records.append(replace(record, name="/".join(path.parts[-parts:]), runs=fresh))
    return records


def read_run(folder: Path) -> RunRecord:
    """Read a run folder (layout in docs of ``rung.report``). UserError if it is missing or a file in it is broken."""
    if not folder.is_dir():
        raise UserError(f"no run folder at {folder}: give the folder that a run wrote its results to")
    config_path = next((p for n in ("ladder.yaml", "config.yaml") if (p := folder / n).is_file()), None)
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
        ladder=read_settings(folder / "ladder.yaml") or read_settings(folder.parent / "ladder.yaml"),
        runs=trainings(folder),
        evaluation=_read_object(folder / "eval" / "summary.json"),
        outcomes=read_lines(folder / "eval" / "outcomes.jsonl"),
        samples=read_lines(folder / "eval" / "samples.jsonl"),
    )


def trainings(folder: Path) -> list[Training]:
    """The runs of RL that have metrics: the folder itself or those right inside it, step rewards first.

    A run of RL is one whose config has a section ``credit``, or problems in each step (``rung rlaif``), or whose folder
    is called "ppo...".
    """
    order = sorted(folder.glob("*/metrics.jsonl"), key=lambda path: ("process" not in path.parent.name, str(path)))
    found = []
    for path in [folder / "metrics.jsonl", *order]:
        config = read_settings(path.with_name("config.yaml")) if path.is_file() else {}
        if {"credit", "problems_per_step"} & config.keys() or path.parent.name.startswith("ppo"):
            found.append(Training(path.parent.resolve(), config, read_steps(path)))
    return [training for training in found if training.rows]


def read_settings(path: Path) -> Row:
    """A resolved config, empty if it is missing."""
    return read_mapping(path) if path.is_file() else {}


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
