"""One way of sampling for ``benchmarks.rollouts``: a line of JSON for each of its turns."""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lm.engine import Completion, Sampling, TransformersEngine

Prompts = Sequence[Sequence[int]]
Sample = Callable[[Prompts, Sequence[int]], Sequence[int]]  # prompts and lengths -> how many tokens each was given


def main() -> None:
    way, folder = sys.argv[1:]
    work = json.loads((Path(folder) / "work.json").read_text())
    torch.set_num_threads(work["threads"])
    # A prompt's seed says how long its completion is, so that a replica knows it too.
    seeds = [i * 1000 + length for i, length in enumerate(work["lengths"])]
    name, _, rest = way.partition(", ")
    sample = OPEN[name](folder, work, *([int(rest.split()[0])] if rest else []))
    sample(work["prompts"][:8], seeds[:8])
    for _ in range(work["rounds"]):
        wall, cpu = time.perf_counter(), cpu_seconds()
        made = sample(work["prompts"], seeds)
        took = {"seconds": time.perf_counter() - wall, "cpu": cpu_seconds() - cpu}
        # vLLM's engines end at an EOS of their own, too, one token in 8,192.
        right = sum(a == b for a, b in zip(made, work["lengths"], strict=True)) / len(made)
        assert right > (0.9 if name.startswith("vllm") else 0.999), "samples did not end where the benchmark said"
        print(json.dumps(took | {"tokens": sum(made)}), flush=True)


def cpu_seconds() -> float:
    """Of this process and of those that it, and they, have started."""
    import psutil

    me = psutil.Process()
    times = [p.cpu_times() for p in (me, *me.children(recursive=True))]
    return sum(t.user + t.system for t in times)


def length_of(seed: int) -> int:
    return seed % 1000


def completions(engine: Any, cap: int) -> Sample:
    def sample(prompts: Prompts, seeds: Sequence[int]) -> list[int]:
        made: list[Completion] = engine.generate(prompts, Sampling(max_tokens=cap), seeds)
        return [len(completion.token_ids) for completion in made]

    return sample


def transformers_engine(folder: str, work: dict[str, Any]) -> TransformersEngine:
    """Rung's own, whose draws say EOS where a completion is to end."""
    import lm.engine
    from benchmarks.lengths import forced_draws
    from lm.models import load_causal_lm, load_tokenizer

    wanted = {i * 1000 + length: [length] for i, length in enumerate(work["lengths"])}
    lm.engine.uniform_draws = forced_draws(wanted, work["cap"])  # type: ignore[assignment]
    return TransformersEngine(load_causal_lm(folder), load_tokenizer(folder), len(work["prompts"]))


def open_transformers(folder: str, work: dict[str, Any]) -> Sample:
    return completions(transformers_engine(folder, work), work["cap"])


def open_ray(folder: str, work: dict[str, Any]) -> Sample:
    from lm.ray_engine import RayEngine

    engine = RayEngine(partial(transformers_engine, folder, work), work["threads"], share=len(work["prompts"]))
    return completions(engine, work["cap"])


def open_vllm(folder: str, work: dict[str, Any]) -> Sample:
    from lm.models import load_tokenizer
    from lm.vllm_engine import VLLMEngine

    class Forced(VLLMEngine):
        """Each prompt has its own ``max_tokens``; vLLM asks for its settings in the prompts' order."""

        def generate(self, prompts: Any, sampling: Sampling, seed: Any, finished: Any = None) -> list[Completion]:
            self.lengths = map(length_of, seed)
            return super().generate(prompts, sampling, seed, finished)

        def _settings(self, sampling: Sampling, seed: int) -> Any:
            return super()._settings(replace(sampling, max_tokens=next(self.lengths)), seed)

    return completions(Forced(folder, load_tokenizer(folder), batch=len(work["prompts"])), work["cap"])


