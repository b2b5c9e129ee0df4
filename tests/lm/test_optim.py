"""The schedule, and AdamW's first steps worked by hand."""

import math
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from lm.errors import UserError
from lm.optim import OptimConfig, learning_rate, make_optimizer, optimizer_step
from lm.run import Run, read_metrics


@pytest.mark.parametrize(
    ("schedule", "warmup", "rates"),
    [
        ("constant", 4, [0.25, 0.5, 0.75, 1.0, 1.0]),
        ("linear", 0, [1.0, 0.8, 0.6, 0.4, 0.2]),
        ("linear", 2, [0.5, 0.8, 0.6, 0.4, 0.2]),
        ("constant", 0, [1.0] * 5),
    ],
)
def test_rates_by_hand(schedule: str, warmup: int, rates: list[float]) -> None:
    config = OptimConfig(lr=2.0, warmup=warmup, schedule=schedule)  # type: ignore[arg-type]
    assert [learning_rate(config, step, 5) for step in range(5)] == pytest.approx([2 * r for r in rates])


def layer(weights: list[float], gradient: list[float]) -> torch.nn.Linear:
    model = torch.nn.Linear(len(weights), 1, bias=False)
    model.weight.data = torch.tensor([weights])
    model.weight.grad = torch.tensor([gradient])
    return model


def test_the_first_step_moves_each_weight_by_the_rate() -> None:
    """Bias correction makes AdamW's first step lr·sign(g); decay comes first, w(1 − lr·decay) (Loshchilov 2019)."""
    config = OptimConfig(weight_decay=0.1, max_grad_norm=100.0)
    model = layer([1.0, -2.0], [0.3, -0.4])
    norm = optimizer_step(model, make_optimizer(model, config), config, rate=0.01)
    assert norm == pytest.approx(0.5)
    assert model.weight[0].tolist() == pytest.approx([1 * 0.999 - 0.01, -2 * 0.999 + 0.01], abs=1e-6)
    assert model.weight.grad is None


def test_gradients_are_clipped_to_the_norm() -> None:
    """After g1 = (3, 4) clipped to norm 1 and g2 = (0, 0.5) as it is, the moments are those of (0.6, 0.8), (0, 0.5)."""
    config = OptimConfig(weight_decay=0.0, max_grad_norm=1.0, beta2=0.98)
    model = layer([0.0, 0.0], [3.0, 4.0])
    optimizer = make_optimizer(model, config)
    assert optimizer_step(model, optimizer, config, rate=0.0) == pytest.approx(5.0)
    model.weight.grad = torch.tensor([[0.0, 0.5]])
    assert optimizer_step(model, optimizer, config, rate=0.1) == pytest.approx(0.5)
    expected = []
    for first, second in ((0.6, 0.0), (0.8, 0.5)):
        mean = (0.9 * 0.1 * first + 0.1 * second) / (1 - 0.9**2)
        square = (0.98 * 0.02 * first**2 + 0.02 * second**2) / (1 - 0.98**2)
        expected.append(-0.1 * mean / (math.sqrt(square) + 1e-8))
    assert model.weight[0].tolist() == pytest.approx(expected, rel=1e-4)


def test_the_config_reaches_the_optimizer() -> None:
    config = OptimConfig(lr=0.3, weight_decay=0.2, beta2=0.9)
    (group,) = make_optimizer(torch.nn.Linear(1, 1), config).param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.3, (0.9, 0.9), 0.2)


def test_a_gradient_that_is_not_finite_changes_nothing() -> None:
    import torch

    model = torch.nn.Linear(2, 1, bias=False)
    optimizer = make_optimizer(model, config := OptimConfig(weight_decay=0.1))
    before = model.weight.detach().clone()
    for bad in (float("nan"), float("inf")):
        model.weight.grad = torch.tensor([[bad, 1.0]])
        assert not math.isfinite(optimizer_step(model, optimizer, config, rate=0.1))
        assert torch.equal(model.weight, before)
        assert model.weight.grad is None
        assert not optimizer.state_dict()["state"]  # its moments are as they were, too


@dataclass(frozen=True)
class Kept:
    folder: Path
    resume: bool = False
    overwrite: bool = False


def test_a_run_whose_every_update_is_left_out_ends(tmp_path: Path) -> None:
    run = Run.open(Kept(tmp_path), verb="toy")
    for step in range(20):  # four of five are spoilt, and the loss on other data always
        run.log(step, loss=float("nan") if step % 5 else 1.0, val_loss=float("inf"))
    for step in range(20, 25):
        run.log(step, loss=1.0, grad_norm=float("inf") if step > 20 else 1.0)
    with pytest.raises(UserError, match="5 steps in a row, to step 25, had NaN or Inf in grad_norm and were left out"):
        run.log(25, loss=1.0, grad_norm=float("inf"))
    assert len(read_metrics(tmp_path)) == 26
