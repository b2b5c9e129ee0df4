"""Several processes that train one model: who they are, what is whose, and sums over them.

``accelerate launch`` starts them. Where nobody did there is one, all rows are its own, and sums are what they were.
Every process holds the same batch of rows and runs its own of them; what is added up is of the whole batch, so results
do not depend, to rounding, on how many there are.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from lm.padding import by_length

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
R = TypeVar("R")
_BUCKET = 2**24  # numbers summed at once: large enough for the network, small beside a model


def join() -> None:
    """Join the other processes, if a launcher started any; before anything else here that speaks to them."""
    if count() == 1:
        return
    import atexit

    import torch
    from accelerate import PartialState

    # Else transformers leaves all but the first process with empty weights, for accelerate to fill when it shards.
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    if not torch.distributed.is_initialized():
        atexit.register(PartialState(cpu=not torch.cuda.is_available()).destroy_process_group)


def count() -> int:
    """How many processes train together; as the launcher said, so that asking loads no torch."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1


def index() -> int:
    """Which of them this is, from 0."""
    return int(os.environ.get("RANK", "0")) if count() > 1 else 0


def is_main() -> bool:
    """Whether this is the one that writes, logs and talks."""
    return index() == 0


def sharded() -> bool:
    """Whether the launcher's config asks for models in shards (FSDP)."""
    return count() > 1 and os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def blocks(total: int) -> list[range]:
    """Each process's part of ``total`` things in a row, for where neighbours belong together."""
    return [range(i * total // count(), (i + 1) * total // count()) for i in range(count())]


def my_block(total: int) -> range:
    return blocks(total)[index()]


def in_blocks(function: Callable[[Sequence[T]], Sequence[R]], items: Sequence[T]) -> list[R]:
    """``function(items)``, each process calling it on its block of them; all get the whole result, in order."""
    block = my_block(len(items))
    return gathered(list(function(items[block.start : block.stop])) if len(block) else [])


def gathered(items: list[T]) -> list[T]:
    """The items of all processes, those of the first first."""
    if count() == 1:
        return items
    import torch

    # Pickled on the way: fine among the processes of one run, who share their weights by the same connections.
    found: list[Any] = [None] * count()
    torch.distributed.all_gather_object(found, items)
    return [item for some in found for item in some]


def sum_metrics(
    metrics: dict[str, float], otherwise: Mapping[str, Callable[[tuple[float, float]], float]] = MappingProxyType({})
) -> dict[str, float]:
    """Sums by name (or, ``otherwise``, the max or min); a process that ran no row may have no names to add."""
    total: dict[str, float] = {}
    for some in gathered([metrics]):
        for name, value in some.items():
            total[name] = otherwise.get(name, sum)((total[name], value)) if name in total else value
    return total


def add_up(tensors: "Sequence[torch.Tensor]") -> None:
    """Put into each tensor its sum over the processes, of tensors of the same shapes in the same order."""
    if count() == 1:
        return
    import torch

    for bucket in _buckets(tensors):
        flat = torch.cat([tensor.flatten() for tensor in bucket])
        torch.distributed.all_reduce(flat)
        for tensor, part in zip(bucket, flat.split([t.numel() for t in bucket]), strict=True):
            tensor.copy_(part.view_as(tensor))


def _buckets(tensors: "Sequence[torch.Tensor]") -> "Iterator[list[torch.Tensor]]":
    """Neighbours of one dtype, up to ``_BUCKET`` numbers."""
    bucket: list[torch.Tensor] = []
    for tensor in tensors:
        if bucket and (bucket[0].dtype != tensor.dtype or sum(t.numel() for t in bucket) + tensor.numel() > _BUCKET):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


def add_up_gradients(weights: "Sequence[torch.Tensor]") -> None:
    """Sum the gradients. A weight that no row of any process reached keeps none, as it would in one process."""
    if count() == 1 or not weights:
        return
    import torch

    reached = torch.tensor([float(weight.grad is not None) for weight in weights], device=weights[0].device)
    torch.distributed.all_reduce(reached)
    wanted = [weight for weight, number in zip(weights, reached.tolist(), strict=True) if number]
    for weight in wanted:
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
    add_up([weight.grad for weight in wanted if weight.grad is not None])


def my_micro_batches(lengths: Sequence[int], tokens: int) -> Iterator[tuple[list[int], float]]:
    """This process's rows of a batch, a few of like length at a time (at most ``tokens`` when padded), and the weight
    of their losses: 1; 0 for rows run only to keep step, as a sharded model needs all processes to make equal passes.
    """
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    dealt = [order[process :: count()] for process in range(count())]  # by length, so that all have about as much to do
    yield from in_step(
        dealt, lambda rows: [[rows[i] for i in p] for p in by_length([lengths[i] for i in rows], tokens)]
    )


def in_step(
    dealt: Sequence[Sequence[int]], cut: Callable[[Sequence[int]], list[list[int]]]
) -> Iterator[tuple[list[int], float]]:
    """``my_micro_batches`` of rows dealt to the processes and cut into micro-batches in another way."""
    mine = cut(dealt[index()])
    yield from ((part, 1.0) for part in mine)
    if sharded():
        spare = mine[0] if mine else [next(row for rows in dealt for row in rows)]
        yield from [(spare, 0.0)] * (max(len(cut(rows)) for rows in dealt) - len(mine))
