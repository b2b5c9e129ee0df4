import json
import math
from pathlib import Path

import pytest

from lm.errors import UserError
from rung.report_data import column, read_lines, read_run, read_runs, read_steps


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


def test_runs_come_process_first(tmp_path: Path) -> None:
    for name in ("ppo-outcome", "ppo-process", "ppo-empty"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text("" if name == "ppo-empty" else '{"step": 0}\n')
    assert [run.name for run in read_run(tmp_path).runs] == ["ppo-process", "ppo-outcome"]


def test_column_drops_what_is_no_number() -> None:
    values = (1, None, math.nan, "x", True, 2.5, math.inf)
    rows = [{"step": i, "kl": v} for i, v in enumerate(values)]
    assert column(rows, "step", "kl") == ([0.0, 5.0], [1.0, 2.5])


def test_folders_are_read_once_under_names_that_tell_them_apart(tmp_path: Path) -> None:
    for name in ("a/demo", "b/demo", "c"):
        (tmp_path / name).mkdir(parents=True)
    paths = [tmp_path / "a/demo", tmp_path / "b/demo", tmp_path / "b/../a/demo"]
    assert [record.name for record in read_runs(paths)] == ["a/demo", "b/demo"]
    assert [record.name for record in read_runs([tmp_path / "a/demo", tmp_path / "c"])] == ["demo", "c"]


def test_a_run_of_rl_is_known_by_its_config_and_may_be_the_folder_itself(tmp_path: Path) -> None:
    configs = {"grpo": "credit: {form: delta}\nseed: 3\n", "sft": "seed: 3\n", "labels": "judge: {model: m}\nseed: 3\n"}
    for name, config in configs.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text('{"step": 0}\n')
        (tmp_path / name / "config.yaml").write_text(config)
    (tmp_path / "ladder.yaml").write_text("seed: 3\n")
    [run] = read_run(tmp_path).runs
    assert (run.name, run.config["seed"], run.rows) == ("grpo", 3, [{"step": 0}])
    assert [len(record.runs) for record in read_runs([tmp_path, tmp_path / "grpo"])] == [1, 0]
    alone = read_run(tmp_path / "grpo")
    assert (alone.runs, alone.ladder) == ([run], {"seed": 3})
    (tmp_path / "sft/config.yaml").write_text("problems_per_step: 4\n")  # as of rung rlaif
    assert [run.name for run in read_run(tmp_path).runs] == ["grpo", "sft"]
