import json
import math
from pathlib import Path

import pytest

from lm.errors import UserError
from rung.report_data import Measurement, column, measurements, metric_name, read_lines, read_run, read_steps


def test_a_line_being_written_is_left_out_but_a_broken_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0}\n{"step": 1}\n{"step": 2, "lo')
    assert read_lines(path) == [{"step": 0}, {"step": 1}]
    path.write_text('{"step": 0}\n{"step": 1, \n{"step": 2}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl line 2 is not JSON"):
        read_lines(path)
    path.write_text('{"step": 0}\n[1]\n')
    with pytest.raises(UserError, match="line 2 is not a JSON object"):
        read_lines(path)
    assert read_lines(tmp_path / "none.jsonl") == []


def test_the_later_line_of_a_resumed_step_counts(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        "".join(json.dumps(row) + "\n" for row in [{"step": 0, "kl": 1}, {"step": 1, "kl": 2}, {"step": 1, "kl": 3}])
    )
    assert [row["kl"] for row in read_steps(path)] == [1, 3]


def test_read_run_names_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run folder at"):
        read_run(tmp_path / "nowhere")
    (tmp_path / "versions.json").write_text("{")
    with pytest.raises(UserError, match=r"versions\.json is not JSON"):
        read_run(tmp_path)
    (tmp_path / "versions.json").write_text("[]")
    with pytest.raises(UserError, match="must hold a JSON object"):
        read_run(tmp_path)


def test_arms_come_process_first(tmp_path: Path) -> None:
    for name in ("ppo-outcome", "ppo-process", "ppo-empty"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text("" if name == "ppo-empty" else '{"step": 0}\n')
    assert [arm.name for arm in read_run(tmp_path).arms] == ["process", "outcome"]


def test_column_drops_what_is_no_number() -> None:
    values = (1, None, math.nan, "x", True, 2.5, math.inf)
    rows = [{"step": i, "kl": v} for i, v in enumerate(values)]
    assert column(rows, "step", "kl") == ([0.0, 5.0], [1.0, 2.5])


def test_measurements_in_every_form() -> None:
    arm = {
        "name": "ppo-process",
        "problems": 500,
        "greedy": {"mean": 0.5, "low": 0.4, "high": 0.6},
        "pass@k": {"1": 0.4, "8": {"mean": 0.7, "low": 0.6, "high": 0.8}},
        "majority@k": {"mean": 0.55, "low": 0.5, "high": 0.6, "k": 16},
        "best_of_n": 0.6,
    }
    cells = measurements({"arms": [arm, {"name": "sft", "greedy": {"mean": None}}]})
    assert [(c.metric, c.mean) for c in cells] == [
        ("greedy", 0.5),
        ("pass@1", 0.4),
        ("pass@8", 0.7),
        ("majority@16", 0.55),
        ("best of n", 0.6),
    ]
    assert cells[2] == Measurement("pass@8", "process", 0.7, 0.6, 0.8)
    assert math.isnan(cells[1].low)
    assert measurements({}) == []


def test_metric_names() -> None:
    assert [metric_name("best_of_n", 8), metric_name("pass@k", 4), metric_name("top", 2)] == [
        "best of 8",
        "pass@4",
        "top 2",
    ]
