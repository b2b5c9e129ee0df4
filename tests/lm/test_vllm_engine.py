"""lm.vllm_engine and lm.server_engine against plain forward passes, by a real vLLM where one is installed.

vLLM runs in processes of its own: it binds threads, seeds generators and warns, which other tests need not see.
"""

import itertools
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lm.engines import EngineConfig, open_engine
from lm.errors import UserError
from lm.vllm_engine import check_room, prompt_seeds

ROOT = Path(__file__).resolve().parents[2]


def test_seeds_of_neighbours_are_far_apart() -> None:
    """A prompt's completions have its seed, the next and so on: those of another prompt must not be among them."""
    seeds = sorted(prompt_seeds([5, 6, 7, 8], 4))
    assert min(b - a for a, b in itertools.pairwise(seeds)) > 1e6
    assert prompt_seeds([6], 1) == [prompt_seeds([5, 6], 2)[1]]
    assert prompt_seeds(7, 3) == prompt_seeds(7, 5)[:3]
    assert all(0 <= seed < 2**63 for seed in prompt_seeds(-1, 100))  # what the server's protocol takes


def test_a_prompt_that_fills_the_context_is_named() -> None:
    check_room([[1] * 7], 8)
    with pytest.raises(UserError, match=r"8 tokens.*context"):
        check_room([[1], [1] * 8], 8)


def test_without_vllm_the_cure_is_one_line(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'rung\[vllm\]'"):
        open_engine(EngineConfig(backend="vllm"), "anything", tokenizer)


@pytest.fixture(scope="module")
def checked(vllm_python: str, vllm_model: Callable[[int], Path]) -> dict[str, Any]:
    """What tests/lm/vllm_checks.py found."""
    words = [vllm_python, str(Path(__file__).with_name("vllm_checks.py")), str(vllm_model(0)), str(vllm_model(1))]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr[-3000:]
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_vllms_completions_are_those_of_the_model(checked: dict[str, Any]) -> None:
    assert checked["gap"] < 1e-4  # at temperature 0.7
    assert checked["told"]
    assert checked["calls"] > 1  # as they were done, not all at the end
    assert checked["finishes"] == ["length", "stop"]
    assert checked["stops_at_eos"]
    assert not checked["eos_inside"]
    assert checked["lengths_right"]
    assert checked["distinct"] > 90  # of 112
    assert checked["greedy_as_transformers"]
    assert checked["outside_nucleus"] == 0
    assert checked["stop_strings_met"] > 5
    assert checked["stop_strings_right"]
    assert checked["stopped_at_once"]


@pytest.mark.slow
def test_a_seed_belongs_to_its_request(checked: dict[str, Any]) -> None:
    assert checked["repeats"]
    assert checked["other_seed_differs"]
    assert checked["alone_as_together"]
    assert checked["random_state_kept"]


@pytest.mark.slow
def test_new_weights_are_in_place_and_nothing_of_the_old_ones_is_left(checked: dict[str, Any]) -> None:
    for update in ("gap_after_update", "gap_after_second_update"):
        assert checked[update] < 1e-4
        assert checked[f"{update}_to_the_old"] > 0.01
    assert checked["gap_of_a_second_engine"] < 1e-4
    assert "256 tokens" in checked["too_long"]
