"""The optimizer of every stage: AdamW with a linear warm-up and a linear or constant schedule, clipped gradients."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from lm import processes, sharding, zero
from lm.config import key

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class OptimConfig:
    """AdamW and its schedule."""

    lr: float = key(1e-3, "peak learning rate", low=0)
    warmup: int = key(20, "steps of linear warm-up", low=0)
    schedule: Literal["linear", "constant"] = key("linear", "after the warm-up: down to zero, or held")
    weight_decay: float = key(0.01, "AdamW's decoupled weight decay", low=0)
    beta2: float = key(0.98, "AdamW's second-moment decay; 0.98 rather than 0.999 suits short runs")
    max_grad_norm: float = key(1.0, "gradients are scaled down to this global norm", low=0)


def make_optimizer(model: "torch.nn.Module", config: OptimConfig) -> "Optimizer":
    """AdamW; on float32 copies of the weights where these are of lower precision."""
    import torch

    def adamw(weights: "Iterable[torch.Tensor]") -> torch.optim.AdamW:
        return torch.optim.AdamW(
            weights, lr=config.lr, betas=(0.9, config.beta2), weight_decay=config.weight_decay,
            foreach=False if processes.sharded() else None,  # some weights are in shards and some are not
        )  # fmt: skip

    weights = [weight for weight in model.parameters() if weight.requires_grad]
    if zero.asked():
        return zero.ZeroOptimizer(weights, adamw(weights), config.max_grad_norm)
    if all(weight.dtype == torch.float32 for weight in weights):
        return adamw(weights)
    return MasterWeights(weights, adamw)


class Optimizer(Protocol):
    """What ``optimizer_step`` and a checkpoint need of an optimizer."""

    param_groups: list[dict[str, Any]]

    def step(self) -> Any: ...

    def zero_grad(self, set_to_none: bool = True) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> None: ...


class MasterWeights:
    """An optimizer of float32 copies of half-precision weights (Micikevicius et al. 2018, section 3.1).

    Neighbouring bfloat16 numbers are 0.4 to 0.8 % apart, so that a usual step of 1e-6 added to a usual weight of 0.02
    would be rounded away, every time.
    """

    def __init__(
        self, weights: "Sequence[torch.Tensor]", make: "Callable[[list[torch.Tensor]], torch.optim.Optimizer]"
    ) -> None:
        self.weights = weights
        self.masters = [weight.detach().float().clone() for weight in weights]
        self.optimizer = make(self.masters)
        self.param_groups = self.optimizer.param_groups

    def step(self) -> None:
        for weight, master in zip(self.weights, self.masters, strict=True):
            master.grad = None if weight.grad is None else weight.grad.float()
        self.optimizer.step()
        for weight, master in zip(self.weights, self.masters, strict=True):
            weight.data.copy_(master)
            master.grad = None

    def zero_grad(self, set_to_none: bool = True) -> None:
        for weight in self.weights:
            weight.grad = None

    def state_dict(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer.state_dict(), "masters": self.masters}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        sharding.place_state(self.optimizer)
        self.param_groups = self.optimizer.param_groups
        for master, saved in zip(self.masters, state["masters"], strict=True):
            master.copy_(sharding.placed_as(saved, master))


def learning_rate(config: OptimConfig, step: int, total: int) -> float:
    """The rate of step 0..total-1: lr · min(1, (step+1)/warmup), times 1 − step/total where the schedule is linear."""
    warm = min(1.0, (step + 1) / max(1, config.warmup))
    return config.lr * warm * (1 - step / total if config.schedule == "linear" else 1.0)


def optimizer_step(model: "torch.nn.Module", optimizer: Optimizer, config: OptimConfig, rate: float) -> float:
    """Sum the gradients over the processes, clip, step and clear them; returns their norm before clipping.

    A norm that is NaN or Inf leaves the weights and the optimizer's moments as they were: one such step would spoil
    both for good.
    """
    for group in optimizer.param_groups:
        group["lr"] = rate
    if isinstance(optimizer, zero.ZeroOptimizer):
        return optimizer.clipped_step()
    sharding.sum_gradients(model)
    norm = sharding.clip_gradients(model, config.max_grad_norm)
    if math.isfinite(norm):
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm
