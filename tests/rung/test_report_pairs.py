"""Differences over several folders: which pairs there are, and that problems and seeds are what is paired."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from rung.report_data import read_runs
from rung.report_study import Study, study
from rung.statistics import paired_bootstrap

EASY, HARD = [1.0, 1.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0]


def write_ladder(folder: Path, seed: int, settings: dict[str, Any], **arms: list[float]) -> Path:
    """A ladder that is evaluated: greedy outcomes of each of its policies on problems 0, 1, ..."""
    for name in arms:
        (folder / f"ppo-{name}").mkdir(parents=True)
        run = {"folder": str(folder / f"ppo-{name}"), "seed": seed, "credit": {"form": name}}
        (folder / f"ppo-{name}" / "config.yaml").write_text(json.dumps(run))
        (folder / f"ppo-{name}" / "metrics.jsonl").write_text('{"step": 0, "sampled_tokens": 10}\n')
    (folder / "ladder.yaml").write_text(json.dumps({"folder": str(folder), "seed": seed} | settings))
    (folder / "eval").mkdir()
    means = {name: sum(values) / len(values) for name, values in arms.items()}
    names = list(arms)
    pairs = [
        {"a": b, "b": a, "metric": "greedy", "mean": means[b] - means[a], "low": -1.0, "high": 1.0}
        for i, a in enumerate(names)
        for b in names[i + 1 :]
    ]
    summary = {"arms": [{"name": name, "greedy": mean} for name, mean in means.items()], "paired": pairs}
    (folder / "eval" / "summary.json").write_text(json.dumps(summary))
    rows = [
        {"id": str(i), "question": f"{i}+1", "gold": str(i + 1)}
        | {"arms": [{"name": name, "greedy": values[i]} for name, values in arms.items()]}
        for i in range(len(next(iter(arms.values()))))
    ]
    (folder / "eval" / "outcomes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def of(*folders: Path) -> Study:
    return study(read_runs(folders))


def paired(shown: Study) -> dict[str, dict[str, Any]]:
    return {f"{row['a']} - {row['b']}": row for row in shown.evaluation["paired"]}


def test_policies_of_one_name_are_compared_with_the_first_folders(tmp_path: Path) -> None:
    folders = [
        write_ladder(tmp_path / name, 0, {"lr": lr}, process=process)
        for name, lr, process in (("low", 1, HARD), ("high", 2, EASY), ("same", 3, HARD))
    ]
    found = paired(of(*folders))
    assert list(found) == ["process (high) - process (low)"]  # the third has the first one's answers
    expected = paired_bootstrap(EASY, HARD, 0)
    row = found["process (high) - process (low)"]
    assert (row["mean"], row["low"], row["high"]) == (0.5, expected.low, expected.high)
    assert list(paired(of(*folders[1:]))) == ["process (same) - process (high)"]


def test_a_pair_is_made_of_the_problems_that_both_met(tmp_path: Path) -> None:
    low = write_ladder(tmp_path / "low", 0, {"lr": 1}, process=HARD)
    high = write_ladder(tmp_path / "high", 0, {"lr": 2}, process=[*EASY, 1.0, 1.0])
    other = write_ladder(tmp_path / "other", 0, {"lr": 3}, process=EASY)
    lines = (other / "eval/outcomes.jsonl").read_text().replace("+1", "+2")
    (other / "eval/outcomes.jsonl").write_text(lines)
    found = paired(of(low, high, other))
    assert list(found) == ["process (high) - process (low)"]
    assert found["process (high) - process (low)"]["mean"] == 0.5  # 5/6 - 1/4 over all the problems of each


def test_seeds_are_paired_and_their_spread_counts(tmp_path: Path) -> None:
    rising = [[0.0, 1.0], [1.0, 1.0], [1.0, 0.0]]
    for seed, values in enumerate(rising):
        write_ladder(tmp_path / f"a-{seed}", seed, {"lr": 1}, process=[0.0, 0.0])
        write_ladder(tmp_path / f"b-{seed}", seed, {"lr": 2}, process=values)
    write_ladder(tmp_path / "b-7", 7, {"lr": 2}, process=[1.0, 1.0])  # a seed that the other arm has not
    folders = [tmp_path / name for name in ("a-0", "a-1", "a-2", "b-7", "b-2", "b-1", "b-0")]
    [(name, row)] = paired(of(*folders)).items()
    assert (name, row["mean"]) == ("process (b) - process (a)", pytest.approx(2 / 3))
    # runs 0.5, 1, 0.5: s² 1/12, over 3; problems 2/3, 2/3: none; t(.975, 2) = 4.3026527
    assert row["high"] == pytest.approx(2 / 3 + 4.3026527 * math.sqrt(1 / 36))


def test_two_seeds_have_no_interval_of_a_difference(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_ladder(tmp_path / f"a-{seed}", seed, {}, outcome=HARD, process=EASY)
    row = paired(of(tmp_path / "a-0", tmp_path / "a-1"))["process - outcome"]
    assert row["mean"] == 0.5
    assert math.isnan(row["low"])


def test_the_arms_of_one_ladder_are_paired_over_its_seeds(tmp_path: Path) -> None:
    ends = [[1.0, 1.0, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 1.0]]
    folders = [
        write_ladder(tmp_path / f"demo-{seed}", seed, {}, outcome=HARD, process=end) for seed, end in enumerate(ends)
    ]
    row = paired(of(*folders))["process - outcome"]
    # runs 0.5, 0.25, 0.5: s² 1/48; problems 2/3, -1/3, 1/3, 1: s² 35/108; degrees of freedom 3.50, so 3
    assert row["mean"] == pytest.approx(5 / 12)
    assert row["low"] == pytest.approx(5 / 12 - 3.1824463 * math.sqrt(1 / 48 / 3 + 35 / 108 / 4))
    (folders[1] / "eval/outcomes.jsonl").unlink()
    assert paired(of(*folders))["process - outcome"]["low"] == pytest.approx(  # what is left: the seeds' means
        5 / 12 - 4.3026527 * math.sqrt(1 / 48 / 3)
    )
