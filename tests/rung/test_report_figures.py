"""The report's figures about RL: the peak of the verifier's accuracy, rewards by size, and the alarms beside them."""

import json
from pathlib import Path
from typing import Any

import pytest

from rung.report import write_report
from rung.report_figures import overoptimisation_figures, pooled, reward_by_figures
from rung.report_plots import Canvas
from rung.report_study import Arm


def test_the_peak_of_the_gold_is_marked() -> None:
    gold = [0.2, 0.4, 0.5, 0.3, 0.1]
    rows = [{"step": i, "kl": float(i * i), "prm_score": 0.2 * i, "accuracy": a} for i, a in enumerate(gold)]
    [figure] = overoptimisation_figures(Canvas(), [Arm("hack", [rows], [], [], {})])
    assert "verifier peaks with 50.0% at 2." in figure.svg
    assert ">peak 50.0%<" in figure.svg


def test_rewards_of_several_steps_are_pooled_by_size() -> None:
    rows: list[dict[str, Any]] = [{"r": [[1, 2, 0.5], [3, 1, 1.0]]}, {"r": [[1, 6, 0.1]]}, {}, {"r": [[2, 0, 9.0]]}]
    sizes, rewards = pooled(rows, "r")
    assert sizes == [1, 3]
    assert rewards == pytest.approx([(2 * 0.5 + 6 * 0.1) / 8, 1.0])
    many = [{"r": [[float(size), 1, size / 2]]} for size in range(80)]
    sizes, rewards = pooled(many, "r")
    assert sizes == [4.5 + 10 * i for i in range(8)]
    assert rewards == [size / 2 for size in sizes]
    assert pooled([], "r") == ([], [])


def test_rewards_by_size_are_drawn_for_the_first_and_the_last_fifth() -> None:
    rows = [{"step": i, "reward_by_steps": [[1, 4, 0.5], [2, 4, 0.5 + i]]} for i in range(10)]
    [figure] = reward_by_figures(Canvas(), [Arm("hack", [rows], [], [], {})])
    assert figure.title == "Reward by steps, hack"
    assert "first goes from 0.500 to 1; last goes from 0.500 to 9" in figure.svg


def test_alarms_are_listed_with_their_step(tmp_path: Path) -> None:
    for arm, share in (("ppo-process", 0.5), ("ppo-outcome", 0.1)):
        (tmp_path / arm).mkdir()
        lines = [json.dumps({"step": step, "accuracy": 0.5, "truncated": share}) for step in range(12)]
        (tmp_path / arm / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert text.count("rollouts are cut off") == 1
    assert "<b>truncation</b><span>step 7</span>" in text
    assert "No alarm was raised" not in text
    (tmp_path / "ppo-process" / "metrics.jsonl").unlink()
    assert "No alarm was raised" in write_report(tmp_path).read_text(encoding="utf-8")
