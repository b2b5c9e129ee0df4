"""benchmarks.hacking: the two runs differ in the remedy alone, and what is told of a run is what its metrics raise."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.hacking import CONFIGS, told
from lm.config import load
from rl.config import RLConfig


def test_the_remedy_is_three_keys() -> None:
    hack, remedied = (load(RLConfig, CONFIGS / f"{name}.yaml") for name in ("hack", "hack_remedied"))
    assert (hack.credit.form, hack.credit.outcome_weight) == ("sum", 0.0)
    credit = replace(hack.credit, form="min", outcome_weight=1.0)
    assert remedied == replace(hack, credit=credit, advantage=replace(hack.advantage, kl_coefficient=0.03))


def test_what_is_told_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"step": i, "accuracy": 0.2 - 0.01 * i, "steps_per_solution": 5 + i, "response_length": 40 + 8 * i}
        for i in range(20)
    ]
    rows[0]["eval_accuracy"], rows[-1]["eval_accuracy"] = 0.25, 0.05
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert told("hack", tmp_path) == {"step inflation"}
    out = capsys.readouterr().out
    assert "| steps_per_solution | 8.50 | 20.50 |" in out
    assert "| eval_accuracy | 0.25 | 0.05 |" in out
    assert "- step 16, step inflation: steps per solution went from 8.5 to 17.5" in out
