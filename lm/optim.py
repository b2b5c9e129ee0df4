"""The optimizer of every stage: AdamW with a linear warm-up and a linear or constant schedule, clipped gradients."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

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


def make_optimizer(model: "torch.nn.Module", config: OptimConfig) -> "torch.optim.Optimizer":
    import torch

    return torch.optim.AdamW(
        model.parameters(), lr=config.lr, betas=(0.9, config.beta2), weight_decay=config.weight_decay
    )


def learning_rate(config: OptimConfig, step: int, total: int) -> float:
    """The rate of step 0..total-1: lr·(step+1)/warmup up to the peak, then lr·(1 − step/total) or lr."""
    warm = min(1.0, (step + 1) / max(1, config.warmup))
    return config.lr * warm * (1 - step / total if config.schedule == "linear" else 1.0)


def optimizer_step(
    model: "torch.nn.Module", optimizer: "torch.optim.Optimizer", config: OptimConfig, rate: float
) -> float:
    """Clip, step and clear the gradients; returns their norm before clipping."""
    import torch

    for group in optimizer.param_groups:
        group["lr"] = rate
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(norm)
