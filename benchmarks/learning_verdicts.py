"""The arms of benchmarks/learning.py that learn without a policy gradient: DPO, IPO and KTO, and expert iteration.

Each gets as many sampled tokens as an arm of RL, and starts from the same SFT policy; the verifier is all that it asks.
Pairs are of solutions of one problem that this policy wrote, a right one chosen and a wrong one rejected.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lm.checkpoint import write_json, write_lines
from lm.engine import Sampling, TransformersEngine
from lm.models import default_device, load_causal_lm, load_tokenizer
from lm.optim import OptimConfig
from lm.progress import progress
from lm.sft import FitConfig
from lm.torch_setup import prepare_torch
from prm.problems import load_problems
from prm.sample import sample_solutions
from rl import dpo, expert
from rl.config import RLConfig
from rl.dpo import DPOConfig, PreferenceLoss
from rl.expert import ExpertConfig
from rl.preferences import PreferenceData
from rl.rollout import draw
from rung.ladder import Ladder, stage
from verifiers.solution import Solution
from verifiers.verify import verify_solution

ALGORITHMS = ("dpo", "ipo", "kto", "expert")
SAMPLES, MOST, CHUNK = 8, 8, 8  # solutions a problem, pairs of one at most, problems sampled at once
ROUNDS = 3  # of expert iteration
LOSSES = {"dpo": PreferenceLoss("dpo", 0.1), "ipo": PreferenceLoss("ipo", 0.1), "kto": PreferenceLoss("kto", 0.1)}


@dataclass(frozen=True)
class Pairs:
    """A file of preference pairs, and what was sampled for it."""

    path: Path
    solutions: int
    sampled_tokens: int


def train_arm(ladder: Ladder, algorithm: str, seed: int, tokens: int) -> Path:
    """Train ``algorithm`` on the ladder's SFT policy with ``tokens`` sampled tokens, unless that is done; the folder of
    its run."""
    folder = ladder.folder / f"{algorithm}-verdict-{seed}"
    if (folder / "model").exists():
        return folder
    rl: RLConfig = stage(ladder, "ppo")
    pairs = sample_pairs(ladder, rl, seed, tokens)
    if algorithm == "expert":
        each = round(pairs.solutions * tokens / pairs.sampled_tokens / (ROUNDS * 4))
        fit = FitConfig(steps=20, batch=64, save_every=0, optim=OptimConfig(lr=1e-3, warmup=5))
        expert.train(
            ExpertConfig(
                folder=folder, policy=rl.policy, problems=rl.problems, pool=rl.pool, prompt=rl.prompt, rounds=ROUNDS,
                problems_per_round=each, sampling=replace(rl.sampling, n=4), carry=True, fit=fit, seed=seed, threads=1,
                overwrite=True,
            )
        )  # fmt: skip
    else:
        fit = FitConfig(steps=100, batch=32, save_every=0, optim=OptimConfig(lr=3e-4, warmup=10))
        dpo.train(
            DPOConfig(
                folder=folder, policy=rl.policy, data=PreferenceData(pairs=(str(pairs.path),), validation_fraction=0.0),
                prompt=rl.prompt, fit=fit, seed=seed, threads=1, overwrite=True, **asdict(LOSSES[algorithm]),
            )
        )  # fmt: skip
    return folder


def sample_pairs(ladder: Ladder, rl: RLConfig, seed: int, tokens: int) -> Pairs:
    """Sample problems of RL's pool until ``tokens`` are spent, and pair right solutions with wrong ones."""
    path = ladder.folder / f"pairs-{seed}-{tokens}.jsonl"
    told = path.with_suffix(".json")
    if told.exists():
        found = json.loads(told.read_text(encoding="utf-8"))
        return Pairs(path, found["solutions"], found["sampled_tokens"])
    prepare_torch(seed, 1)
    tokenizer = load_tokenizer(rl.policy)
    policy = load_causal_lm(rl.policy, rl.dtype).to(default_device())  # type: ignore[arg-type]
    engine = TransformersEngine(policy, tokenizer, rl.engine_batch)
    problems = [e.problem for e in load_problems(rl.problems, "train", rl.pool, stream=3)]
    sampling = Sampling(max_tokens=rl.sampling.max_tokens, n=SAMPLES)
    rows: list[dict[str, str]] = []
    spent = solutions = chunk = 0
    with progress(f"pairs, seed {seed}", tokens) as bar:
        while spent < tokens:
            asked = draw(problems, CHUNK, seed, chunk)
            drawn = sample_solutions(engine, tokenizer, asked, sampling, seed * 1_000_003 + chunk, rl.prompt)
            new = sum(len(completion.token_ids) for _, completion in drawn)
            bar.advance(min(new, tokens - spent))
            spent, solutions, chunk = spent + new, solutions + len(drawn), chunk + 1
            for start in range(0, len(drawn), SAMPLES):
                ended = [s for s, completion in drawn[start : start + SAMPLES] if completion.finish == "stop"]
                rows += right_against_wrong(ended)
    write_lines(path, rows)
    write_json(told, {"pairs": len(rows), "solutions": solutions, "sampled_tokens": spent})
    return Pairs(path, solutions, spent)


def right_against_wrong(solutions: Sequence[Solution]) -> list[dict[str, str]]:
    """At most ``MOST`` pairs of one problem's solutions; the fewer of the two kinds take turns."""
    texts: dict[bool, list[str]] = {True: [], False: []}
    for solution in solutions:
        side = texts[verify_solution(solution).correct]
        if solution.text not in side:
            side.append(solution.text)
    right, wrong = texts[True], texts[False]
    count = min(MOST, max(len(right), len(wrong))) if right and wrong else 0
    return [
        {"prompt": solutions[0].problem.question, "chosen": right[i % len(right)], "rejected": wrong[i % len(wrong)]}
        for i in range(count)
    ]