def open_server(folder: str, work: dict[str, Any]) -> Sample:
    from lm.chat import ChatConfig
    from lm.engines import EngineConfig, start_server
    from lm.models import load_tokenizer
    from lm.server_engine import ServerEngine

    batch = len(work["prompts"])
    lengths = {tuple(prompt): length for prompt, length in zip(work["prompts"], work["lengths"], strict=True)}

    class Forced(ServerEngine):
        def _complete(self, prompt: Sequence[int], sampling: Sampling, seed: int) -> list[Completion]:
            return super()._complete(prompt, replace(sampling, max_tokens=lengths[tuple(prompt)]), seed)

    server = start_server(EngineConfig(), folder, dtype="float32", batch=batch)
    endpoint = ChatConfig(url=server.url, model=folder, concurrency=batch)
    return completions(Forced(endpoint, load_tokenizer(folder), server), work["cap"])


def open_generate(folder: str, work: dict[str, Any], batch: int) -> Sample:
    """Transformers' ``generate``, so many prompts of like length at once."""
    from transformers import LogitsProcessorList

    from benchmarks.lengths import ForcedEnds
    from lm.models import load_causal_lm, load_tokenizer

    tokenizer = load_tokenizer(folder)
    model: Any = load_causal_lm(folder).eval()
    eos, pad, cap = tokenizer.eos_token_id, tokenizer.pad_token_id, work["cap"]

    def sample(prompts: Prompts, seeds: Sequence[int]) -> list[int]:
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        made = [0] * len(prompts)
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            width = max(len(prompts[i]) for i in rows)
            ids = torch.tensor([[pad] * (width - len(prompts[i])) + list(prompts[i]) for i in rows])
            ends = ForcedEnds(eos, [length_of(seeds[i]) for i in rows], cap)
            out = model.generate(
                input_ids=ids, attention_mask=(ids != pad).long(), do_sample=True, top_k=0, max_new_tokens=cap,
                eos_token_id=eos, pad_token_id=pad, logits_processor=LogitsProcessorList([ends]),
            )[:, width:].tolist()  # fmt: skip
            for i, new in zip(rows, out, strict=True):
                made[i] = new.index(eos) + 1 if eos in new else cap
        return made

    return sample


def open_continuous(folder: str, work: dict[str, Any]) -> Sample:
    """Transformers' own continuous batching over a paged cache, which has no seed for a request."""
    from transformers import ContinuousBatchingConfig, GenerationConfig

    from lm.models import load_causal_lm

    model: Any = load_causal_lm(folder).eval()
    longest = max(map(len, work["prompts"])) + work["cap"]
    settings = ContinuousBatchingConfig(
        page_size=32, num_blocks=len(work["prompts"]) * -(-longest // 32), max_batch_tokens=1024, return_logprobs=True
    )

    def sample(prompts: Prompts, seeds: Sequence[int]) -> list[int]:
        drawn = GenerationConfig(do_sample=True, top_k=0, max_new_tokens=work["cap"], eos_token_id=-1, pad_token_id=1)
        asked = {"generation_config": drawn, "continuous_batching_config": settings}
        with model.continuous_batching_context_manager(**asked) as manager:
            for number, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
                manager.add_request(list(prompt), str(number), max_new_tokens=length_of(seed))
            made: dict[int, int] = {}
            while len(made) < len(prompts):
                answer = manager.get_result(timeout=1)
                if answer is not None and answer.is_finished():
                    made[int(answer.request_id)] = len(answer.generated_tokens)
                elif answer is None and not manager.is_running():
                    raise RuntimeError("continuous batching ended before it was done")
        return [made[number] for number in range(len(prompts))]

    return sample


OPEN: dict[str, Callable[..., Sample]] = {
    "generate": open_generate, "transformers": open_transformers, "ray": open_ray, "vllm": open_vllm,
    "vllm-server": open_server, "continuous": open_continuous,
}  # fmt: skip


if __name__ == "__main__":
    main()
