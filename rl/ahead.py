"""Sampling ahead of learning: another process acts with the weights of some updates ago while this one learns.

Batch s is sampled by the policy as it was after update s − ``staleness`` (at first, by the policy as it started),
however fast either process is: so a run is repeated bit for bit, and one that is resumed goes on as it would have.
What that policy's distance from the learner does to the gradient is for ``advantage.importance`` to correct
(asynchronous RL with a bounded staleness: Noukhovitch et al. 2024; Fu et al. 2025, section 5).
"""

import queue
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from lm.engine import Engine
from lm.errors import UserError
from rl.config import RLConfig

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from rl.act import Acted
    from rl.collect import Timer

Weights = dict[str, "torch.Tensor"]


class Ahead:
    """The sampling process, seen from the learner, in the place of an ``Actor``: ``engine`` only evaluates, and the
    PRM is the other process's. A checkpoint keeps the older weights that it still needs."""

    prm = None

    def __init__(self, config: RLConfig, engine: Engine) -> None:
        import multiprocessing

        self.engine = engine
        self.staleness, self.last = config.staleness, config.steps - 1
        self._recent: dict[int, Weights] = {}
        self._asked = self._sent = -1  # the last batch asked for, and the last version that went out
        context = multiprocessing.get_context("spawn")
        self._end, other = context.Pipe()
        self._process = context.Process(target=serve, args=(other, config), daemon=True)
        self._process.start()
        other.close()  # so that this end hears when the process dies
        # Read at once: a process whose answer nobody takes would not take the next weights either.
        self._answers: queue.Queue[Acted | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        try:
            while True:
                self._answers.put(self._end.recv())
        except (EOFError, OSError):
            self._answers.put(None)

    def act(self, step: int, policy: "PreTrainedModel", timer: "Timer") -> "Acted":
        """Batch ``step``, once the batches after it are on their way.

        ``policy`` is the learner's after ``step`` updates. Raises UserError where the process has ended.
        """
        with timer("wait"):
            first = step if self._asked < step else self._asked + 1
            self._recent[step] = _copy(policy)
            for batch in range(first, min(step + self.staleness, self.last) + 1):
                self._ask(batch, max(0, batch - self.staleness))
            self._recent = {v: w for v, w in self._recent.items() if v > step - self.staleness}
            answer = self._answers.get()
        if answer is None:
            self._process.join(5)
            raise UserError(
                f"the sampling process ended (exit code {self._process.exitcode}; what it said stands above); "
                "resume=true goes on from the last checkpoint"
            )
        return answer

    def _ask(self, batch: int, version: int) -> None:
        from safetensors.torch import save

        new = version != self._sent
        with suppress(OSError):  # a process that is gone is told of where its answer is awaited
            self._end.send((batch, save(self._recent[version]) if new else None))
        self._asked, self._sent = batch, version

    def close(self) -> None:
        self._process.terminate()
        self._process.join()
        self._end.close()

    def state_dict(self) -> dict[str, Any]:
        return {"recent": {str(version): weights for version, weights in self._recent.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._recent = {int(version): weights for version, weights in state["recent"].items()}


def _copy(policy: "PreTrainedModel") -> Weights:
    """What another process needs to have the same policy: an adapter alone where it has one, what is shared once."""
    from lm.lora import has_adapter, trained_weights

    state = trained_weights(policy) if has_adapter(policy) else policy.state_dict()
    once = {tensor.data_ptr(): (name, tensor) for name, tensor in reversed(state.items())}
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in once.values()}


def serve(end: Connection, config: RLConfig) -> None:
    """The sampling process: (batch, weights or None) in, what was acted out, until the learner is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in the terminal is the learner's to answer
    from safetensors.torch import load

    from lm.lora import add_adapter
    from lm.models import default_device, load_causal_lm, load_tokenizer
    from lm.torch_setup import prepare_torch
    from prm.problems import load_problems
    from rl.act import Actor

    prepare_torch(config.seed, config.threads)
    tokenizer = load_tokenizer(config.policy)
    policy = load_causal_lm(config.policy, config.dtype).to(default_device())  # type: ignore[arg-type]
    add_adapter(policy, config.lora)  # what it is at first does not matter: batch 0 comes with the learner's
    problems = [e.problem for e in load_problems(config.problems, "train", config.pool, stream=3)]
    actor = Actor(config, tokenizer, problems, policy, reference=policy)
    with suppress(EOFError, OSError):  # the learner is gone
        while True:
            batch, weights = end.recv()
            clock = Clock()
            with clock("weights"):
                if weights is not None:
                    policy.load_state_dict(load(weights), strict=False)  # what is tied, or frozen, is not sent
            end.send(replace(actor.act(batch, policy, clock), elsewhere=clock.seconds))


class Clock:
    """As ``Run.timer``, for a process without a run."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began
