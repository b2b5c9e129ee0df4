"""rung watch: what it shows of a run, and that it follows one which is being written and ends with it."""

import json
import subprocess
import time
from pathlib import Path

import pytest
from toy_ladder import ENVIRONMENT, ROOT, rung_command

from rung.cli import main
from rung.watch import sparkline


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


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err
    write(tmp_path, 2)
    assert main(["watch", str(tmp_path), "once=true", "metrics=[nope]"]) == 2
    assert "it has zeta, accuracy" in capsys.readouterr().err


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
