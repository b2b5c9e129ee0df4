"""Sampling ahead: whose weights sample a batch; the same bytes again and after a resume; a sampler that dies."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from lm.engine import TransformersEngine
from lm.errors import UserError
from lm.lora import LoRAConfig, add_adapter, trained_weights
from lm.models import load_causal_lm, load_tokenizer
from lm.run import read_metrics
from prm.problems import load_problems
from rl.act import Actor
from rl.ahead import Ahead, Clock
from rl.batch import pack
from rl.config import RLConfig, check
from rl.credit import CreditConfig
from rl.experience import AdvantageConfig
from rl.forward import action_logprobs
from rl.train import train

if TYPE_CHECKING:
    from transformers import PreTrainedModel

pytestmark = pytest.mark.slow
Configure = Callable[..., RLConfig]
CORRECTED = AdvantageConfig(importance="token")


def gap(policy: "PreTrainedModel", rollouts: list) -> float:
    """The largest difference between what the engine and ``policy`` think of the sampled tokens."""
    tokens = pack(rollouts, torch.device("cpu"))
    with torch.no_grad():
        logprobs, _ = action_logprobs(policy, tokens, 1.0)
    return float((logprobs - tokens.sampled_logprobs())[tokens.actions].abs().max())


def open_ahead(config: RLConfig) -> Ahead:
    return Ahead(config, TransformersEngine(load_causal_lm(config.policy), load_tokenizer(config.policy)))


def test_a_batch_is_sampled_by_the_policy_of_staleness_updates_ago(configure: Configure) -> None:
    config = configure("versions", staleness=2, advantage=CORRECTED, steps=5)
    versions = []
    ahead = open_ahead(config)
    try:
        for step in range(5):
            policy = load_causal_lm(config.policy)
            with torch.no_grad():
                for weight in policy.parameters():
                    weight.mul_(1 + 0.05 * step)
            versions.append(policy)
            acted = ahead.act(step, policy, Clock())
            gaps = [gap(version, acted.collected.rollouts) for version in versions]
            assert gaps.index(min(gaps)) == max(0, step - 2)
            assert min(gaps) < 1e-4
            assert len(acted.scores) == len(acted.collected.rollouts)
            assert acted.elsewhere["sample"] > 0
        assert set(ahead.state_dict()["recent"]) == {"3", "4"}
    finally:
        ahead.close()


def test_an_adapter_alone_is_sent_and_samples_as_it_does_here(configure: Configure) -> None:
    still = configure("lora", advantage=CORRECTED, lora=LoRAConfig(rank=2))
    policy = load_causal_lm(still.policy)
    add_adapter(policy, still.lora)
    torch.manual_seed(4)
    for name, weight in policy.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(weight, std=0.05)
    ahead = open_ahead(replace(still, staleness=1))
    try:
        acted = ahead.act(0, policy, Clock())
        assert gap(policy, acted.collected.rollouts) < 1e-4
        assert gap(load_causal_lm(still.policy), acted.collected.rollouts) > 0.01
        assert set(ahead.state_dict()["recent"]["0"]) == set(trained_weights(policy))
        tokenizer = load_tokenizer(still.policy)
        problems = [e.problem for e in load_problems(still.problems, "train", still.pool, stream=3)]
        here = Actor(still, tokenizer, problems, policy, policy).act(0, policy, Clock())
        assert [r.completion.token_ids for r in here.collected.rollouts] == [
            r.completion.token_ids for r in acted.collected.rollouts
        ]
    finally:
        ahead.close()


def test_with_weights_that_stay_it_is_the_synchronous_run(configure: Configure) -> None:
    """At a rate of 0 the sampler's age makes no difference, so all but the order of work must be the same."""
    still = configure("turns", steps=3, advantage=CORRECTED)
    still = replace(still, optim=replace(still.optim, lr=0.0), critic_optim=replace(still.critic_optim, lr=0.0))
    train(still)
    train(ahead := replace(still, folder=still.folder.with_name("ahead-still"), staleness=1))
    assert (ahead.folder / "metrics.jsonl").read_bytes() == (still.folder / "metrics.jsonl").read_bytes()


def test_it_is_repeated_and_resumed_to_the_byte(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("rl.act.step_judge")  # only the sampling process has use for a PRM in memory
    train(once := configure("ahead-once", steps=4, staleness=1, advantage=CORRECTED))
    train(again := configure("ahead-again", steps=4, staleness=1, advantage=CORRECTED))
    whole = (once.folder / "metrics.jsonl").read_bytes()
    assert (again.folder / "metrics.jsonl").read_bytes() == whole
    assert read_metrics(once.folder)[2]["importance_mean"] != 1
    shutil.rmtree(again.folder / "checkpoints" / "step-000004")
    shutil.rmtree(again.folder / "model")
    train(replace(again, resume=True))
    assert (again.folder / "metrics.jsonl").read_bytes() == whole


def test_a_sampler_that_dies_is_one_line_and_not_a_hang(configure: Configure) -> None:
    config = configure("dead", staleness=1, advantage=CORRECTED, steps=3)
    ahead = open_ahead(config)
    ahead._process.kill()
    with pytest.raises(UserError, match=r"sampling process ended \(exit code -9"):
        ahead.act(0, load_causal_lm(config.policy), Clock())


def test_what_cannot_run_ahead_is_refused() -> None:
    with pytest.raises(UserError, match="give advantage"):
        check(RLConfig(staleness=1))
    with pytest.raises(UserError, match="implicit"):
        check(RLConfig(staleness=1, credit=CreditConfig(form="implicit"), advantage=CORRECTED))
