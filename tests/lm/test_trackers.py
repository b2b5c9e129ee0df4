"""lm.trackers: what TensorBoard reads back is what the run logged; a tracker that fails is left out."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from lm.config import key
from lm.errors import UserError
from lm.run import Run
from lm.trackers import Tracker, Trackers


@dataclass(frozen=True)
class Config:
    folder: Path = key(Path("x"), "folder")
    trackers: tuple[Tracker, ...] = key((), "trackers")
    resume: bool = key(False, "go on")
    overwrite: bool = key(False, "start afresh")


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_reads_what_the_run_logged(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    config = Config(tmp_path, ("tensorboard",))
    run = Run.open(config, verb="it")
    for step in run.steps(3):
        run.log(step, loss=1.0 / (step + 1), words="kept out")
    run.finish()
    found = scalars(tmp_path / "tensorboard")
    assert found["loss"] == [(0, 1.0), (1, 0.5), (2, pytest.approx(1 / 3))]
    assert set(found) == {"loss"}
    assert [json.loads(line)["loss"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()][1] == 0.5


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install wandb"):
        Trackers(("wandb",), tmp_path, {})


def test_a_tracker_that_cannot_write_is_left_out_and_the_run_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "tensorboard").write_text("in the way")  # a file where the tracker wants its folder
    run = Run.open(Config(tmp_path, ("tensorboard",)), verb="it")
    for step in run.steps(2):
        run.log(step, loss=0.0)
    run.finish()
    assert capsys.readouterr().err.count("tracker tensorboard is left out") == 1
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
