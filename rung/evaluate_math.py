"""``rung eval math``: a policy on the benchmarks of final answers; every sample in a file, with its verdict and why."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lm.checkpoint import read_lines, write_json, write_lines
from lm.config import key, part
from lm.engine import Completion, Engine, Sampling
from lm.engines import EngineConfig, open_engine
from lm.errors import UserError
from lm.models import DType, load_tokenizer
from lm.run import MAY_CHANGE, Run
from lm.tokenizer import encode, token_ends
from lm.torch_setup import prepare_torch
from prm.label_files import part_path
from prm.loading import Reading, load_as
from prm.scorer import Scorer, score_each
from prm.scores import Aggregation
from rung.math_prompts import Prompt, find_prompt, render
from rung.math_sets import load_set
from rung.math_summary import Row, summarise, table
from verifiers.pool import verify_many
from verifiers.solution import Problem, Solution
from verifiers.split import split_steps


@dataclass(frozen=True)
class MathConfig:
    """Greedy accuracy, pass@k, majority@k and best-of-k of one policy on any number of benchmarks."""

    folder: Path = key(Path("runs/eval-math"), "results.jsonl (a row a sample) and summary.json are written here")
    policy: str = key("runs/sft/model", "folder or hub name")
    sets: dict[str, str | None] = key(
        {"gsm8k": None, "math500": None},
        "benchmarks: null takes one from the hub; or a file, or a downloaded folder",
    )
    limit: int | None = key(None, "problems of each benchmark, the first ones; null: all", low=1)
    prompt: str = key("boxed", "a name in rung/math_prompts.py, or a text with {question} in it")
    greedy: bool = key(True, "one greedy solution a problem")
    samples: int = key(0, "k solutions a problem drawn as sampling says, for pass@k, majority@k and best-of-k", low=0)
    sampling: Sampling = part(Sampling, "of the drawn ones; its max_tokens is the greedy one's too", max_tokens=1024)
    prm: str | None = key(None, "the process reward model that picks among the drawn; null leaves best-of-k out")
    reading: Reading = part(Reading, "what kind of reward model it is, where its name does not say")
    aggregate: Aggregation = key("min", "how step scores become a solution's score")
    batch_problems: int = key(64, "problems a batch; a run resumes at a batch", low=1)
    engine: EngineConfig = part(EngineConfig, "what samples")
    engine_batch: int = key(128, "sequences sampled at once", low=1)
    verify_workers: int = key(1, "processes that verify, 0: this one; a slow comparison then ends alone", low=0)
    dtype: DType = key("float32", "precision of the models; bfloat16 for GPUs")
    seed: int = key(0, "of the samples and the bootstrap")
    threads: int | None = key(None, "CPU threads; null leaves it to torch")
    resume: bool = key(False, "go on with the run in the folder")
    overwrite: bool = key(False, "delete the run in the folder first")


def main(config: MathConfig) -> None:
    """Evaluate and print a line a benchmark and measure."""
    for line in table(evaluate_math(config)):
        print(line)


def evaluate_math(config: MathConfig) -> dict[str, Any]:
    """Evaluate batch by batch; write ``results.jsonl`` and ``summary.json``; return the summary.

    A sample depends on the seed, the benchmark and the problem alone, so that neither ``limit`` nor a resumed run
    changes it.
    """
    if not config.greedy and not config.samples:
        raise UserError("greedy=false and samples=0: nothing to do; give one of them")
    if config.sampling.n > 1:
        raise UserError(f"sampling.n={config.sampling.n} draws nothing here: samples={config.sampling.n} is the key")
    prompt = find_prompt(config.prompt)
    batches = [
        (name, problems[start : start + config.batch_problems])
        for name, source in config.sets.items()
        for problems in [load_set(name, source, config.limit)]
        for start in range(0, len(problems), config.batch_problems)
    ]
    prepare_torch(config.seed, config.threads)
    tokenizer = load_tokenizer(config.policy)
    engine = open_engine(config.engine, config.policy, tokenizer, dtype=config.dtype, batch=config.engine_batch)
    prm = load_as(config.reading, config.prm, config.dtype, 16384, None) if config.prm is not None else None
    may_change = MAY_CHANGE | {"threads", "engine_batch", "verify_workers"}
    run = Run.open(config, verb="eval math", may_change=may_change)
    for step in run.steps(len(batches), save_every=1, label="batches"):
        name, problems = batches[step]
        rows = measure(name, problems, engine, tokenizer, prompt, prm, config)
        write_lines(part_path(config.folder, step, "results"), rows)
        run.log(step, set=name, correct=float(np.mean([row["correct"] for row in rows])), samples=len(rows))
    rows = [row for step in range(len(batches)) for row in read_lines(part_path(config.folder, step, "results"))]
    write_lines(config.folder / "results.jsonl", rows)
    summary = summarise(rows, config.seed)
    write_json(config.folder / "summary.json", summary)
    return summary


def measure(
    name: str,
    problems: Sequence[Problem],
    engine: Engine,
    tokenizer: Any,
    prompt: Prompt,
    prm: Scorer | None,
    config: MathConfig,
) -> list[Row]:
    """A row a sample of these problems: those of one problem side by side, the greedy one (number −1) first."""
    prompts = encode(tokenizer, [render(prompt, tokenizer, p.question) for p in problems])
    sampling = replace(config.sampling, n=max(1, config.samples), stop=(*config.sampling.stop, *prompt.stop))
    groups: list[list[tuple[int, Completion]]] = [[] for _ in problems]
    if config.greedy:
        found = engine.generate(prompts, replace(sampling, temperature=0.0, n=1), config.seed)
        groups = [[(-1, completion)] for completion in found]
    if config.samples:
        drawn = engine.generate(prompts, sampling, [_seed(config.seed, name, p) for p in problems])
        for i, completion in enumerate(drawn):
            groups[i // config.samples].append((i % config.samples, completion))
    flat = [(p, ids, *sample) for p, ids, group in zip(problems, prompts, groups, strict=True) for sample in group]
    solutions = [_solution(p, tokenizer, completion, sampling.stop) for p, _, _, completion in flat]
    verdicts = verify_many(solutions, workers=config.verify_workers)
    judged = [s for s, (_, _, number, _) in zip(solutions, flat, strict=True) if number >= 0]
    scores = iter(score_each(prm, judged) if prm is not None else [])
    rows = []
    for (problem, ids, number, completion), solution, verdict in zip(flat, solutions, verdicts, strict=True):
        row = {"set": name, "id": problem.id, "question": problem.question, "gold": problem.answer, "sample": number}
        row |= {"text": solution.text} | asdict(verdict) | {"finish": completion.finish}
        row |= {"prompt_tokens": len(ids), "tokens": len(completion.token_ids)}
        if prm is not None and number >= 0:
            said = next(scores)
            row["score"] = 0.0 if isinstance(said, str) else said.aggregate(config.aggregate)
        rows.append(row)
    return rows


def _seed(seed: int, name: str, problem: Problem) -> int:
    text = f"{seed}\n{name}\n{problem.id}\n{problem.question}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _solution(problem: Problem, tokenizer: Any, completion: Completion, stop: Sequence[str]) -> Solution:
    """What was written up to a stop text, which is the beginning of something else."""
    text, _ = token_ends(tokenizer, completion.token_ids)
    for end in stop:
        text = text.partition(end)[0]
    return Solution(problem, text, split_steps(text))
