"""Whole runs of RL whose rollouts a real vLLM samples: after every update it must hold the learner's weights."""

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from lm.config import load
from lm.errors import UserError
from lm.models import load_token_scorer, load_tokenizer
from lm.run import read_metrics
from rl.config import RLConfig, check
from rl.train import train

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def keys(vllm_model: Callable[[int], Path], tmp_path: Path) -> dict[str, Any]:
    """A run of three steps, so two updates are followed by sampling, on a policy and a PRM of random weights."""
    prm: Any = load_token_scorer(str(vllm_model(0)), 2)
    torch.nn.init.normal_(prm.score.weight, std=0.5, generator=torch.Generator().manual_seed(0))
    prm.save_pretrained(tmp_path / "prm")
    load_tokenizer(str(vllm_model(0))).save_pretrained(tmp_path / "prm")
    return {
        "folder": tmp_path / "run", "policy": vllm_model(0), "prm": tmp_path / "prm", "steps": 3,
        "problems_per_step": 8, "pool": 20, "eval_every": 2, "eval_problems": 4, "engine_batch": 32, "threads": 1,
        "sampling.n": 2, "sampling.max_tokens": 16, "sampling.temperature": 0.8, "problems.levels": "[1]",
        "optim.lr": 0.003, "engine.cache_gib": 0.1,
    }  # fmt: skip


def held(folder: Path) -> None:
    lines = read_metrics(folder)
    assert len(lines) == 3
    assert all(line["logprob_gap"] < 1e-4 for line in lines), [line["logprob_gap"] for line in lines]
    assert abs(lines[1]["kl"]) > 1e-3  # the policy has moved, and would be seen not to be the engine's
    assert abs(lines[2]["kl"]) > 1e-3


def words(keys: Mapping[str, Any]) -> list[str]:
    return [f"{name}={value}" for name, value in keys.items()]


@pytest.mark.slow
def test_vllm_in_process_has_the_learners_weights_after_each_update(vllm_python: str, keys: dict[str, Any]) -> None:
    command = [vllm_python, "-m", "rung", "rl", *words(keys), "engine.backend=vllm"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr[-3000:]
    held(keys["folder"])


@pytest.mark.slow
def test_a_vllm_server_has_the_learners_weights_after_each_update(vllm_python: str, keys: dict[str, Any]) -> None:
    train(load(RLConfig, None, [*words(keys), "engine.backend=vllm-server", f"engine.python={vllm_python}"]))
    held(keys["folder"])


def test_log_probs_that_vllm_does_not_tell_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"sampling\.top_p"):
        check(load(RLConfig, None, [*words(keys), "engine.backend=vllm", "sampling.top_p=0.9"]))
