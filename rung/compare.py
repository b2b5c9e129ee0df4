"""``rung compare A B``: two evaluations side by side: what was set differently, how far apart, what flipped."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lm import plain_yaml
from lm.checkpoint import write_json
from lm.config import REQUIRED, key
from lm.errors import UserError
from prm.scores import parse_rows
from rung.math_summary import Row, by_problem
from rung.statistics import mcnemar, paired_bootstrap

_ABOUT_THE_RUN = {"folder", "resume", "overwrite", "threads", "engine_batch", "verify_workers"}


@dataclass(frozen=True)
class CompareConfig:
    """Compare two folders of `rung eval math`, on the problems that both have."""

    a: Path = key(REQUIRED, "folder of the first evaluation")
    b: Path = key(REQUIRED, "folder of the second")
    out: Path | None = key(None, "where the comparison goes as JSON, with every problem that flipped")
    shown: int = key(5, "flipped problems of each kind and benchmark that are printed", low=0)
    seed: int = key(0, "of the bootstrap")


def main(config: CompareConfig) -> None:
    """Print the comparison."""
    found = compare(config)
    if config.out is not None:
        config.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(config.out, found)
    for line in told(found, config.shown):
        print(line)


def compare(config: CompareConfig) -> dict[str, Any]:
    """{"config": {key: [a, b]}, "sets": {name: {"problems", "greedy" and "samples": difference b − a, "mcnemar",
    "gained", "lost"}}}; differences are paired by problem. Raises UserError where the two share no problem."""
    a, b = (_results(folder) for folder in (config.a, config.b))
    shared = [name for name in a if name in b and _asked(a[name]) == _asked(b[name])]
    if not shared:
        raise UserError(f"{config.a} and {config.b} share no problem: compare evaluations of the same benchmarks")
    sets = {}
    for name in dict.fromkeys(name for name, _ in shared):
        pairs = [(a[place], b[place]) for place in shared if place[0] == name]
        sets[name] = _compared(pairs, config.seed)
    return {"config": _changed(config.a, config.b), "only_in_one": len(a.keys() ^ b.keys()), "sets": sets}


def _compared(pairs: Sequence[tuple[list[Row], list[Row]]], seed: int) -> dict[str, Any]:
    found: dict[str, Any] = {"problems": len(pairs)}
    greedy = [(_greedy(a), _greedy(b)) for a, b in pairs]
    if all(left is not None and right is not None for left, right in greedy):
        rows = [(left, right) for left, right in greedy if left is not None and right is not None]
        left, right = ([row["correct"] for row in side] for side in zip(*rows, strict=True))
        found["greedy"] = asdict(paired_bootstrap(np.array(right, float), np.array(left, float), seed))
        found["a"], found["b"] = float(np.mean(left)), float(np.mean(right))
        gained = [_flip(x, y) for x, y in rows if y["correct"] and not x["correct"]]
        lost = [_flip(x, y) for x, y in rows if x["correct"] and not y["correct"]]
        found |= {"mcnemar": mcnemar(len(gained), len(lost)), "gained": gained, "lost": lost}
    drawn = [tuple([row["correct"] for row in side if row["sample"] >= 0] for side in pair) for pair in pairs]
    if all(left and right for left, right in drawn):
        left, right = ([float(np.mean(side)) for side in sides] for sides in zip(*drawn, strict=True))
        found["samples"] = asdict(paired_bootstrap(right, left, seed))
    return found


def _greedy(rows: Sequence[Row]) -> Row | None:
    return next((row for row in rows if row["sample"] < 0), None)


def _flip(a: Row, b: Row) -> dict[str, Any]:
    return {"id": a["id"], "gold": a["gold"], "a": a["predicted"], "b": b["predicted"]}


def _asked(rows: Sequence[Row]) -> tuple[str, str]:
    return rows[0]["question"], rows[0]["gold"]


def _results(folder: Path) -> Mapping[tuple[str, str], list[Row]]:
    path = folder / "results.jsonl"
    if not path.is_file():
        raise UserError(f"{folder} has no results.jsonl: give the folder of a finished `rung eval math`")
    return by_problem(list(parse_rows(path, dict)))


def _changed(a: Path, b: Path) -> dict[str, list[Any]]:
    """The keys that differ between the two configs, without those that say only how a run was run."""
    flat = [plain_yaml.flatten(plain_yaml.read_mapping(folder / "config.yaml")) for folder in (a, b)]
    names = sorted(flat[0].keys() | flat[1].keys())
    return {
        name: [f.get(name) for f in flat]
        for name in names
        if name not in _ABOUT_THE_RUN and flat[0].get(name, ...) != flat[1].get(name, ...)
    }


def told(found: Mapping[str, Any], shown: int) -> Iterator[str]:
    """The comparison in lines for a terminal."""
    for name, (left, right) in found["config"].items():
        yield f"{name}: {json.dumps(left, ensure_ascii=False)} -> {json.dumps(right, ensure_ascii=False)}"
    if not found["config"]:
        yield "both have the same config"
    if found["only_in_one"]:
        yield f"{found['only_in_one']} problems are in one of the two only and left out"
    for name, own in found["sets"].items():
        yield f"{name}: {own['problems']} problems"
        if "greedy" in own:
            yield f"  greedy       {100 * own['a']:.1f} % -> {100 * own['b']:.1f} %: {_points(own['greedy'])}"
            flips = f"{len(own['gained'])} gained, {len(own['lost'])} lost"
            yield f"  flipped      {flips}; McNemar's exact test: p = {own['mcnemar']:.3g}"
        if "samples" in own:
            yield f"  a sample     {_points(own['samples'])}"
        for kind in ("gained", "lost"):
            for flip in own.get(kind, [])[:shown]:
                yield f"  {kind:<6} {flip['id']}: {flip['a']!r} -> {flip['b']!r}, gold {flip['gold']!r}"


def _points(difference: Mapping[str, float]) -> str:
    return f"{100 * difference['mean']:+.1f} [{100 * difference['low']:+.1f}, {100 * difference['high']:+.1f}] points"
