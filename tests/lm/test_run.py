"""lm.run: the run folder, logs that repeat to the byte, resuming, and Ctrl-C."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lm import plain_yaml
from lm.config import key, load
from lm.errors import UserError
from lm.run import Run, read_metrics, read_timing


@dataclass(frozen=True)
class Toy:
    steps: int = key(6, "steps")
    seed: int = key(3, "seed")
    lr: float = key(0.1, "learning rate")
    folder: Path = key(Path("toy"), "folder")
    resume: bool = key(False, "go on")
    overwrite: bool = key(False, "start afresh")


class Walk:
    """A random walk: its state is a number and the generators of NumPy and torch."""

    def __init__(self) -> None:
        self.place = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"place": self.place}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self.place = state["place"]


def walk(folder: Path, config: Toy, *, stop_at: int | None = None, save_every: int = 2, **asked: Any) -> Walk:
    """Walk ``config.steps`` steps; ``stop_at`` leaves in the middle of that step as a crash would."""
    run = Run.open(replace(config, folder=folder, **asked), verb="walk", argv=["rung", "walk", "toy.yaml"])
    np.random.seed(config.seed)
    torch.manual_seed(config.seed)
    state = Walk()
    run.track(walk=state)
    with contextlib.closing(run.steps(config.steps, save_every=save_every)) as steps:
        for step in steps:
            with run.timer("draw"):
                state.place += np.random.randn() + torch.randn(()).item()
            run.log(step, place=state.place, loss=torch.tensor(0.1))
            if step == stop_at:
                break
    return state


def test_a_run_writes_down_how_it_was_made(tmp_path: Path) -> None:
    walk(tmp_path / "a" / "run", Toy(lr=1e-7))
    folder = tmp_path / "a" / "run"
    assert load(Toy, folder / "config.yaml") == Toy(lr=1e-7, folder=folder)
    assert (folder / "command.txt").read_text() == "rung walk toy.yaml\n"
    assert json.loads((folder / "versions.json").read_text())["seed"] == 3
    assert [line["step"] for line in read_metrics(folder)] == list(range(6))
    timing = read_timing(folder)
    assert [list(line) for line in timing] == [["step", "draw", "total"]] * 6
    assert all(0 <= line["draw"] <= line["total"] for line in timing)
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["step-000004", "step-000006"]


@pytest.mark.parametrize(("save_every", "stop_at"), [(2, 1), (2, 2), (2, 4), (4, 5), (0, 3), (1, 0)])
def test_a_resumed_run_is_the_unbroken_one_to_the_byte(tmp_path: Path, save_every: int, stop_at: int) -> None:
    whole = walk(tmp_path / "whole", Toy(), save_every=save_every)
    walk(tmp_path / "broken", Toy(), save_every=save_every, stop_at=stop_at)
    with (tmp_path / "broken" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "pl')  # torn by a crash
    resumed = walk(tmp_path / "broken", Toy(), save_every=save_every, resume=True)
    assert resumed.place == whole.place
    written = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "broken")]
    assert written[0] == written[1]
    assert [line["step"] for line in read_timing(tmp_path / "broken")] == list(range(6))
    assert (tmp_path / "broken" / "command.txt").read_text() == "rung walk toy.yaml\n" * 2


def test_more_steps_may_be_asked_for_but_nothing_else_may_differ(tmp_path: Path) -> None:
    whole = walk(tmp_path / "whole", Toy(steps=9))
    walk(tmp_path / "short", Toy())
    resumed = walk(tmp_path / "short", Toy(steps=9), resume=True)
    assert resumed.place == whole.place
    assert plain_yaml.read_mapping(tmp_path / "short" / "config.yaml")["steps"] == 9
    with pytest.raises(UserError) as error:
        walk(tmp_path / "short", Toy(lr=0.2, seed=4), resume=True)
    assert str(error.value) == (
        f"{tmp_path / 'short'} was made with another config: lr (0.1 then, 0.2 now), seed (3 then, 4 now); "
        "choose another folder"
    )
    Run.open(Toy(9, lr=0.2, folder=tmp_path / "short", resume=True), verb="walk", may_change=frozenset({"lr"}))


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    done = walk(tmp_path, Toy())
    before = (tmp_path / "metrics.jsonl").read_bytes()
    assert walk(tmp_path, Toy(), resume=True).place == done.place
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_a_folder_that_holds_a_run_is_not_written_over_unasked(tmp_path: Path) -> None:
    walk(tmp_path, Toy())
    before = (tmp_path / "metrics.jsonl").read_bytes()
    with pytest.raises(UserError, match="holds a run; resume=true goes on with it, overwrite=true starts afresh"):
        walk(tmp_path, Toy(lr=9))
    with pytest.raises(UserError, match="contradict"):
        walk(tmp_path, Toy(), resume=True, overwrite=True)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    assert load(Toy, tmp_path / "config.yaml") == Toy(folder=tmp_path)


def test_overwrite_deletes_the_run_and_nothing_else(tmp_path: Path) -> None:
    walk(tmp_path, Toy())
    (tmp_path / "notes.md").write_text("mine")
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "manifest.json").write_text("{}")
    walk(tmp_path, Toy(steps=2, lr=0.5), overwrite=True)
    assert len(read_metrics(tmp_path)) == 2
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000002"]
    assert (tmp_path / "notes.md").read_text() == "mine"
    assert (tmp_path / "figures" / "manifest.json").exists()
    assert (tmp_path / "command.txt").read_text() == "rung walk toy.yaml\n"


def test_resuming_where_nothing_was_saved_starts_at_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fresh = walk(tmp_path / "fresh", Toy())
    capsys.readouterr()
    assert walk(tmp_path / "new", Toy(), resume=True).place == fresh.place
    assert f"rung walk: nothing to resume in {tmp_path / 'new'}; starting at step 0" in capsys.readouterr().err
    walk(tmp_path / "early", Toy(), stop_at=0)
    assert walk(tmp_path / "early", Toy(), resume=True).place == fresh.place
    assert "no checkpoint in" in capsys.readouterr().err
    assert [line["step"] for line in read_metrics(tmp_path / "early")] == list(range(6))


def test_a_truncated_checkpoint_is_reported_and_the_one_before_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = walk(tmp_path, Toy())
    metrics = (tmp_path / "metrics.jsonl").read_bytes()
    for step in (6, 4):
        state = tmp_path / "checkpoints" / f"step-{step:06d}" / "random" / "tensors.safetensors"
        state.write_bytes(state.read_bytes()[:100])
        if step == 6:
            assert walk(tmp_path, Toy(), resume=True).place == whole.place
            assert "step-000006 is damaged (random/tensors.safetensors has 100 bytes" in capsys.readouterr().err
            assert (tmp_path / "metrics.jsonl").read_bytes() == metrics
            state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(UserError, match=r"no checkpoint in .* used: .*step-000006 is damaged .*; overwrite=true"):
        walk(tmp_path, Toy(), resume=True)


def test_the_best_checkpoint_stays_whatever_its_age(tmp_path: Path) -> None:
    scores = [1.0, 3.0, None, 2.0, 3.0, 0.0, 1.0, 4.0, 2.0]

    def go(total: int, resume: bool = False) -> list[int]:
        run = Run.open(Toy(steps=total, folder=tmp_path, resume=resume), verb="walk")
        for step in run.steps(total, save_every=2, keep=1, best="score"):
            run.log(step, score=scores[step])
        return sorted(int(path.name.removeprefix("step-")) for path in (tmp_path / "checkpoints").iterdir())

    assert go(6) == [2, 6]  # 3.0, first reached after two steps
    assert go(7, resume=True) == [2, 7]  # a resumed run knows it from its metrics
    assert go(9, resume=True) == [8, 9]


def test_a_run_without_its_config_cannot_be_resumed(tmp_path: Path) -> None:
    walk(tmp_path, Toy())
    (tmp_path / "config.yaml").unlink()
    with pytest.raises(UserError, match=r"has no config\.yaml"):
        walk(tmp_path, Toy(), resume=True)


def test_metrics_are_json_whatever_the_numbers(tmp_path: Path) -> None:
    run = Run.open(Toy(folder=tmp_path), verb="log")
    third = torch.tensor(1 / 3)
    run.log(0, a=1 / 3, b=third, c=np.float32(0.1), d=np.int64(3), e=float("nan"), f=[1.0, float("inf")], g=(1, 2))
    run.log(1, loss=-0.0, ok=True, note="x", none=None)
    text = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert text[0] == (
        f'{{"step": 0, "a": {1 / 3!r}, "b": {third.item()!r}, "c": {float(np.float32(0.1))!r}, "d": 3, "e": null, '
        '"f": [1.0, null], "g": [1, 2], "nonfinite": ["e", "f"]}'
    )
    assert text[1] == '{"step": 1, "loss": -0.0, "ok": true, "note": "x", "none": null}'
    assert read_metrics(tmp_path)[0]["a"] == 1 / 3


def test_there_are_no_metrics_to_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no metrics\.jsonl: it is not a run folder"):
        read_metrics(tmp_path)
    assert read_timing(tmp_path) == []


def test_the_bar_shows_the_metrics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run.open(Toy(folder=tmp_path), verb="walk")
    for step in run.steps(1, label="PPO", show=["kl", "reward"]):
        run.log(step, loss=1.0, reward=0.25, kl=0.5, n=3)
    assert capsys.readouterr().err == "PPO 1/1  0 s  kl 0.5  reward 0.25\n"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write to the run folder .*file"):
        Run.open(Toy(folder=tmp_path / "file"), verb="walk")


def test_export_is_what_from_pretrained_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    from lm.tokenizer import train_tokenizer

    tokenizer = train_tokenizer(["1 + 1 = 2"], 260)
    sizes: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    heads: dict[str, Any] = {"num_attention_heads": 1, "num_key_value_heads": 1}
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), **sizes, **heads))
    run = Run.open(Toy(folder=tmp_path), verb="sft")
    run.finish(model=(model, tokenizer), critic=model)
    run.finish(model=(model, tokenizer))  # a second time replaces the first
    assert f"rung sft: done, in {tmp_path}" in capsys.readouterr().err
    back = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), back.state_dict().values(), strict=True))
    assert AutoTokenizer.from_pretrained(tmp_path / "model")("1 + 1")["input_ids"] == tokenizer("1 + 1")["input_ids"]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".model")]
    Run.open(Toy(folder=tmp_path, overwrite=True), verb="sft")
    assert not (tmp_path / "model").exists()
    assert not (tmp_path / "critic").exists()


SLOW = """
import sys, time
from dataclasses import dataclass
from pathlib import Path
from lm.run import Run

