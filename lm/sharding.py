"""FSDP2 where accelerate's config asks for it: the layers of a trunk lie in shards, one a process; all else is whole.

Embeddings and heads stay whole (and their gradients are summed as without shards) because they are called apart from
the trunk: at a few positions, or for two rows of a vocabulary.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lm import processes
from lm.errors import UserError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def shard(model: "PreTrainedModel") -> None:
    """Divide each layer of the trunk among the processes, in place; nothing where no launcher asked for it.

    Raises UserError for FSDP1, and for a model whose class does not say what its layers are.
    """
    if not processes.sharded():
        return
    import torch
    from accelerate.utils import FullyShardedDataParallelPlugin
    from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, fully_shard

    plugin: Any = FullyShardedDataParallelPlugin()  # reads what the launcher was told
    if plugin.fsdp_version != 2:
        raise UserError("accelerate's config asks for FSDP 1: set fsdp_version: 2")
    trunk: Any = model.base_model
    kinds = set(model._no_split_modules or ())
    layers = [module for module in trunk.modules() if type(module).__name__ in kinds]
    if not layers:
        raise UserError(f"{type(model).__name__} does not say what its layers are: train it without FSDP")
    offload = plugin.cpu_offload
    if isinstance(offload, CPUOffloadPolicy) and not torch.cuda.is_available():
        offload = CPUOffloadPolicy(pin_memory=False)  # there is no GPU to pin it for
    options = {
        "reshard_after_forward": plugin.reshard_after_forward,
        "offload_policy": offload,
        "mp_policy": plugin.mixed_precision_policy or MixedPrecisionPolicy(),
    }
    for layer in layers:
        fully_shard(layer, **options)
    inside = {id(weight) for layer in layers for weight in layer.parameters()}
    # The trunk has no shard of its own, but is what runs the layers' shards ahead of their use.
    fully_shard(trunk, ignored_params={w for w in trunk.parameters() if id(w) not in inside}, **options)


def whole(value: Any) -> Any:
    """A tensor, or a nest of mappings, lists and tuples of them, with every shard gathered. All processes must call."""
    if not processes.sharded():
        return value
    if isinstance(value, Mapping):
        return {name: whole(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(whole(item) for item in value)
    return value.full_tensor() if hasattr(value, "full_tensor") else value


def placed_as(tensor: "torch.Tensor", other: "torch.Tensor") -> "torch.Tensor":
    """``tensor``, which every process has, in shards where ``other`` is."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(other, DTensor) or isinstance(tensor, DTensor):
        return tensor
    return distribute_tensor(tensor.to(other.device), other.device_mesh, other.placements, src_data_rank=None)


def place_state(optimizer: "torch.optim.Optimizer") -> None:
    """Put the moments that were loaded whole into the shards of their weights."""
    for weight, state in optimizer.state.items():
        for name, value in state.items():
            if getattr(value, "shape", None) == weight.shape:
                state[name] = placed_as(value, weight)


def sum_gradients(model: "torch.nn.Module") -> None:
    """Sum the gradients over the processes: those of shards come from FSDP as means."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    processes.add_up_gradients([weight for weight in weights if not hasattr(weight, "full_tensor")])
    for weight in weights if processes.sharded() else ():
        if hasattr(weight, "full_tensor") and weight.grad is not None:
            weight.grad.mul_(processes.count())


def clip_gradients(model: "torch.nn.Module", most: float) -> float:
    """Scale the gradients down to the global norm ``most``; returns their norm before."""
    import torch

    if not processes.sharded():
        return float(torch.nn.utils.clip_grad_norm_(model.parameters(), most))
    grads: list[Any] = [weight.grad for weight in model.parameters() if weight.grad is not None]
    shards = [grad.to_local() for grad in grads if hasattr(grad, "to_local")]
    rest = [grad for grad in grads if not hasattr(grad, "to_local")]
    square = torch.stack([shard.float().square().sum() for shard in shards]).sum()
    torch.distributed.all_reduce(square)
    norm = float(square + sum(grad.float().square().sum() for grad in rest)) ** 0.5
    for grad in [*shards, *rest]:
        grad.mul_(min(1.0, most / (norm + 1e-6)))
    return norm
