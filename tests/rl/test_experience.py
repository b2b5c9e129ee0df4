"""Experience put together from its parts, and the KL penalty in it."""

import copy
import dataclasses
from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest
import torch

from lm.engine import Completion, Sampling, TransformersEngine
from rl.advantages import gae, whiten
from rl.batch import Experience, TokenBatch, pack
from rl.experience import AdvantageConfig, estimate_advantages, explained_variance
from rl.forward import action_logprobs, action_values
from rl.kl import Estimator
from rl.losses import Metrics
from rl.rollout import sample_rollouts
from verifiers.solution import Problem

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@pytest.fixture
def tokens(fitted_policy: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> TokenBatch:
    problems = [Problem(q, q, "1") for q in ("9+9-12", "1+1", "8+4-3")]
    engine = TransformersEngine(fitted_policy, tokenizer)
    return pack(sample_rollouts(engine, tokenizer, problems, Sampling(0.8, max_tokens=14, n=2), seed=1))


@pytest.fixture
def rewards(tokens: TokenBatch) -> torch.Tensor:
    noise = torch.randn(tokens.ids.shape, generator=torch.Generator().manual_seed(0))
    return noise * tokens.actions


@pytest.mark.parametrize(("estimator", "white"), [("k1", True), ("k3", False)])
def test_parts_are_put_together_as_the_equations_say(
    fitted_policy: "PreTrainedModel",
    tiny_policy: "PreTrainedModel",
    tiny_critic: "PreTrainedModel",
    tokens: TokenBatch,
    rewards: torch.Tensor,
    estimator: Estimator,
    white: bool,
) -> None:
    config = AdvantageConfig(gamma=0.9, lam=0.8, whiten=white, kl_estimator=estimator)
    experience, metrics = estimate_advantages(
        fitted_policy, tiny_policy, tiny_critic, tokens, rewards, config,
        kl_coefficient=0.5, group=2, temperature=0.8, micro_tokens=10_000,
    )  # fmt: skip
    with torch.no_grad():
        new, entropy = action_logprobs(fitted_policy, tokens, 0.8)
        old, _ = action_logprobs(tiny_policy, tokens, 0.8)
        values = action_values(tiny_critic, tokens)
    d = new - old
    penalty = d if estimator == "k1" else torch.exp(-d) - 1 + d
    advantages = gae(rewards - 0.5 * penalty, values, tokens.actions, gamma=0.9, lam=0.8)
    torch.testing.assert_close(experience.old_logprobs, new)
    torch.testing.assert_close(experience.old_values, values)
    torch.testing.assert_close(experience.returns, advantages + values)
    torch.testing.assert_close(experience.advantages, whiten(advantages, tokens.actions) if white else advantages)
    sampled = np.concatenate([r.completion.logprobs for r in tokens.rollouts])
    np.testing.assert_allclose(experience.old_logprobs[tokens.actions].numpy(), sampled, atol=1e-4)
    assert metrics["kl"] == pytest.approx(float(d.sum() / 6), rel=1e-4)  # a rollout, summed over its tokens
    assert metrics["entropy"] == pytest.approx(float(entropy[tokens.actions].mean()), rel=1e-4)
    assert metrics["advantage_std"] == pytest.approx(float(advantages[tokens.actions].std()), rel=1e-4)
    for name in ("old_logprobs", "reference_logprobs", "old_values", "advantages", "returns"):
        assert not getattr(experience, name)[~tokens.actions].any(), name
        assert not getattr(experience, name).requires_grad, name


def test_micro_batches_change_nothing_and_a_policy_is_no_distance_from_itself(
    fitted_policy: "PreTrainedModel", tiny_critic: "PreTrainedModel", tokens: TokenBatch, rewards: torch.Tensor
) -> None:
    whole, cut = (
        estimate_advantages(
            fitted_policy, fitted_policy, tiny_critic, tokens, rewards, AdvantageConfig(),
            kl_coefficient=10.0, group=2, temperature=1.0, micro_tokens=micro_tokens,
        )
        for micro_tokens in (10_000, 20)
    )  # fmt: skip
    assert whole[1]["kl"] == 0
    assert whole[1] == pytest.approx(cut[1], rel=1e-3, abs=1e-5)
    for name in ("old_logprobs", "reference_logprobs", "old_values", "advantages", "returns"):
        torch.testing.assert_close(getattr(whole[0], name), getattr(cut[0], name), rtol=1e-4, atol=1e-4)


def test_the_engines_logprobs_stand_for_the_learners_where_they_agree(
    fitted_policy: "PreTrainedModel", tiny_policy: "PreTrainedModel", tokens: TokenBatch, rewards: torch.Tensor
) -> None:
    def estimate(sampled: TokenBatch, old_logprobs: Literal["sampled", "recomputed"]) -> tuple[Experience, Metrics]:
        config = AdvantageConfig(estimator="group", old_logprobs=old_logprobs, kl_in="loss")
        return estimate_advantages(
            fitted_policy, tiny_policy, None, sampled, rewards, config,
            kl_coefficient=0.0, group=2, temperature=0.8, micro_tokens=20,
        )  # fmt: skip

    spared, recomputed = (estimate(tokens, how)[0] for how in ("sampled", "recomputed"))
    assert torch.equal(spared.old_logprobs, tokens.sampled_logprobs())
    torch.testing.assert_close(spared.old_logprobs, recomputed.old_logprobs, rtol=0, atol=1e-5)
    assert 0 < len(tokens.sample(20)) < len(tokens.rollouts)
    read = spared.reference_logprobs.any(1)
    assert read.nonzero()[:, 0].tolist() == tokens.sample(20), "with β = 0 the reference is read for the metric alone"

    def off(completion: Completion) -> Completion:
        return dataclasses.replace(completion, logprobs=completion.logprobs - 0.01)

    rollouts = [dataclasses.replace(r, completion=off(r.completion)) for r in tokens.rollouts]
    experience, metrics = estimate(pack(rollouts), "sampled")
    torch.testing.assert_close(experience.old_logprobs, recomputed.old_logprobs)
    assert metrics["logprob_gap"] == pytest.approx(0.01, abs=1e-4)


def test_models_are_asked_without_dropout(
    fitted_policy: "PreTrainedModel", tiny_critic: "PreTrainedModel", tokens: TokenBatch, rewards: torch.Tensor
) -> None:
    policy = copy.deepcopy(fitted_policy)
    for layer in policy.model.layers:
        layer.self_attn.attention_dropout = 0.9
    policy.train()
    experience, _ = estimate_advantages(
        policy, fitted_policy, tiny_critic, tokens, rewards, AdvantageConfig(),
        kl_coefficient=0.01, group=2, temperature=0.8, micro_tokens=10_000,
    )  # fmt: skip
    sampled = np.concatenate([r.completion.logprobs for r in tokens.rollouts])
    np.testing.assert_allclose(experience.old_logprobs[tokens.actions].numpy(), sampled, atol=1e-4)


def test_explained_variance_by_hand() -> None:
    returns, on = torch.tensor([[1.0, 2.0, 3.0, 99.0]]), torch.tensor([[True, True, True, False]])

    def of(*values: float) -> float:
        return explained_variance(torch.tensor([[*values, 0.0]]), returns, on)

    assert of(1, 2, 3) == pytest.approx(1)
    assert of(5, 5, 5) == pytest.approx(0)
    assert of(1.5, 2, 2.5) == pytest.approx(1 - 0.25)  # residuals −½, 0, ½: variance ¼ of 1
    assert of(3, 2, 1) == pytest.approx(1 - 4)
