"""Run by test_vllm_engine.py in an interpreter that has vLLM: real engines, judged by plain forward passes.

Prints one JSON object at the end; the test says what it must be.
"""

import json
import sys
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from lm.engine import Completion, Sampling, TransformersEngine, nucleus
from lm.errors import UserError
from lm.models import load_causal_lm, load_tokenizer
from lm.vllm_engine import VLLMEngine

QUESTIONS = ["8+4-3\n", "1+1-0\n", "9+9-12\n", "3+", "7", "2+2-1\n1+1", "5+5-5\n10-5\n#### "]


def distributions(model: PreTrainedModel, prompt: list[int], ids: tuple[int, ...], temperature: float) -> torch.Tensor:
    """(n, V) log-probs that each token of a completion was drawn from: one unpadded pass in float64, no cache."""
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1]
    return torch.log_softmax(logits / temperature, -1)


def gap(model: PreTrainedModel, prompts: list[list[int]], found: list[Completion], temperature: float) -> float:
    """The largest difference between a completion's log-probs and a plain pass."""
    n, worst = len(found) // len(prompts), 0.0
    for i, c in enumerate(found):
        wanted = distributions(model, prompts[i // n], c.token_ids, temperature)
        exact = wanted[torch.arange(len(c.token_ids)), list(c.token_ids)].numpy()
        worst = max(worst, float(np.abs(exact - c.logprobs).max()))
    return worst


def outside_nucleus(model: PreTrainedModel, prompts: list[list[int]], found: list[Completion], top_p: float) -> int:
    """How many tokens were drawn that the nucleus leaves out (with a hair's room at its edge)."""
    n, outside = len(found) // len(prompts), 0
    for i, c in enumerate(found):
        kept = nucleus(distributions(model, prompts[i // n], c.token_ids, 1.0), top_p + 1e-6)
        outside += int(torch.isinf(kept[torch.arange(len(c.token_ids)), list(c.token_ids)]).sum())
    return outside


def main(first: str, second: str) -> None:
    results: dict[str, Any] = {}
    tokenizer = load_tokenizer(first)
    models = [load_causal_lm(name).double().eval() for name in (first, second)]
    prompts = tokenizer(QUESTIONS)["input_ids"]
    engine = VLLMEngine(first, tokenizer, batch=64, context=256, cache_gib=0.1)
    random_before = torch.get_rng_state()
    told: list[Any] = []
    drawn = engine.generate(prompts, Sampling(0.7, max_tokens=24, n=16), 1, told.append)
    results["gap"] = gap(models[0], prompts, drawn, 0.7)
    whole = {place: completions for some in told for place, completions in some.items()}
    results["told"] = [c for place in range(len(prompts)) for c in whole[place]] == drawn
    results["calls"] = len(told)
    results["finishes"] = sorted({c.finish for c in drawn})
    eos = tokenizer.eos_token_id
    results["stops_at_eos"] = all((c.token_ids[-1] == eos) == (c.finish == "stop") for c in drawn)
    results["eos_inside"] = any(eos in c.token_ids[:-1] for c in drawn)
    results["lengths_right"] = all(len(c.token_ids) == 24 for c in drawn if c.finish == "length")
    results["distinct"] = len({c.token_ids for c in drawn})

    ids = [c.token_ids for c in drawn]
    again = engine.generate(prompts, Sampling(0.7, max_tokens=24, n=16), 1)
    results["repeats"] = [c.token_ids for c in again] == ids
    other = engine.generate(prompts, Sampling(0.7, max_tokens=24, n=16), 2)
    results["other_seed_differs"] = [c.token_ids for c in other] != ids
    seeds = list(range(len(prompts)))
    together = engine.generate(prompts, Sampling(max_tokens=12, n=2), seeds)
    alone = [
        c for p, s in zip(prompts, seeds, strict=True) for c in engine.generate([p], Sampling(max_tokens=12, n=2), [s])
    ]
    results["alone_as_together"] = [c.token_ids for c in alone] == [c.token_ids for c in together]

    greedy = Sampling(0, max_tokens=12, n=2)
    plain = TransformersEngine(load_causal_lm(first), tokenizer).generate(prompts, greedy, 0)
    results["greedy_as_transformers"] = [c.token_ids for c in engine.generate(prompts, greedy, 0)] == [
        c.token_ids for c in plain
    ]
    cut = engine.generate(prompts, Sampling(1.0, 0.6, max_tokens=12, n=8), 3)
    results["outside_nucleus"] = outside_nucleus(models[0], prompts, cut, 0.6)
    stopped = engine.generate(prompts, Sampling(max_tokens=24, n=8, stop=("1", "+2")), 4)
    texts = [tokenizer.decode(c.token_ids, skip_special_tokens=True) for c in stopped]
    ends = [c.finish == "stop" and c.token_ids[-1] != eos for c in stopped]
    results["stop_strings_met"] = sum(ends)
    results["stop_strings_right"] = all(("1" in t or "+2" in t) == end for t, end in zip(texts, ends, strict=True))
    before = [tokenizer.decode(c.token_ids[:-1]) for c in stopped]
    results["stopped_at_once"] = not any("1" in t or "+2" in t for t in before)
    results["random_state_kept"] = torch.equal(random_before, torch.get_rng_state())

    for name, model in (("gap_after_update", 1), ("gap_after_second_update", 0)):
        engine.load_weights(load_causal_lm([first, second][model]))
        results[name] = gap(models[model], prompts, engine.generate(prompts, Sampling(max_tokens=24, n=4), 5), 1.0)
        results[f"{name}_to_the_old"] = gap(
            models[1 - model], prompts, engine.generate(prompts, Sampling(max_tokens=24, n=4), 5), 1.0
        )
    try:
        engine.generate([[1] * 256], greedy, 0)
    except UserError as error:
        results["too_long"] = str(error)

    del engine
    second_engine = VLLMEngine(second, tokenizer, batch=8, context=64, cache_gib=0.1)
    found = second_engine.generate(prompts, Sampling(max_tokens=8), 0)
    results["gap_of_a_second_engine"] = gap(models[1], prompts, found, 1.0)
    print(json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
