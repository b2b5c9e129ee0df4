"""The losses on numbers worked by hand, their gradients in closed form, and cutting into micro-batches."""

import math

import pytest
import torch

from rl.losses import (
    EXTREMES,
    bradley_terry_loss,
    dpo_loss,
    ipo_loss,
    kl_loss,
    kto_loss,
    nll_loss,
    policy_loss,
    token_weights,
    value_loss,
)

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
    assert (metrics["ratio_min"], metrics["ratio_max"]) == pytest.approx((0.5, 1.5))


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
        totals.append(
            [EXTREMES.get(name, sum)([m[name] for _, m in parts]) for name in parts[0][1]]
            + [sum(x.item() for x, _ in parts)]
        )
    assert totals[0] == pytest.approx(totals[1], rel=1e-6)
    torch.testing.assert_close(grads[0], grads[1])


def test_what_a_token_counts_for() -> None:
    """Rows of 1 and 3 actions, N = 4, B = 2, L = 8: token mean, mean of means, and sums over a constant and over B."""
    actions = torch.tensor([[True, False, False], [True, True, True]])
    loss = torch.tensor([[6.0, 50.0, 50.0], [3.0, 3.0, 0.0]])

    def total(normaliser: str) -> float:
        weights = token_weights(actions, normaliser, tokens=4, sequences=2, longest=8)  # type: ignore[arg-type]
        return float((weights * loss).sum() / 4)

    assert total("tokens") == pytest.approx((6 + 3 + 3 + 0) / 4)
    assert total("sequences") == pytest.approx((6 + 2) / 2)
    assert total("constant") == pytest.approx(12 / (2 * 8))
    assert total("sequence_sums") == pytest.approx(12 / 2)


def test_weights_scale_the_loss_and_not_the_metrics() -> None:
    plain = policy_loss(NEW, OLD, ADVANTAGES, ON, clip_low=0.2, clip_high=0.2, normaliser=5)
    half = policy_loss(NEW, OLD, ADVANTAGES, ON, clip_low=0.2, clip_high=0.2, normaliser=5, weights=0.5 * ON)
    assert half[0].item() == pytest.approx(0.5 * plain[0].item())
    assert half[1] == plain[1]


def test_dual_clip_by_hand() -> None:
    """Only the second token's surrogate, 1.5 · −2 = −3, is below 1.2 · −2 = −2.4."""
    loss, _ = policy_loss(NEW, OLD, ADVANTAGES, ON, clip_low=0.2, clip_high=0.2, normaliser=1, dual_clip=1.2)
    assert loss.item() == pytest.approx(-(2.4 - 2.4 + 1 - 1.6 + 1.1))


def test_a_sequence_shares_the_geometric_mean_of_its_ratios() -> None:
    """GSPO: s = (2 · ½ · 2)^⅓ = 2^⅓ for all three tokens; each gets a third of the sequence's gradient s A."""
    old = torch.zeros(1, 4, dtype=torch.float64)
    new = torch.tensor([[math.log(2), math.log(0.5), math.log(2), 9.0]], dtype=torch.float64, requires_grad=True)
    on, advantages = torch.tensor([[True, True, True, False]]), torch.full((1, 4), 3.0, dtype=torch.float64)
    wide = {"clip_low": 0.9, "clip_high": 9.0, "normaliser": 3.0, "ratio": "sequence"}
    loss, metrics = policy_loss(new, old, advantages, on, **wide)  # type: ignore[arg-type]
    assert loss.item() == pytest.approx(-3 * 2 ** (1 / 3))
    assert metrics["clip_fraction"] == 0
    loss.backward()
    assert new.grad is not None
    assert new.grad[0].tolist() == pytest.approx([-(2 ** (1 / 3))] * 3 + [0])
    narrow = policy_loss(new.detach(), old, advantages, on, **wide | {"clip_high": 0.1})[0]  # type: ignore[arg-type]
    assert narrow.item() == pytest.approx(-3 * 1.1)


def test_kl_loss_by_hand() -> None:
    """d = log 2 and −log 2: k3 = ½ − 1 + log 2 and 2 − 1 − log 2; what is no action may hold anything."""
    new, reference = torch.tensor([[math.log(0.5), -1.0, math.nan]]), torch.tensor([[math.log(0.25), 0.0, 0.0]])
    reference[0, 1] = -1 + math.log(2)
    on = torch.tensor([[True, True, False]])
    loss = kl_loss(new, reference, on, estimator="k3", clamp=None, normaliser=2)
    assert loss.item() == pytest.approx(((0.5 - 1 + math.log(2)) + (2 - 1 - math.log(2))) / 2)


def test_preferences_by_hand() -> None:
    """σ(log 3) = ¾, σ(−log 3) = ¼, σ(0) = ½."""
    chosen, rejected = torch.tensor([1.0, 0.0, 2.0]), torch.tensor([0.0, 1.0, 2.0])
    pairs = -(math.log(0.75) + math.log(0.25) + math.log(0.5)) / 3
    for loss, metrics in (
        bradley_terry_loss(math.log(3) * chosen, math.log(3) * rejected),
        dpo_loss(chosen, rejected, beta=math.log(3)),
    ):
        assert loss.item() == pytest.approx(pairs)
        assert metrics == {"accuracy": pytest.approx(0.5), "margin": pytest.approx(0)}
    smoothed, _ = dpo_loss(chosen[:1], rejected[:1], beta=math.log(3), label_smoothing=0.1)
    assert smoothed.item() == pytest.approx(-(0.9 * math.log(0.75) + 0.1 * math.log(0.25)))
    ipo, _ = ipo_loss(chosen, rejected, beta=0.25)  # the target is 1/(2β) = 2
    assert ipo.item() == pytest.approx(((1 - 2) ** 2 + (-1 - 2) ** 2 + (0 - 2) ** 2) / 3)


def test_nll_by_hand() -> None:
    """Each response counts alike, whatever its length: (6 / 2 + 6 / 6) / 2, not 12 / 8."""
    logprobs = torch.tensor([-6.0, -6.0], requires_grad=True)
    loss, metrics = nll_loss(logprobs, torch.tensor([2, 6]))
    assert loss.item() == pytest.approx(2)
    assert metrics == {"chosen_nll": pytest.approx(2)}
    loss.backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == pytest.approx([-1 / 4, -1 / 12])


def test_kto_by_hand() -> None:
    """Log-ratios 2 and 2 about z_0 = 1: σ(log 3) = ¾ where desirable, σ(−log 3) = ¼ where not."""
    loss, metrics = kto_loss(
        torch.tensor([2.0, 2.0]), torch.tensor([True, False]), torch.tensor(1.0),
        beta=math.log(3), desirable_weight=2.0, undesirable_weight=4.0,
    )  # fmt: skip
    assert loss.item() == pytest.approx((2 * 0.25 + 4 * 0.75) / 2)
    assert metrics == {"value": pytest.approx(0.5), "kl": 1.0}
