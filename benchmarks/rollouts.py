"""Tokens a second of Rung's engine beside transformers' plain ``generate`` at its best batch size, GSM8K's lengths.

    python -m benchmarks.rollouts DATA/gsm8k/train.jsonl.gz

One model, one process, in turns: every way samples one completion of each prompt, which ends after as many tokens as
some GSM8K solution has (at most 256). Plain ``generate`` gets its prompts sorted by length, and its fastest batch size
counts.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LogitsProcessorList

import lm.engine
from benchmarks.lengths import CAP, ForcedEnds, forced_draws, model_and_prompts
from lm.engine import Sampling, TransformersEngine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model, tokenizer, questions, solutions = model_and_prompts(arguments.file, arguments.prompts)
    prompts = [list(ids) for ids in tokenizer([f"{q}\n" for q in questions])["input_ids"]]
    lengths = np.random.default_rng(0).choice(solutions, len(prompts)).tolist()
    seconds: dict[str, list[float]] = {}
    for turn in range(arguments.rounds):
        for batch in (0, *arguments.batches):
            wall, cpu = time.perf_counter(), time.process_time()
            if batch:
                plain(model, tokenizer, prompts, lengths, batch)
            else:
                ours(model, tokenizer, prompts, lengths, turn)
            name = f"generate, {batch} at once" if batch else "Rung"
            took = [time.perf_counter() - wall, time.process_time() - cpu]
            print(f"{name}: {took[0]:.1f} s, {took[1]:.1f} of CPU", flush=True)
            seconds.setdefault(name, []).append(took[0])
            seconds.setdefault(f"{name} cpu", []).append(took[1])
    best = {name: min(times) for name, times in seconds.items()}
    rival = min((name for name in best if name.startswith("gen") and "cpu" not in name), key=lambda name: best[name])
    print(f"{len(prompts)} prompts, {sum(lengths):,} tokens, {arguments.threads} threads; best of {arguments.rounds}")
    for name in ("Rung", rival):
        wall, cpu = (sum(lengths) / best[key] for key in (name, f"{name} cpu"))
        print(f"{name}: {wall:,.0f} tokens a second, {cpu:,.0f} by CPU time")
    print(f"{best[rival] / best['Rung']:.2f} times ({best[rival + ' cpu'] / best['Rung cpu']:.2f} by CPU time)")


def ours(model: Any, tokenizer: Any, prompts: list[list[int]], lengths: list[int], seed: int) -> None:
    lm.engine.uniform_draws = forced_draws(prompts, lengths, CAP)  # type: ignore[assignment]
    engine = TransformersEngine(model, tokenizer, len(prompts))
    made = engine.generate(prompts, Sampling(max_tokens=CAP), seed)
    assert [len(c.token_ids) for c in made] == lengths, "samples did not end where the benchmark said"


def plain(model: Any, tokenizer: Any, prompts: list[list[int]], lengths: list[int], batch: int) -> None:
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        width = max(len(prompts[i]) for i in rows)
        ids = torch.tensor([[tokenizer.pad_token_id] * (width - len(prompts[i])) + prompts[i] for i in rows])
        ends = ForcedEnds(tokenizer.eos_token_id, [lengths[i] for i in rows], CAP)
        model.generate(
            input_ids=ids, attention_mask=(ids != tokenizer.pad_token_id).long(), do_sample=True, top_k=0,
            max_new_tokens=CAP, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
            logits_processor=LogitsProcessorList([ends]),
        )  # fmt: skip


if __name__ == "__main__":
    main()
