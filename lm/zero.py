"""DeepSpeed's ZeRO-1 where accelerate's config asks for it: each process keeps a part of the optimizer's state.

The models stay whole and their passes are ours, so that every loss is what it is without; DeepSpeed sums the gradients,
clips them, and steps (Rajbhandari et al. 2020, section 5.1, P_os).
"""

import importlib.util
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lm import processes
from lm.errors import UserError

if TYPE_CHECKING:
    import torch

_MOMENTS = ("exp_avg", "exp_avg_sq")


def asked() -> bool:
    """Whether the launcher's config asks for DeepSpeed, and there is a process to share with."""
    return processes.count() > 1 and os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true"


def check() -> None:
    """Refuse what of DeepSpeed is not used here, before anything is loaded. Raises UserError."""
    if not asked():
        return
    if importlib.util.find_spec("deepspeed") is None:
        raise UserError("accelerate's config asks for DeepSpeed, which is not installed: pip install 'rung[deepspeed]'")
    devices = [os.environ.get(f"ACCELERATE_DEEPSPEED_OFFLOAD_{what}_DEVICE", "none") for what in ("OPTIMIZER", "PARAM")]
    plain = "ACCELERATE_DEEPSPEED_CONFIG_FILE" not in os.environ and set(devices) == {"none"}
    if os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE") != "1" or not plain:
        raise UserError(
            "of DeepSpeed there is zero_stage: 1, without offload or a file of its own: for more take FSDP2 "
            "(docs/distributed.md)"
        )


class ZeroOptimizer:
    """An optimizer of ``weights`` whose moments, and float32 copies of bfloat16 weights, lie in parts, one a process.

    Its state dict is that of the optimizer without DeepSpeed, so that a checkpoint fits any number of processes. All
    processes must make every call.
    """

    def __init__(self, weights: "Sequence[torch.Tensor]", adamw: "torch.optim.AdamW", max_grad_norm: float) -> None:
        import deepspeed
        import torch

        dtypes = {weight.dtype for weight in weights}
        if len(dtypes) > 1:
            raise UserError(f"DeepSpeed wants weights of one dtype, here are {len(dtypes)}: train without it")
        self.weights, self.half = weights, dtypes == {torch.bfloat16}
        deepspeed.utils.logger.setLevel("WARNING")
        # Not the model: DeepSpeed would put hooks on its passes.
        self.engine, self.zero, *_ = deepspeed.initialize(
            model=torch.nn.ParameterList(weights),
            optimizer=adamw,
            config={
                "train_micro_batch_size_per_gpu": 1,  # it wants one, and counts with it
                "zero_optimization": {"stage": 1, "overlap_comm": False, "contiguous_gradients": False},
                "zero_allow_untested_optimizer": True,
                "gradient_clipping": max_grad_norm,
                "bf16": {"enabled": self.half, "check_grad_overflow": True},
            },
        )
        self.engine.set_gradient_accumulation_boundary(True)
        self.param_groups: list[dict[str, Any]] = self.zero.param_groups

    def clipped_step(self) -> float:
        """Sum the gradients over the processes, clip, step and clear them; returns their norm before clipping, and
        where that is not finite has not stepped."""
        import torch

        for weight in self.weights:
            # DeepSpeed takes means, and wants from every process as many gradients.
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad.mul_(processes.count())
        self.step()
        return float(self.engine.get_global_grad_norm())

    def step(self) -> None:
        self.engine.allreduce_gradients()
        self.engine.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for weight in self.weights:
            weight.grad = None

    def state_dict(self) -> dict[str, Any]:
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        steps = [state["step"] for state in self.zero.optimizer.state.values()]
        state = {
            place: {"step": steps[0].clone()}
            | {name: safe_get_full_optimizer_state(weight, name) for name in _MOMENTS}
            for place, weight in enumerate(self.weights if steps else ())
        }  # fmt: skip
        settings = {name: value for name, value in self.param_groups[0].items() if name != "params"}
        plain = {"state": state, "param_groups": [settings | {"params": list(range(len(self.weights)))}]}
        masters = [safe_get_full_fp32_param(weight) for weight in self.weights] if self.half else []
        return {"optimizer": plain, "masters": masters} if self.half else plain

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """After the weights themselves are loaded."""
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        self.zero.refresh_fp32_params()
        plain: Mapping[str, Any] = state["optimizer"] if self.half else state
        for weight, master in zip(self.weights, state["masters"] if self.half else (), strict=self.half):
            safe_set_full_fp32_param(weight, master)
        if not plain["state"]:
            return
        for group in self.param_groups:  # a step that changes nothing, for DeepSpeed to make room for the moments
            group["lr"] = 0.0
        self.clipped_step()
        for place, weight in enumerate(self.weights):
            for name in _MOMENTS:
                # What no loss has reached has no moments in a checkpoint without DeepSpeed.
                if place in plain["state"]:
                    safe_set_full_optimizer_state(weight, plain["state"][place][name], name)
        for own in self.zero.optimizer.state.values():
            own["step"].copy_(next(iter(plain["state"].values()))["step"])
