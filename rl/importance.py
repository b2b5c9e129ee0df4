"""The correction where the engine that sampled and the learner do not give a token quite the same probability."""

import math
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Level = Literal["token", "sequence"]


def importance_weights(
    logprobs: "torch.Tensor", sampled_logprobs: "torch.Tensor", actions: "torch.Tensor", *, level: Level, cap: float
) -> "torch.Tensor":
    """w = min(π(a) / π_engine(a), cap) at actions, 0 elsewhere; for a whole sequence the ratio is the product over its
    tokens. All (B, T), without a gradient.

    Truncated importance sampling (Espeholt et al. 2018, section 4.1; for engines that differ from their learner, Yao et
    al. 2025). A loss that is linear in the advantages may take w·A for A: PPO's is, for w > 0 passes through its min.
    """
    log_ratio = (logprobs - sampled_logprobs).detach().where(actions, logprobs.new_zeros(()))
    if level == "sequence":
        log_ratio = log_ratio.sum(1, keepdim=True).expand_as(log_ratio)
    return log_ratio.clamp(max=math.log(cap)).exp() * actions