@dataclass(frozen=True)
class Toy:
    steps: int = 40
    seed: int = 3
    lr: float = 0.1
    folder: Path = Path(sys.argv[1])
    resume: bool = "resume=true" in sys.argv
    overwrite: bool = False

class Walk:
    place = 0
    def state_dict(self):
        return vars(self)
    def load_state_dict(self, state):
        vars(self).update(state)

run = Run.open(Toy(), verb="walk")
state = Walk()
run.track(walk=state)
for step in run.steps(40):
    time.sleep(0.05 if "slow" in sys.argv else 0)
    state.place += 1
    run.log(step, place=state.place)
print("end", state.place)
"""


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", SLOW, str(folder), *arguments]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_for_steps(folder: Path, steps: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with contextlib.suppress(UserError):
            if len(read_metrics(folder)) >= steps:
                return
        time.sleep(0.02)
    raise AssertionError("the run did not get under way")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_saves_and_says_how_to_go_on(tmp_path: Path, number: signal.Signals) -> None:
    run = start(tmp_path / "run", "slow")
    wait_for_steps(tmp_path / "run", 2)
    run.send_signal(number)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 128 + number
    done = len(read_metrics(tmp_path / "run"))
    assert 2 <= done < 40
    assert f"rung walk: stopped after {done} of 40 steps, saved; to go on:" in err
    assert "slow resume=true" in err
    assert "Traceback" not in err
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == [f"step-{done:06d}"]
    out, _ = start(tmp_path / "run", "resume=true").communicate(timeout=60)
    assert out == "end 40\n"
    assert [line["step"] for line in read_metrics(tmp_path / "run")] == list(range(40))


def test_the_second_ctrl_c_interrupts_at_once(tmp_path: Path) -> None:
    script = SLOW.replace("time.sleep(0.05", "time.sleep(30")
    run = subprocess.Popen([sys.executable, "-c", script, str(tmp_path), "slow"], stderr=subprocess.PIPE, text=True)
    assert run.stderr is not None
    deadline = time.monotonic() + 120
    while not (tmp_path / "versions.json").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(1)
    run.send_signal(signal.SIGINT)
    assert run.stderr.readline() + run.stderr.readline() == (
        "\nstopping after this step (again: stop at once, without saving)\n"
    )
    run.send_signal(signal.SIGINT)
    assert run.stderr.read().endswith("KeyboardInterrupt\n")
    run.stderr.close()
    assert run.wait(timeout=20) != 0
    assert not (tmp_path / "checkpoints").exists()


def test_two_processes_cannot_share_a_folder(tmp_path: Path) -> None:
    other = start(tmp_path, "slow")
    wait_for_steps(tmp_path, 1)
    with pytest.raises(UserError, match="another process is writing to"):
        Run.open(Toy(folder=tmp_path, resume=True), verb="walk")
    other.kill()
    other.communicate()
    Run.open(Toy(folder=tmp_path, steps=40, resume=True), verb="walk")


def test_a_stop_in_the_last_step_still_stops(tmp_path: Path) -> None:
    run = Run.open(Toy(folder=tmp_path), verb="walk")
    with pytest.raises(SystemExit) as stop:
        interrupt_in_each(run.steps(3))
    assert stop.value.code == 130
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000001"]
    again = Run.open(Toy(folder=tmp_path, steps=2, resume=True), verb="walk")
    with pytest.raises(SystemExit):
        interrupt_in_each(again.steps(2))
    assert list(Run.open(Toy(folder=tmp_path, resume=True), verb="walk").steps(2)) == []


def interrupt_in_each(steps: Any) -> None:
    for _ in steps:
        os.kill(os.getpid(), signal.SIGINT)
