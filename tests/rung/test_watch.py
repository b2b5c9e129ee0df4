"""rung watch: what it shows of a run, and that it follows one which is being written and ends with it."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from toy_ladder import ENVIRONMENT, ROOT, rung_command

from rung.cli import main
from rung.watch import WatchConfig, ago, over, screen, sparkline


def write(folder: Path, steps: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"step": i, "note": "x", "zeta": 5, "accuracy": i / 10} for i in range(steps)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "timing.jsonl").write_text("".join(f'{{"step": {i}, "total": 0.5}}\n' for i in range(steps)))


def test_a_sparkline_by_hand() -> None:
    assert sparkline([0, 7]) == "▁█"
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([1, 1, 1]) == "▁▁▁"
    assert sparkline([0, 0, 7, 7], width=2) == "▁█"


def test_once_shows_every_run_and_the_first_metrics_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "a", 3)
    write(tmp_path / "b", 5)
    (tmp_path / "b/model").mkdir()
    assert main(["watch", str(tmp_path), "once=true"]) == 0
    out = capsys.readouterr().out
    assert "3 steps, 0.50 s a step" in out.replace("\n", " ")
    assert "done" in out
    assert out.index("accuracy") < out.index("zeta")
    assert "note" not in out
    assert "0.4" in out


def test_the_newest_stands_first_while_watching_and_last_when_printed(tmp_path: Path) -> None:
    for age, name in ((90, "old"), (1, "new")):
        write(tmp_path / name, 2)
        then = time.time() - age
        os.utime(tmp_path / name / "metrics.jsonl", (then, then))
    config = WatchConfig(folder=tmp_path)
    titles = [[str(t.title) for t in screen(config, newest_first=first).renderables] for first in (True, False)]  # type: ignore[attr-defined]
    assert titles[0] == titles[1][::-1]
    assert "new: 2 steps" in titles[0][0]
    assert "last step 90 s ago" in titles[0][1]
    assert [ago(s) for s in (5, 119, 120, 7199, 7200)] == ["5 s", "119 s", "2 min", "120 min", "2 h"]


def test_a_ladder_is_over_with_its_last_stage(tmp_path: Path) -> None:
    write(tmp_path / "sft", 2)
    assert not over(tmp_path)
    (tmp_path / "sft/model").mkdir()
    assert over(tmp_path)
    (tmp_path / "ladder.yaml").write_text("seed: 0\n")  # a ladder goes on with its labels
    assert not over(tmp_path)
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval/summary.json").write_text("{}")
    assert over(tmp_path)


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err
    write(tmp_path, 2)
    assert main(["watch", str(tmp_path), "once=true", "metrics=[nope]"]) == 2
    assert "there are zeta, accuracy" in capsys.readouterr().err


def test_a_metric_that_one_stage_has_is_shown_of_that_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "ppo", 2)
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft/metrics.jsonl").write_text('{"step": 0, "loss": 2.5}\n')
    assert main(["watch", str(tmp_path), "once=true", "metrics=[loss]"]) == 0
    out = capsys.readouterr().out
    assert "2.5" in out
    assert "ppo" not in out


def test_it_follows_a_run_until_its_end(tmp_path: Path) -> None:
    write(tmp_path, 2)
    command = rung_command("watch", str(tmp_path), "every=0.05")
    child = subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    time.sleep(0.5)
    write(tmp_path, 4)
    time.sleep(0.5)
    assert child.poll() is None
    (tmp_path / "model").mkdir()
    out, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    assert "4 steps" in out
