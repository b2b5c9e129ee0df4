"""Our formulas beside the numbers that TRL's, OpenRLHF's and verl's own functions gave on the same tensors."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rl.advantages import gae, group_advantages, leave_one_out_advantages, returns_to_go, whiten
from rl.importance import importance_weights
from rl.kl import Estimator, kl_estimate
from rl.losses import Normaliser, policy_loss, token_weights, value_loss

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "reference" / "rl_golden.json"


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    if not GOLDEN.is_file():
        pytest.skip("the peers' reference values are not beside this checkout")
    loaded: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return loaded


@pytest.fixture
def given(golden: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in golden["inputs"].items()}


@pytest.fixture
def expected(golden: dict[str, Any]) -> dict[str, Any]:
    outputs: dict[str, Any] = golden["expected"]
    return outputs


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_kl_is_verls_and_openrlhfs(
    given: dict[str, torch.Tensor], expected: dict[str, Any], estimator: Estimator
) -> None:
    ours = kl_estimate(given["old_logp"], given["ref_logp"], estimator)
    verl, openrlhf = (torch.tensor(expected[f"kl_{estimator}"][peer]) for peer in ("verl", "openrlhf"))
    torch.testing.assert_close(ours, verl.double(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(ours, openrlhf.double(), rtol=1e-5, atol=1e-6)
    clamped = kl_estimate(given["old_logp"], given["ref_logp"], estimator, clamp=10)  # the peers clamp at 10
    torch.testing.assert_close(clamped, verl.double(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("credit", ["outcome", "process"])
@pytest.mark.parametrize(("beta", "gamma", "lam"), [(0.05, 1.0, 0.95), (0.1, 0.99, 0.9)])
def test_rewards_advantages_and_whitening(
    given: dict[str, torch.Tensor], expected: dict[str, Any], credit: str, beta: float, gamma: float, lam: float
) -> None:
    peer = expected[f"gae_{credit}_beta{beta}_gamma{gamma}_lam{lam}"]
    actions = given["mask"].bool()
    paid = -beta * kl_estimate(given["old_logp"], given["ref_logp"], "k1") * actions
    if credit == "process":
        paid += given["step_rewards"]
    else:
        for row, length in enumerate(given["lengths"].long().tolist()):
            paid[row, length - 1] += given["score"][row]
    torch.testing.assert_close(paid, torch.tensor(peer["rewards"], dtype=torch.float64))
    advantages = gae(paid, given["values"], actions, gamma=gamma, lam=lam)
    torch.testing.assert_close(advantages, torch.tensor(peer["advantages"], dtype=torch.float64))
    returns = (advantages + given["values"]) * actions
    torch.testing.assert_close(returns, torch.tensor(peer["returns"], dtype=torch.float64))
    whitened = torch.tensor(peer["whitened_verl_trl_unbiased"], dtype=torch.float64)
    torch.testing.assert_close(whiten(advantages, actions), whitened, rtol=1e-6, atol=1e-7)
    biased = torch.tensor(peer["whitened_openrlhf_biased"], dtype=torch.float64)
    torch.testing.assert_close(whiten(advantages, actions, unbiased=False), biased, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("beta", "gamma", "lam"), [(0.05, 1.0, 0.95), (0.1, 0.99, 0.9)])
def test_trls_own_layout_is_ours_with_one_more_action(
    given: dict[str, torch.Tensor], expected: dict[str, Any], beta: float, gamma: float, lam: float
) -> None:
    """TRL's PPO pays the score one token past the end, where the critic's value takes part as one of an action."""
    peer = {
        name: torch.tensor(value, dtype=torch.float64)
        for name, value in expected[f"gae_trl_ppo_layout_beta{beta}_gamma{gamma}_lam{lam}"].items()
    }
    actions = given["mask"].bool()
    with_one_more = torch.arange(actions.shape[1]) <= given["lengths"][:, None]
    advantages = gae(peer["rewards"], given["values"], with_one_more, gamma=gamma, lam=lam)
    torch.testing.assert_close(advantages * with_one_more, peer["raw_advantages"] * with_one_more)
    torch.testing.assert_close(whiten(advantages, actions), peer["whitened"], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("low", "high", "name"), [(0.2, 0.2, "clip0.2_token_mean"), (0.2, 0.28, "clip_low0.2_high0.28")]
)
def test_policy_loss(
    given: dict[str, torch.Tensor], expected: dict[str, Any], low: float, high: float, name: str
) -> None:
    actions = given["mask"].bool()
    loss, metrics = policy_loss(
        given["new_logp"], given["old_logp"], given["advantages"], actions,
        clip_low=low, clip_high=high, normaliser=float(actions.sum()),
    )  # fmt: skip
    peer = expected[f"policy_loss_{name}"]
    if isinstance(peer, dict):
        assert loss.item() == pytest.approx(peer["trl_ppo"], rel=1e-9)
        assert loss.item() == pytest.approx(peer["openrlhf"], rel=1e-9)
        assert metrics["clip_fraction"] == pytest.approx(peer["clipfrac"])
    else:
        assert loss.item() == pytest.approx(peer, rel=1e-9)


@pytest.mark.parametrize(
    ("normaliser", "peer"),
    [
        ("tokens", "token-mean"),
        ("sequence_sums", "seq-mean-token-sum"),
        ("sequences", "seq-mean-token-mean"),
        ("constant", "seq-mean-token-sum-norm"),
    ],
)
def test_policy_loss_under_each_normaliser(
    given: dict[str, torch.Tensor], expected: dict[str, Any], normaliser: Normaliser, peer: str
) -> None:
    """verl's "sum-norm" divides the sums over sequences by the batch's width and does not take their mean."""
    actions = given["mask"].bool()
    tokens, (rows, width) = float(actions.sum()), actions.shape
    weights = token_weights(actions, normaliser, tokens=tokens, sequences=rows, longest=width)
    loss, _ = policy_loss(
        given["new_logp"], given["old_logp"], given["advantages"], actions,
        clip_low=0.2, clip_high=0.2, normaliser=tokens, weights=weights,
    )  # fmt: skip
    ours = loss.item() * (rows if normaliser == "constant" else 1)
    assert ours == pytest.approx(expected[f"policy_loss_clip0.2_verl_{peer}"], abs=1e-6)


def test_dual_clip(given: dict[str, torch.Tensor], expected: dict[str, Any]) -> None:
    actions = given["mask"].bool()
    loss, _ = policy_loss(
        given["new_logp"], given["old_logp"], given["advantages"], actions,
        clip_low=0.2, clip_high=0.2, normaliser=float(actions.sum()), dual_clip=3.0,
    )  # fmt: skip
    assert loss.item() == pytest.approx(expected["policy_loss_clip0.2_dual3"], rel=1e-9)


@pytest.mark.parametrize(
    ("peer", "epsilon"), [("trl_std_group", 1e-4), ("verl", 1e-6), ("openrlhf_group_norm", 1e-9), ("dr_grpo", 0.0)]
)
def test_group_advantages(expected: dict[str, Any], peer: str, epsilon: float) -> None:
    """Whatever the lengths: all reward on the last token of 1, 2 or 3."""
    case = expected["grpo_advantage"]
    totals = torch.tensor(case["rewards"], dtype=torch.float64)
    actions = torch.arange(3) <= torch.arange(len(totals))[:, None] % 3
    rewards = torch.zeros(len(totals), 3, dtype=torch.float64)
    rewards[torch.arange(len(totals)), actions.sum(1) - 1] = totals
    returns = returns_to_go(rewards, actions, gamma=1.0)
    scale = "none" if peer == "dr_grpo" else "std"
    ours = group_advantages(returns, actions, case["group"], scale=scale, epsilon=epsilon)  # type: ignore[arg-type]
    wanted = torch.tensor(case[peer], dtype=torch.float64)[:, None] * actions
    torch.testing.assert_close(ours, wanted, rtol=1e-6, atol=1e-6)
    rloo = leave_one_out_advantages(returns, actions, case["group"])
    torch.testing.assert_close(rloo, torch.tensor(case["rloo"], dtype=torch.float64)[:, None] * actions)


def test_truncated_importance_weights(given: dict[str, torch.Tensor], expected: dict[str, Any]) -> None:
    case, actions = expected["rollout_is"], given["mask"].bool()
    sampled = torch.tensor(case["rollout_logp"], dtype=torch.float64)
    ours = importance_weights(given["old_logp"], sampled, actions, level="token", cap=2.0)
    torch.testing.assert_close(ours, torch.tensor(case["token_tis_max2_verl"], dtype=torch.float64))
    sequence = importance_weights(given["old_logp"], sampled, actions, level="sequence", cap=3.0)[:, :1]
    trl = torch.tensor(case["trl_sequence_mask_clip3"], dtype=torch.float64)  # which drops what is above the cap
    torch.testing.assert_close(torch.where(sequence >= 3.0, 0.0, sequence), trl)


def test_weighted_advantages_are_a_weighted_loss(given: dict[str, torch.Tensor], expected: dict[str, Any]) -> None:
    """OpenRLHF multiplies each token's loss by w in [0.5, 5]; we the advantage, and only the cap is ours."""
    case, actions = expected["rollout_is"], given["mask"].bool()
    sampled = torch.tensor(case["rollout_logp"], dtype=torch.float64)
    weights = importance_weights(given["old_logp"], sampled, actions, level="token", cap=5.0).clamp(min=0.5)
    loss, _ = policy_loss(
        given["new_logp"], given["old_logp"], given["advantages"] * weights, actions,
        clip_low=0.2, clip_high=0.2, normaliser=float(actions.sum()),
    )  # fmt: skip
    assert loss.item() == pytest.approx(case["policy_loss_openrlhf_tis_0.5_5"], abs=1e-6)


def test_value_loss(given: dict[str, torch.Tensor], expected: dict[str, Any]) -> None:
    actions = given["mask"].bool()
    loss, _ = value_loss(
        given["new_values"], given["values"], given["returns"], actions, clip=0.2, normaliser=float(actions.sum())
    )
    for peer in ("verl", "openrlhf", "trl_ppo_same_mask"):
        assert loss.item() == pytest.approx(expected["value_loss_clip0.2"][peer], rel=1e-9)
