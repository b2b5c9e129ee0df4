"""The arms of benchmarks/learning.py that learn without a policy gradient: DPO and its kin, and expert iteration.

Each gets as many sampled tokens as an arm of RL, and starts from the same SFT policy; the verifier is all that it asks.
Pairs are of solutions of one problem that the policy wrote, a right one chosen and a wrong one rejected, sampled anew
in each round (iterative DPO: Xu et al. 2023; with the chosen one's NLL, RPO: Pang et al. 2024). Step-DPO alone asks the
exact check of steps, and learns from right and wrong steps after the same beginning.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import numpy as np

from lm.checkpoint import write_lines
from lm.engine import in_groups
from lm.engines import open_engine
from lm.models import load_tokenizer
from lm.optim import OptimConfig
from lm.progress import progress
from lm.sft import FitConfig
from lm.tokenizer import encode
from lm.torch_setup import prepare_torch
from prm.labelling import symbolic_labels
from prm.problems import ProblemsConfig, load_problems
from prm.sample import sample_solutions
from prm.scores import read_labeled
from rl import dpo, expert
from rl.config import RLConfig
from rl.dpo import DPOConfig, PreferenceLoss
from rl.expert import ExpertConfig
from rl.preferences import PreferenceData, step_pairs
from rl.rollout import draw
from rung.ladder import Ladder, stage
from verifiers.families import is_built_in
from verifiers.solution import Problem, Solution
from verifiers.verify import verify_solution

LOSSES = {
    "dpo": PreferenceLoss("dpo", beta=1.0),
    "rpo": PreferenceLoss("dpo", beta=0.3, nll_weight=5.0),  # iterative RPO
    "ipo": PreferenceLoss("ipo", beta=4.0),  # pairs told apart by 1/8 of a nat a token, 4 or 5 nats a solution
    "kto": PreferenceLoss("kto", beta=0.3),
    "step_dpo": PreferenceLoss("dpo", beta=1.0),
}
ALGORITHMS = (*LOSSES, "expert")
ROUNDS = 4  # of expert iteration
PAIR_ROUNDS = 8  # of the others; each samples from the policy as the one before left it, and spends as many tokens
SAMPLES, MOST, CHUNK = 8, 4, 4  # of pairs: solutions a problem, pairs of one at most, problems sampled at once
STEPS, BATCH = 10, 32  # optimizer steps of a round, on the pairs of all rounds so far, and pairs in each


def train_arm(ladder: Ladder, algorithm: str, seed: int, tokens: int) -> Path:
    """Train ``algorithm`` on the ladder's SFT policy with ``tokens`` sampled tokens, unless that is done; the folder
    that holds its model."""
    rl: RLConfig = stage(ladder, "ppo")
    folder = ladder.folder / f"{algorithm}-verdict-{seed}"
    if algorithm == "expert":
        return iterate_expert(ladder, rl, folder, seed, tokens)
    policy = rl.policy
    for number in range(PAIR_ROUNDS):
        found = folder / f"round-{number}"
        if not (found / "model").exists():
            iterate_pairs(rl, policy, found, algorithm, seed * PAIR_ROUNDS + number, tokens // PAIR_ROUNDS)
        policy = str(found / "model")
    return found


def iterate_expert(ladder: Ladder, rl: RLConfig, folder: Path, seed: int, tokens: int) -> Path:
    """Expert iteration on as many problems as the tokens are enough for, by the length of what was labelled."""
    if (folder / "model").exists():
        return folder
    written = [item.solution.text for item in read_labeled(ladder.folder / "labels/test.symbolic.jsonl")]
    length = float(np.mean([len(ids) + 1 for ids in encode(load_tokenizer(rl.policy), written)]))
    fit = FitConfig(steps=20, batch=64, save_every=0, optim=OptimConfig(lr=5e-4, warmup=5))
    expert.train(
        ExpertConfig(
            folder=folder, policy=rl.policy, problems=rl.problems, pool=rl.pool, prompt=rl.prompt, rounds=ROUNDS,
            problems_per_round=round(tokens / length / ROUNDS / 4), sampling=replace(rl.sampling, n=4), carry=True,
            fit=fit, seed=seed, threads=1, overwrite=True,
        )
    )  # fmt: skip
    return folder


def iterate_pairs(rl: RLConfig, policy: str, folder: Path, algorithm: str, seed: int, tokens: int) -> None:
    """One round: sample from ``policy``, which is also the reference, and learn from right against wrong."""
    path = folder.with_suffix(".jsonl")
    find = right_against_wrong_steps if algorithm == "step_dpo" else right_against_wrong
    pairs = [pair for group in sample_groups(rl, policy, seed, tokens) for pair in find(group)]
    write_lines(path, pairs)
    found = sorted(str(path) for path in folder.parent.glob("round-*.jsonl"))
    fit = FitConfig(steps=STEPS, batch=BATCH, save_every=0, optim=OptimConfig(lr=1e-4, warmup=1, schedule="constant"))
    dpo.train(
        DPOConfig(
            folder=folder, policy=policy, data=PreferenceData(pairs=tuple(found), validation_fraction=0.0),
            prompt=rl.prompt, fit=fit, seed=seed, threads=1, overwrite=True, **asdict(LOSSES[algorithm]),
        )
    )  # fmt: skip


def sample_groups(rl: RLConfig, policy: str, seed: int, tokens: int) -> list[list[Solution]]:
    """The whole solutions of each problem of RL's pool that is sampled before ``tokens`` are spent."""
    prepare_torch(seed, 1)
    tokenizer = load_tokenizer(policy)
    engine = open_engine(rl.engine, policy, tokenizer, dtype=rl.dtype, batch=rl.engine_batch)
    problems = load_pool(rl.problems, rl.pool)
    sampling = replace(rl.sampling, n=SAMPLES)
    groups: list[list[Solution]] = []
    spent = chunk = 0
    with progress(f"pairs, seed {seed}", tokens) as bar:
        while spent < tokens:
            asked = draw(problems, CHUNK, seed, chunk)
            drawn = sample_solutions(engine, tokenizer, asked, sampling, seed * 1_000_003 + chunk, rl.prompt)
            new = sum(len(completion.token_ids) for _, completion in drawn)
            bar.advance(min(new, tokens - spent))
            spent, chunk = spent + new, chunk + 1
            for group in in_groups(drawn, SAMPLES):
                groups.append([s for s, completion in group if completion.finish == "stop"])
    return groups


@cache
def load_pool(config: ProblemsConfig, count: int | None) -> list[Problem]:
    """RL's training problems: once for all rounds, each of which takes less time than making them."""
    return [e.problem for e in load_problems(config, "train", count, stream=3)]


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


def right_against_wrong_steps(solutions: Sequence[Solution]) -> list[dict[str, str]]:
    """At most ``MOST`` pairs of steps after one beginning, by the exact check of each step."""
    pairs = step_pairs([symbolic_labels(s, is_built_in(s.problem)) for s in solutions])
    return [
        {"prompt": p.question, "prefix": p.prefix or "", "chosen": p.chosen, "rejected": p.rejected}
        for p in pairs[:MOST]
    ]
