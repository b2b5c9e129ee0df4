"""The losses on numbers worked by hand, their gradients in closed form, and cutting into micro-batches."""

import math

import pytest
import torch

from rl.losses import policy_loss, value_loss

ON = torch.tensor([[True, True, True, True, True, False]])
# ratios 1.5, 1.5, 0.5, 0.5, 1.1 with ε = 0.2: only where clipping lowers the surrogate does it bind
RATIOS = [1.5, 1.5, 0.5, 0.5, 1.1]
ADVANTAGES = torch.tensor([[2.0, -2.0, 2.0, -2.0, 1.0, 7.0]], dtype=torch.float64)
SURROGATES = [1.2 * 2, 1.5 * -2, 0.5 * 2, 0.8 * -2, 1.1]
OLD = torch.tensor([[-1.0, -2.0, -0.5, -3.0, -1.5, -math.inf]], dtype=torch.float64)
NEW = OLD + torch.tensor([[*map(math.log, RATIOS), 0.0]], dtype=torch.float64)


def test_policy_loss_by_hand() -> None:
    loss, metrics = policy_loss(NEW, OLD, ADVANTAGES, ON, clip_low=0.2, clip_high=0.2, normaliser=5)
    assert loss.item() == pytest.approx(-sum(SURROGATES) / 5)
    assert metrics["clip_fraction"] == pytest.approx(2 / 5)
    assert metrics["approximate_kl"] == pytest.approx(sum(r - 1 - math.log(r) for r in RATIOS) / 5)


def test_each_side_has_its_own_clip() -> None:
    def loss(low: float, high: float) -> float:
        return policy_loss(NEW, OLD, ADVANTAGES, ON, clip_low=low, clip_high=high, normaliser=1)[0].item()

    assert loss(0.2, 0.4) == pytest.approx(-(1.4 * 2 - 3 + 1 - 1.6 + 1.1))
    assert loss(0.4, 0.2) == pytest.approx(-(2.4 - 3 + 1 - 0.6 * 2 + 1.1))


def test_policy_gradient_in_closed_form() -> None:
    """∂L/∂log π = −ρ A / N where the clip does not bind, else 0; 0 at what is no action, whatever stands there."""
    new = NEW.clone().requires_grad_()
    policy_loss(new, OLD, ADVANTAGES, ON, clip_low=0.2, clip_high=0.2, normaliser=5)[0].backward()
    expected = [0.0, -1.5 * -2 / 5, -0.5 * 2 / 5, 0.0, -1.1 / 5, 0.0]
    assert new.grad is not None
    assert new.grad[0].tolist() == pytest.approx(expected)


def test_on_policy_the_gradient_is_reinforce() -> None:
    new = OLD[:, :5].clone().requires_grad_()
    policy_loss(new, OLD[:, :5], ADVANTAGES[:, :5], ON[:, :5], clip_low=0.2, clip_high=0.2, normaliser=5)[0].backward()
    torch.testing.assert_close(new.grad, -ADVANTAGES[:, :5] / 5)


def test_value_loss_by_hand() -> None:
    """V_old 0, clip ½. V = 2, R = 2: ½ is further away; V = −1, R = 1: V is; V = ¼: both the same."""
    values = torch.tensor([[2.0, -1.0, 0.25, JUNK := 50.0]])
    returns = torch.tensor([[2.0, 1.0, 1.25, -JUNK]])
    on, old = torch.tensor([[True, True, True, False]]), torch.zeros(1, 4)
    plain, metrics = value_loss(values, old, returns, on, clip=None, normaliser=3)
    assert plain.item() == pytest.approx(0.5 * (0 + 4 + 1) / 3)
    assert metrics == {}
    clipped, metrics = value_loss(values, old, returns, on, clip=0.5, normaliser=3)
    assert clipped.item() == pytest.approx(0.5 * (1.5**2 + 4 + 1) / 3)
    assert metrics == {"value_clip_fraction": pytest.approx(1 / 3)}


def test_value_gradient_in_closed_form() -> None:
    values = torch.tensor([[2.0, -1.0, 0.25, 9.0]], requires_grad=True)
    returns, on = torch.tensor([[2.0, 1.0, 1.25, 0.0]]), torch.tensor([[True, True, True, False]])
    value_loss(values, torch.zeros(1, 4), returns, on, clip=0.5, normaliser=3)[0].backward()
    assert values.grad is not None
    assert values.grad[0].tolist() == pytest.approx([0.0, -2 / 3, -1 / 3, 0.0])  # (V − R)/N unless clipped


def test_micro_batches_add_up_to_the_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    new, old, advantages, values, returns = (
        torch.randn(6, 5, generator=generator, dtype=torch.float64) for _ in range(5)
    )
    actions = torch.rand(6, 5, generator=generator) < 0.6
    n = float(actions.sum())

    def losses(rows: slice, logprobs: torch.Tensor, predicted: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
        part = (old[rows], advantages[rows], actions[rows])
        policy, metrics = policy_loss(logprobs[rows], *part, clip_low=0.2, clip_high=0.3, normaliser=n)
        error, more = value_loss(
            predicted[rows], values[rows], returns[rows], actions[rows], clip=0.3, normaliser=n
        )  # fmt: skip
        return policy + error, metrics | more

    grads, totals = [], []
    for cuts in ([slice(0, 6)], [slice(0, 1), slice(1, 4), slice(4, 6)]):
        inputs = [new.clone().requires_grad_(), new.flip(0).clone().requires_grad_()]
        parts = [losses(rows, *inputs) for rows in cuts]
        torch.stack([loss for loss, _ in parts]).sum().backward()
        grads.append([x.grad for x in inputs])
        totals.append([sum(m[name] for _, m in parts) for name in parts[0][1]] + [sum(x.item() for x, _ in parts)])
    assert totals[0] == pytest.approx(totals[1], rel=1e-6)
    torch.testing.assert_close(grads[0], grads[1])
