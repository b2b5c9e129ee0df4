"""One or several run folders as one study: which runs are one arm, what the arms are called, what each arm earned.

Runs whose resolved configs differ in nothing but the seed (and where they are kept) are one arm. A run inside a ladder
is also what its ladder made it, so the ladder's config counts as well. A run without a config is an arm by itself.
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from rung.report_bands import over_seeds
from rung.report_data import Row, RunRecord, Training, arm_name
from rung.report_evaluation import comparisons, measurements
from rung.report_pairs import Pair, differences, earned

ASIDE = {"seed", "folder", "resume", "overwrite", "threads", "save_every", "trackers"}  # what makes no other arm


@dataclass(frozen=True)
class Arm:
    """Runs that differ in nothing but their seed. ``runs`` are their metrics, one row a step, in order; ``seeds`` and
    ``folders`` say of each which it is; ``settings`` is what all of them share, dotted keys to values."""

    name: str
    runs: list[list[Row]]
    seeds: list[str]
    folders: list[str]
    settings: Row


@dataclass(frozen=True)
class Study:
    """All that a report shows. ``evaluation`` has the layout of eval/summary.json, over all the records."""

    records: list[RunRecord]
    arms: list[Arm]
    evaluation: Row
    samples: list[Row]  # as recorded, each with its arm's name here and the "threshold" of its run's reward model

    @property
    def seeds(self) -> int:
        """The most runs that an arm has; 1 where nothing was repeated."""
        return max((len(arm.runs) for arm in self.arms), default=1)


def study(records: Sequence[RunRecord]) -> Study:
    """The records, one a folder, as one study."""
    names = _ladder_names(records)
    groups: dict[str, list[tuple[RunRecord, Training]]] = {}
    for record in records:
        for training in record.runs:
            groups.setdefault(_identity(record, training), []).append((record, training))
    alone = all(training.name.startswith("ppo") for record in records for training in record.runs)
    called = _distinct([_arm_label(group, names, alone) for group in groups.values()])
    arms = [_arm(name, group) for name, group in zip(called, groups.values(), strict=True)]
    arm_of = {
        (record.name, arm_name(training.name)): name
        for name, group in zip(called, groups.values(), strict=True)
        for record, training in group
    }

    def rename(record: RunRecord, arm: str) -> str:
        return arm_of.get((record.name, arm)) or _of(arm, names[record.name])

    samples = [
        {"threshold": record.prm_summary.get("threshold")}
        | row
        | {"arm": rename(record, arm_name(str(row.get("arm", "?"))))}
        for record in records
        for row in record.samples
    ]
    if len(records) == 1:
        return Study([*records], arms, records[0].evaluation, samples)
    return Study([*records], arms, _evaluation(records, rename), samples)


def differing(arms: Sequence[Arm]) -> dict[str, list[str]]:
    """The settings in which the arms differ, with the value in every arm; a dash where it has no such key."""
    keys = sorted({key for arm in arms for key in arm.settings})
    shown = {key: [_shown(arm.settings[key]) if key in arm.settings else "–" for arm in arms] for key in keys}
    return {key: values for key, values in shown.items() if len(set(values)) > 1}


def comparable(config: Row) -> Row:
    """A resolved config as dotted keys, without what makes no other arm; paths from the folder above the run's own."""
    folder = str(config.get("folder") or "")
    return _flat(config, "", [f"{folder}/", f"{folder.rpartition('/')[0]}/"] if folder else [])


def _flat(value: Any, dotted: str, homes: list[str]) -> Row:
    if isinstance(value, dict):
        kept = {key: inner for key, inner in value.items() if key not in ASIDE}
        return {k: v for key, inner in kept.items() for k, v in _flat(inner, f"{dotted}.{key}", homes).items()}
    if isinstance(value, str):
        home = next((home for home in homes if home != "/" and value.startswith(home)), "")
        value = value.removeprefix(home)
    return {dotted.lstrip("."): value}


def _identity(record: RunRecord, training: Training) -> str:
    if not training.config:
        return f"{record.name}/{training.name}"
    return json.dumps([comparable(record.ladder), comparable(training.config)], sort_keys=True, default=str)


