"""The KL estimators by exact enumeration over a softmax of seven tokens, in float64."""

import math

import pytest
import torch

from rl.kl import Estimator, KLController, kl_estimate

LOGITS = torch.tensor([0.3, -1.0, 2.0, 0.5, -0.2, 1.1, -2.5], dtype=torch.float64)
REFERENCE = torch.log_softmax(torch.tensor([1.0, -0.5, 0.7, 0.1, -1.2, 0.0, 0.4], dtype=torch.float64), -1)


def test_one_token_by_hand() -> None:
    new, reference = torch.tensor([[math.log(0.5)]]), torch.tensor([[math.log(0.25)]])
    assert kl_estimate(new, reference, "k1").item() == pytest.approx(math.log(2))
    assert kl_estimate(new, reference, "k2").item() == pytest.approx(math.log(2) ** 2 / 2)
    assert kl_estimate(new, reference, "k3").item() == pytest.approx(0.5 - 1 + math.log(2))


def expectation(estimator: Estimator) -> float:
    logprobs = torch.log_softmax(LOGITS, -1)
    return float((logprobs.exp() * kl_estimate(logprobs, REFERENCE, estimator)).sum())


def test_k1_and_k3_are_unbiased_and_k2_is_not() -> None:
    logprobs = torch.log_softmax(LOGITS, -1)
    exact = sum(math.exp(p) * (p - q) for p, q in zip(logprobs.tolist(), REFERENCE.tolist(), strict=True))
    assert exact > 0.1
    assert expectation("k1") == pytest.approx(exact, rel=1e-12)
    assert expectation("k3") == pytest.approx(exact, rel=1e-12)
    assert expectation("k2") != pytest.approx(exact, rel=1e-2)


def test_signs_and_variances() -> None:
    logprobs = torch.log_softmax(LOGITS, -1)
    k1, k2, k3 = (kl_estimate(logprobs, REFERENCE, name) for name in ("k1", "k2", "k3"))
    assert (k1 < 0).any()
    assert (k2 >= 0).all()
    assert (k3 >= 0).all()
    assert kl_estimate(logprobs, logprobs, "k3").abs().max() == 0


def test_near_the_reference_k2_and_k3_vary_far_less_than_k1() -> None:
    logprobs = torch.log_softmax(LOGITS, -1)
    near = torch.log_softmax(LOGITS + 0.05 * REFERENCE, -1)
    p = logprobs.exp()

    def variance(estimator: Estimator) -> float:
        k = kl_estimate(logprobs, near, estimator)
        return float((p * (k - (p * k).sum()) ** 2).sum())

    assert max(variance("k2"), variance("k3")) < 0.01 * variance("k1")


def gradient(estimator: Estimator) -> torch.Tensor:
    """E over a ~ π of ∇ k(a), the tokens being given, as in a loss over samples."""
    logits = LOGITS.clone().requires_grad_()
    logprobs = torch.log_softmax(logits, -1)
    (logprobs.exp().detach() * kl_estimate(logprobs, REFERENCE, estimator)).sum().backward()
    assert logits.grad is not None
    return logits.grad


def test_gradients_of_the_expectation() -> None:
    """Taken as losses, k2 follows KL(π‖π_ref), k3 follows KL(π_ref‖π), and k1 nothing at all."""
    forward, reverse = LOGITS.clone().requires_grad_(), LOGITS.clone().requires_grad_()
    p, q = torch.log_softmax(forward, -1), torch.log_softmax(reverse, -1)
    (p.exp() * (p - REFERENCE)).sum().backward()
    (REFERENCE.exp() * (REFERENCE - q)).sum().backward()
    torch.testing.assert_close(gradient("k2"), forward.grad)
    torch.testing.assert_close(gradient("k3"), reverse.grad)
    torch.testing.assert_close(gradient("k1"), torch.zeros_like(LOGITS))


def test_clamped_estimates_and_their_gradients_stay_finite() -> None:
    d = torch.tensor([-1000.0, -0.5, 0.5, 1000.0], requires_grad=True)
    for estimator, expected in (
        ("k1", [-10, -0.5, 0.5, 10]),
        ("k2", [10, 0.125, 0.125, 10]),
        ("k3", [10, math.exp(0.5) - 1.5, math.exp(-0.5) - 0.5, 10]),
    ):
        k = kl_estimate(d, torch.zeros(4), estimator, clamp=10)  # type: ignore[arg-type]
        assert k.tolist() == pytest.approx(expected, abs=1e-6)
        d.grad = None
        k.sum().backward()
        assert d.grad is not None
        assert d.grad[[0, 3]].tolist() == [0, 0]
        assert d.grad.isfinite().all()


def test_controller_by_hand() -> None:
    fixed = KLController(0.1, None, 100)
    fixed.update(9.0, 50)
    assert fixed.coefficient == 0.1
    steered = KLController(0.1, 2.0, 100)
    steered.update(2.2, 50)  # 10 % above: × (1 + 0.1 · 50/100)
    assert steered.coefficient == pytest.approx(0.105)
    steered.update(100.0, 50)  # far above counts as 20 %
    assert steered.coefficient == pytest.approx(0.105 * 1.1)
    again = KLController(0.1, 2.0, 100)
    again.load_state_dict(steered.state_dict())
    steered.update(0.0, 10)
    again.update(0.0, 10)
    assert again.coefficient == steered.coefficient == pytest.approx(0.105 * 1.1 * 0.98)
