"""Many engines as one: replicas that Ray places over a cluster, their prompts dealt out, and the dead replaced."""

import importlib.util
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from lm.engine import Completion, Engine, Finished, Sampling, in_groups, in_order, request_seeds
from lm.errors import UserError
from lm.lora import Adapter, has_adapter, merged, split_weights

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_PATIENCE = 900.0  # seconds without a replica that answers or starts


@dataclass(frozen=True)
class Weights:
    """A model's state without the model, as it travels."""

    tensors: "dict[str, torch.Tensor]"

    def state_dict(self) -> "dict[str, torch.Tensor]":
        return self.tensors


class Replica:
    """One engine in a process of its own, on whichever machine Ray has chosen."""

    def __init__(
        self, make: Callable[[], Engine], weights: "Weights | Adapter | None", base: "Weights | None" = None
    ) -> None:
        self.engine, self.base = make(), base
        self.load_weights(weights)

    def load_weights(self, weights: "Weights | Adapter | None", base: "Weights | None" = None) -> None:
        """Take new weights, or an adapter to merge into ``base``: None for the one that is there."""
        self.base = self.base if base is None else base
        if isinstance(weights, Adapter) and self.base is not None:
            weights = Weights(merged(self.base.tensors, weights))
        if weights is not None:
            model: Any = weights
            self.engine.load_weights(model)

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        return self.engine.generate(prompts, sampling, seeds)


class RayEngine:
    """``replicas`` engines, each made by ``make`` where Ray has put it, with ``cpus`` and ``gpus`` of its own.

    ``share`` prompts at most go to a replica at once. A prompt's seed is its own, so its completions do not depend on
    which replica draws them. One that dies is started anew, with the newest weights, wherever there is room, and what
    it was asked is asked again. ``cluster`` is the address of a running cluster, "auto" for this machine's; None starts
    one here, unless this process has one. Raises UserError where Ray is missing or no replica comes up.
    """

    def __init__(
        self,
        make: Callable[[], Engine],
        replicas: int,
        *,
        share: int = 256,
        cpus: float = 1.0,
        gpus: float = 0.0,
        cluster: str | None = None,
    ) -> None:
        if importlib.util.find_spec("ray") is None:
            raise UserError("Ray is not installed: pip install 'rung[ray]', or set engine.replicas=0")
        import ray

        if not ray.is_initialized():
            ray.init(address=cluster, log_to_driver=False, include_dashboard=False)
        self.make, self.share = make, share
        self.actor = ray.remote(num_cpus=cpus, num_gpus=gpus, scheduling_strategy="SPREAD")(Replica)
        self.weights: Any = None  # a reference into Ray's object store, as is
        self.base: Any = None  # what is under an adapter
        self.adapted: Any = None  # the model whose adapter that is
        self.replicas: list[Any] = [None] * replicas
        self.deaths = 0
        starting = [self._start(slot) for slot in range(replicas)]
        _wait_for_all(starting)

    def load_weights(self, model: "PreTrainedModel") -> None:
        """Put the weights into the object store once; every replica takes them from there.

        Of a model with an adapter what is frozen goes out the first time, and then the adapter alone.
        """
        import ray
        from ray.exceptions import RayActorError

        weights, adapter = split_weights(model)
        new = None
        if not has_adapter(model):
            self.base = self.adapted = None
            self.weights = ray.put(_travelling(weights))
        else:
            if model is not self.adapted:
                self.base, self.adapted = ray.put(_travelling(weights)), model
                new = self.base
            self.weights = ray.put(adapter.cpu())
        taking = [replica.load_weights.remote(self.weights, new) for replica in self.replicas]
        for slot, taken in enumerate(taking):
            try:
                ray.get(taken)
            except RayActorError as error:
                _wait_for_all([self._replace(slot, error)])

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        seed: int | Sequence[int],
        finished: Finished | None = None,
    ) -> list[Completion]:
        """``sampling.n`` completions a prompt, in the prompts' order, whichever replica they come from."""
        import ray
        from ray.exceptions import ObjectLostError, RayActorError

        seeds = request_seeds(seed, len(prompts))
        size = self._shard(len(prompts), sampling.n)
        waiting = deque(range(0, len(prompts), size))
        found: dict[int, list[Completion]] = {}  # by place
        running: dict[Any, tuple[int, int | None]] = {}  # reference: (replica's slot, start of its shard)
        idle = list(range(len(self.replicas)))
        self.deaths = 0
        while waiting or any(start is not None for _, start in running.values()):
            while waiting and idle:
                slot, start = idle.pop(), waiting.popleft()
                cut = slice(start, start + size)
                asked = self.replicas[slot].generate.remote(prompts[cut], sampling, seeds[cut])
                running[asked] = slot, start
            done, _ = ray.wait(list(running), num_returns=1, timeout=_PATIENCE)
            if not done:
                raise UserError(f"no replica has answered for {_PATIENCE:.0f} s: `ray status` shows the cluster")
            slot, begun = running.pop(done[0])
            try:
                answer = ray.get(done[0])
            except (RayActorError, ObjectLostError) as error:  # the second: its node died with the answer on it
                if begun is not None:
                    waiting.appendleft(begun)
                # Nothing is asked of the new one before it has started: others may have room where it has none yet.
                running[self._replace(slot, error)] = slot, None
                continue
            except ray.exceptions.RayTaskError as error:
                _explain(error)
            idle.append(slot)
            if begun is not None:
                some = dict(enumerate(in_groups(answer, sampling.n), begun))
                found |= some
                if finished is not None:
                    finished(some)
        return in_order(found)

    def _shard(self, prompts: int, n: int) -> int:
        """As many prompts as fill an engine, but some for every replica."""
        return max(1, min(self.share // n, -(-prompts // len(self.replicas))))

    def _start(self, slot: int) -> Any:
        """Start the replica of a slot; returns what is ready when it is."""
        self.replicas[slot] = self.actor.remote(self.make, self.weights, self.base)
        return self.replicas[slot].load_weights.remote(None)

    def _replace(self, slot: int, error: Exception) -> Any:
        self.deaths += 1
        if self.deaths > 3 * len(self.replicas):
            raise UserError(f"replicas keep dying, {self.deaths} times in this call; the last: {_line(error)}")
        return self._start(slot)


def _travelling(weights: "Mapping[str, torch.Tensor]") -> Weights:
    return Weights({name: tensor.cpu() for name, tensor in weights.items()})


def _wait_for_all(starting: Sequence[Any]) -> None:
    """Until every replica is up, or the first trouble with one."""
    import ray

    try:
        ray.get(list(starting), timeout=_PATIENCE)
    except ray.exceptions.GetTimeoutError:
        up = len(ray.wait(list(starting), num_returns=len(starting), timeout=0)[0])
        room = ray.cluster_resources()
        have = ", ".join(f"{room[name]:g} {name}" for name in ("CPU", "GPU") if name in room)
        raise UserError(f"{up} of {len(starting)} replicas are up; the cluster has {have or 'nothing'}") from None
    except ray.exceptions.RayActorError as error:
        raise UserError(f"a replica cannot start: {_line(error)}") from error
    except ray.exceptions.RayTaskError as error:
        _explain(error)


def _explain(error: Any) -> NoReturn:
    """What an engine raised, as if it had stood in this process."""
    if isinstance(error.cause, UserError):
        raise UserError(str(error.cause)) from error
    raise error


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
