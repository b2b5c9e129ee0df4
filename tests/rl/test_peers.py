"""Our formulas beside the numbers that TRL's, OpenRLHF's and verl's own functions gave on the same tensors."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rl.advantages import gae, whiten
from rl.kl import Estimator, kl_estimate
from rl.losses import policy_loss, value_loss

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


def test_value_loss(given: dict[str, torch.Tensor], expected: dict[str, Any]) -> None:
    actions = given["mask"].bool()
    loss, _ = value_loss(
        given["new_values"], given["values"], given["returns"], actions, clip=0.2, normaliser=float(actions.sum())
    )
    for peer in ("verl", "openrlhf", "trl_ppo_same_mask"):
        assert loss.item() == pytest.approx(expected["value_loss_clip0.2"][peer], rel=1e-9)
