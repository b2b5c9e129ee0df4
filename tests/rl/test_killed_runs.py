"""kill -9 anywhere, a full disk, an engine that dies: what was done so far is whole, and resuming ends the same."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import rl.act
from lm.config import to_yaml
from lm.engine import TransformersEngine
from lm.errors import UserError, engine_errors
from lm.lora import LoRAConfig
from rl.collect import verified
from rl.config import RLConfig
from rl.experience import AdvantageConfig
from rl.refresh import RefreshConfig
from rl.train import train
from verifiers.solution import Problem, Solution

Configure = Callable[..., RLConfig]
HERE = Path(__file__).parent


def files(folder: Path) -> dict[str, bytes]:
    """What a run left, byte for byte, but for its times, its own name and how often it was started."""
    skipped = {"timing.jsonl", "command.txt", "config.yaml", "manifest.json", ".lock"}
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in skipped
    }


COMBINED = {  # as much state as one run can have: an adapter, a PRM that learns, gradients of several parts, a γ of ptx
    "lora": LoRAConfig(rank=2), "prm_refresh": RefreshConfig(every=2, steps=2, batch=6, keep=3), "micro_tokens": 120,
    "resample": 1, "ptx_coefficient": 0.5, "ptx_batch": 4, "save_every": 2,
}  # fmt: skip


@pytest.mark.parametrize(("seed", "kills", "changes"), [(1, 5, {}), (2, 3, COMBINED)], ids=["plain", "combined"])
def test_a_run_killed_at_random_calls_ends_as_the_undisturbed_one(
    configure: Configure, seed: int, kills: int, changes: dict[str, Any]
) -> None:
    """Adaptive KL, critic, evaluations: the same metrics, weights, optimizer states and all else in checkpoints."""
    adaptive = AdvantageConfig(kl_target=0.1, kl_horizon=40)
    given: dict[str, Any] = {"steps": 4, "keep": 9, "micro_tokens": 4096, "advantage": adaptive} | changes
    config = configure(f"undisturbed{seed}", **given)
    config = replace(config, folder=config.folder / "whole")
    config.folder.parent.mkdir()
    (path := config.folder.parent / "run.yaml").write_text(to_yaml(config))
    environment = os.environ | {
        "PYTHONPATH": str(HERE.parents[1]),
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    command = [sys.executable, str(HERE / "killing.py"), str(path), str(seed), str(kills)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    places = done.stdout.splitlines()
    assert len(places) == kills + 1, places
    assert sum(not place.isdigit() for place in places) > kills / 2, places  # the last ones may find the run finished
    whole, killed = files(config.folder), files(config.folder.with_name("killed"))
    assert whole.keys() == killed.keys()
    assert [name for name in whole if whole[name] != killed[name]] == []
    assert "checkpoints/step-000004/beta/state.json" in whole
    assert "checkpoints/step-000004/critic_optimizer/tensors.safetensors" in whole
    assert ("checkpoints/step-000004/refresh/state.json" in whole) == bool(changes)


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """As on a full disk: a write beyond it fails in the middle (EFBIG; Python ignores the signal that comes first)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_up_ends_the_run_in_one_line_and_costs_nothing(configure: Configure) -> None:
    train(whole := configure("roomy", steps=2))
    config = configure("full", steps=2)
    train(replace(config, steps=1))
    config = replace(config, resume=True)
    for size, what in ((30_000, "checkpoints/step-000002"), (200, "config.yaml")):
        with (
            files_no_larger_than(size),
            pytest.raises(UserError, match=f"cannot write .*{what}.*File too large") as said,
        ):
            train(config)
        assert "\n" not in str(said.value)
        assert size == 200 or str(said.value).endswith("mend that, then resume=true goes on")
    train(config)
    assert (config.folder / "metrics.jsonl").read_bytes() == (whole.folder / "metrics.jsonl").read_bytes()
    ours, theirs = files(config.folder), files(whole.folder)
    assert [name for name in ours if ours[name] != theirs[name]] == []


class EngineDeadError(Exception):
    """Of the name that vLLM gives to the end of its engine."""


@pytest.mark.parametrize("error", [ConnectionResetError("peer"), EngineDeadError("core proc died"), MemoryError()])
def test_an_engine_that_dies_is_one_line(error: Exception) -> None:
    with pytest.raises(UserError, match=r"the engine died while sampling \(.*resume=true") as said, engine_errors():
        raise error
    assert "\n" not in str(said.value)


class Dying(TransformersEngine):
    """Samples once more, and is gone when it is given weights, or asked for more."""

    def __init__(self, engine: TransformersEngine, calls: int) -> None:
        super().__init__(engine.model, engine.tokenizer, engine.batch)
        self.calls = calls

    def load_weights(self, model: Any) -> None:
        self.calls -= 1
        if self.calls == 0:
            raise EngineDeadError("core proc died")

    def generate(self, *arguments: Any, **more: Any) -> Any:
        self.load_weights(None)
        return super().generate(*arguments, **more)


@pytest.mark.parametrize("calls", [1, 2, 3, 4, 5])
def test_an_engine_that_dies_anywhere_in_a_step_leaves_a_run_to_go_on_with(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    """At the weights of sampling, at sampling, at the weights of an evaluation, at that, and in the step after."""
    opened = rl.act.open_engine
    monkeypatch.setattr("rl.act.open_engine", lambda *given, **more: Dying(opened(*given, **more), calls))
    with pytest.raises(UserError, match=r"the engine died while sampling \(EngineDeadError.*resume=true"):
        train(configure(f"dying{calls}", steps=2, overwrite=True))


def test_a_bug_in_sampling_is_no_death_of_the_engine() -> None:
    with pytest.raises(ZeroDivisionError), engine_errors():
        raise ZeroDivisionError


def test_answers_are_checked_in_other_processes_alike() -> None:
    answers = [("1/2", "0.5"), ("x^2-1", "(x-1)(x+1)"), ("3", "4"), ("7", "")]
    solutions = [Solution(Problem("p", "q", gold), f"#### {text}", ()) for gold, text in answers]
    here = verified(solutions, 0, 1.0)
    assert [v.correct for v in here] == [True, True, False, False]
    assert verified(solutions, 1, 30.0) == here