def _arm_label(group: list[tuple[RunRecord, Training]], names: dict[str, str], alone: bool) -> tuple[str, str]:
    """What to call an arm (PPO's by its credit, where PPO is ``alone``), and what to add where another is called so."""
    record, training = group[0]
    folder = _without_seed(training.name, training.config) if len(group) > 1 else training.name
    return arm_name(folder) if alone else folder.replace("_", " "), names[record.name] or record.name


def _distinct(labels: list[tuple[str, str]]) -> list[str]:
    """Names of which no two are alike: "process", or "process (high-lr)" where there are several, or numbered."""
    short = [name for name, _ in labels]
    names = [name if short.count(name) == 1 else _of(name, where) for name, where in labels]
    seen: dict[str, count[int]] = {}
    numbers = [next(seen.setdefault(name, count(1))) for name in names]
    return [name if number == 1 else f"{name} ({number})" for name, number in zip(names, numbers, strict=True)]


def _of(name: str, where: str) -> str:
    return f"{name} ({where})" if where else name


def _ladder_names(records: Sequence[RunRecord]) -> dict[str, str]:
    """Of each record the name of its kind, without its seed; empty where all the records are of one kind."""
    kinds: dict[str, list[RunRecord]] = {}
    for record in records:
        kinds.setdefault(
            json.dumps(comparable(record.ladder), sort_keys=True, default=str) if record.ladder else record.name, []
        ).append(record)
    if len(kinds) == 1:
        return {record.name: "" for record in records}
    stems = [
        (_without_seed(group[0].name, group[0].ladder) if len(group) > 1 else group[0].name, "")
        for group in kinds.values()
    ]
    return {
        record.name: label for label, group in zip(_distinct(stems), kinds.values(), strict=True) for record in group
    }


def _without_seed(name: str, config: Row) -> str:
    """ "grpo-3", "grpo_seed3" and "grpo-s3" of a run with seed 3 are "grpo"."""
    return re.sub(rf"(?<=.)(?:[-_. ](?:seed|s)?|seed)[-_=.]?{re.escape(str(config.get('seed')))}$", "", name)


def _arm(name: str, group: list[tuple[RunRecord, Training]]) -> Arm:
    record, training = group[0]
    settings = comparable(training.config)
    settings |= {
        f"ladder.{key}": value for key, value in comparable(record.ladder).items() if not key.startswith("ppo.")
    }
    seeds = [str(run.config.get("seed", "")) for _, run in group]
    folders = [of.name if of.name.rpartition("/")[2] == run.name else f"{of.name}/{run.name}" for of, run in group]
    return Arm(name, [run.rows for _, run in group], seeds, folders, settings)


def _evaluation(records: Sequence[RunRecord], rename: Callable[[RunRecord, str], str]) -> Row:
    """The evaluations of several records as one: an arm that has several is its mean over them (``over_seeds``).

    Differences are paired by problem (``report_pairs``) where all the evaluations recorded them.
    """
    cells: dict[str, dict[str, list[Row]]] = {}
    pairs: dict[Pair, list[Row]] = {}
    for record in records:
        for cell in measurements(record.evaluation):
            found = {"mean": cell.mean, "low": cell.low, "high": cell.high}
            cells.setdefault(rename(record, cell.arm), {}).setdefault(cell.metric, []).append(found)
        for pair in comparisons(record.evaluation):
            key = (rename(record, pair.a), rename(record, pair.b), pair.metric)
            pairs.setdefault(key, []).append({"mean": pair.mean, "low": pair.low, "high": pair.high})
    arms = [
        {"name": name} | {metric: _mean(found) for metric, found in metrics.items()} for name, metrics in cells.items()
    ]
    apart = {pair: _mean(found, range_of_two=False) for pair, found in pairs.items()}
    if all(record.outcomes for record in records if record.evaluation):
        repeated = [pair for pair, found in pairs.items() if len(found) > 1]
        apart |= differences([run for record in records for run in earned(record, rename)], repeated)
    paired = [{"a": a, "b": b, "metric": metric} | row for (a, b, metric), row in apart.items()]
    return {"arms": arms, "paired": paired} if arms else {}


def _mean(found: list[Row], range_of_two: bool = True) -> Row:
    """One measurement as it is, several as the mean over seeds; the range of two is no interval of a difference."""
    if len(found) == 1:
        return found[0]
    interval = over_seeds([each["mean"] for each in found])
    if len(found) == 2 and not range_of_two:
        return {"mean": interval.mean, "low": math.nan, "high": math.nan}
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
