"""kill -9 anywhere, a full disk, an engine that dies: what was done so far is whole, and resuming ends the same."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from lm.config import to_yaml
from lm.errors import UserError, engine_errors
from rl.collect import verified
from rl.config import RLConfig
from rl.experience import AdvantageConfig
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


@pytest.mark.parametrize("seed", [1])
def test_a_run_killed_at_random_calls_ends_as_the_undisturbed_one(configure: Configure, seed: int) -> None:
    """Adaptive KL, critic, evaluations: the same metrics, weights, optimizer states and all else in checkpoints."""
    config = configure(
        f"undisturbed{seed}",
        steps=4,
        advantage=AdvantageConfig(kl_target=0.1, kl_horizon=40),
        keep=9,
        micro_tokens=4096,
    )
    config = replace(config, folder=config.folder / "whole")
    config.folder.parent.mkdir()
    (path := config.folder.parent / "run.yaml").write_text(to_yaml(config))
    environment = os.environ | {
        "PYTHONPATH": str(HERE.parents[1]),
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    command = [sys.executable, str(HERE / "killing.py"), str(path), str(seed), "5"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    places = done.stdout.splitlines()
    assert len(places) == 6, places
    assert sum(not place.isdigit() for place in places) >= 3, places  # the last ones may find the run finished
    whole, killed = files(config.folder), files(config.folder.with_name("killed"))
    assert whole.keys() == killed.keys()
    assert [name for name in whole if whole[name] != killed[name]] == []
    assert "checkpoints/step-000004/beta/state.json" in whole
    assert "checkpoints/step-000004/critic_optimizer/tensors.safetensors" in whole


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


def test_a_bug_in_sampling_is_no_death_of_the_engine() -> None:
    with pytest.raises(ZeroDivisionError), engine_errors():
        raise ZeroDivisionError


def test_answers_are_checked_in_other_processes_alike() -> None:
    answers = [("1/2", "0.5"), ("x^2-1", "(x-1)(x+1)"), ("3", "4"), ("7", "")]
    solutions = [Solution(Problem("p", "q", gold), f"#### {text}", ()) for gold, text in answers]
    here = verified(solutions, 0, 1.0)
    assert [v.correct for v in here] == [True, True, False, False]
    assert verified(solutions, 1, 30.0) == here
