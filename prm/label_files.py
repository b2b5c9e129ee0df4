"""What ``rung label`` leaves: the parts of its batches, joined into label files, and the summary of it all."""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from lm.checkpoint import write_atomic, write_json
from lm.errors import UserError
from lm.run import read_metrics, read_timing
from prm.consensus import Keep, agreement, mix, verdicts
from prm.labelled_data import up_to_first_error
from prm.labelling import Cost
from prm.scores import LabeledSolution, read_labeled, write_labeled

Which = Literal["train", "test"]
GIVEN = "given"
EXTRAS = ("omega_more", "omega_states")  # solutions that OmegaPRM searched beyond those asked for; its tree's states


def check_asked(
    folder: Path, asked: Mapping[Which, Sequence[Any]], sources: Mapping[Which, str], *, resume: bool
) -> None:
    """Remember in the run folder what there is to label, JSON-able, a split; on ``resume``, that it is still the same.

    Raises UserError naming the split's source where that was edited in between: some batches would be labelled as they
    were and others as they are.
    """
    found = {which: hashlib.sha256(json.dumps(rows).encode()).hexdigest() for which, rows in asked.items()}
    path = folder / "asked.json"
    began = json.loads(path.read_text(encoding="utf-8")) if resume and path.exists() else found
    for which, digest in found.items():
        if began.get(which) != digest:
            raise UserError(
                f"{sources[which]} has changed since the run in {folder} began, which would go on with other text than "
                "it has labelled; overwrite=true starts afresh, or choose another folder"
            )
    write_json(path, found)


def part_path(folder: Path, step: int, name: str) -> Path:
    return folder / "parts" / f"{step:05d}.{name}.jsonl"


Labelled = dict[str, list[LabeledSolution]]  # one batch: the labels of each labeller on the same solutions


def write_up(folder: Path, batches: Sequence[tuple[Which, Sequence[str]]], keep: Keep | None) -> None:
    """Join the parts into a file a split and labeller, mix them where asked to, write summary.json, tell the cost.

    ``batches`` says, batch by batch, which split it belongs to and who labelled it: the dear ones may have done less.
    """
    labellers = list(dict.fromkeys(labeller for _, names in batches for labeller in names))
    found: list[Labelled] = []
    mixed: list[LabeledSolution] = []
    for which in dict.fromkeys(which for which, _ in batches):
        steps = [step for step, (w, _) in enumerate(batches) if w == which]
        ours = [{name: read_labeled(part_path(folder, step, name)) for name in batches[step][1]} for step in steps]
        for labeller in labellers:
            items = _joined(ours, labeller)
            if items:
                write_labeled(folder / f"{which}.{labeller}.jsonl", items)
        if keep is not None:
            kept = [item for batch in ours for item in mix(list(batch.values()), keep)]
            write_labeled(folder / f"{which}.mixed.jsonl", kept)
            mixed += kept
        for extra in EXTRAS:
            parts = [path.read_text(encoding="utf-8") for s in steps if (path := part_path(folder, s, extra)).exists()]
            if any(parts):
                write_atomic(folder / f"{which}.{extra}.jsonl", "".join(parts))
        found += ours

    summary = _summary(found, labellers, _costs(folder, labellers))
    if keep is not None:
        summary["mixed"] = {"keep": keep} | _judged(mixed)
    write_json(folder / "summary.json", summary)
    _tell(summary, labellers, folder)


def _joined(batches: Sequence[Labelled], labeller: str, beside: str | None = None) -> list[LabeledSolution]:
    """What a labeller said, in the batches that ``beside`` labelled as well."""
    return [item for batch in batches if beside is None or beside in batch for item in batch.get(labeller, [])]


def _summary(batches: Sequence[Labelled], labellers: Sequence[str], costs: Mapping[str, Cost]) -> dict[str, Any]:
    everything = [items for batch in batches for items in list(batch.values())[:1]]
    summary: dict[str, Any] = {
        "solutions": sum(map(len, everything)),
        "steps": sum(len(item.labels) for items in everything for item in items),
    }
    for labeller in labellers:
        summary[labeller] = _judged(_joined(batches, labeller)) | costs[labeller]
    for first, second in combinations(labellers, 2):
        # After an error one labeller may ask whether a step follows, another whether the answer can still be reached.
        judged = [up_to_first_error(item) for item in _joined(batches, first, second)]
        compared = agreement(judged, _joined(batches, second, first))
        summary[f"{first}_and_{second}"] = asdict(compared) | {
            "table_rows": [f"{first} wrong", f"{first} right"],
            "table_columns": [f"{second} wrong", f"{second} right"],
        }
    return summary


def _judged(items: Sequence[LabeledSolution]) -> dict[str, Any]:
    said = [verdict for item in items for verdict in verdicts(item) if verdict is not None]
    steps = sum(len(item.labels) for item in items)
    return {"solutions": len(items), "steps": steps, "judged": len(said), "right": sum(said) / max(1, len(said))}


def _costs(folder: Path, labellers: Sequence[str]) -> dict[str, Cost]:
    """What each labeller took, summed over the batches."""
    totals: dict[str, Cost] = {labeller: {} for labeller in labellers}
    for row in read_metrics(folder):
        for labeller, total in totals.items():
            for name, value in row.items():
                if name.startswith(f"{labeller}_"):
                    short = name.removeprefix(f"{labeller}_")
                    total[short] = total.get(short, 0) + value
    return totals


def _tell(summary: Mapping[str, Any], labellers: Sequence[str], folder: Path) -> None:
    """A line a labeller: what it judged, what that cost, and how fast it went."""
    rows = read_timing(folder)
    for labeller in labellers:
        told = dict(summary[labeller])
        told.pop("solutions")
        steps, judged, right = (told.pop(name) for name in ("steps", "judged", "right"))
        seconds = sum(row.get(labeller, 0.0) for row in rows)
        spent = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in told.items() if value)
        speed = f"{seconds:.1f} s, {judged / seconds:,.0f} steps/s" if seconds else ""
        parts = [f"{judged:,} of {steps:,} steps judged, {100 * right:.1f} % right", spent, speed]
        print(f"{labeller}: {'; '.join(part for part in parts if part)}", file=sys.stderr)
