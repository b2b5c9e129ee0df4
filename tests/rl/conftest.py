"""A run of RL on models of a moment: the config that the tests of the loop change."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import torch

from lm.engine import Sampling
from lm.models import load_token_scorer
from lm.optim import OptimConfig
from prm.problems import ProblemsConfig
from rl.config import RLConfig
from rl.credit import CreditConfig, Form

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@pytest.fixture(scope="session")
def configure(
    fitted_policy: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., RLConfig]:
    """A config on models in a folder of their own: the policy, and two PRMs that differ in their heads."""
    home = tmp_path_factory.mktemp("rl")
    fitted_policy.save_pretrained(home / "policy")
    tokenizer.save_pretrained(home / "policy")
    for number in (1, 2):
        prm: Any = load_token_scorer(str(home / "policy"), 2)
        torch.nn.init.normal_(prm.score.weight, std=0.5, generator=torch.Generator().manual_seed(number))
        prm.save_pretrained(home / f"prm{number}")
        tokenizer.save_pretrained(home / f"prm{number}")

    def make(name: str, form: Form = "running_min", prm: int = 1, **changes: Any) -> RLConfig:
        config = RLConfig(
            folder=home / name, policy=str(home / "policy"), prm=str(home / f"prm{prm}"),
            problems=ProblemsConfig(families=("chain",), levels=(1,)), pool=40, eval_problems=6, eval_every=1,
            credit=CreditConfig(form=form, no_answer=-0.5), sampling=Sampling(max_tokens=16, n=2),
            problems_per_step=6, minibatches=2, epochs=1, micro_tokens=200, engine_batch=8, steps=2, save_every=1,
            optim=OptimConfig(lr=1e-3, warmup=2, schedule="constant", weight_decay=0.0), threads=1,
        )  # fmt: skip
        return dataclasses.replace(config, **changes)

    return make
