"""What judging costs beside sampling, by batch and while other rollouts are still sampled.

    python -m benchmarks.streaming runs/demo --rounds 20 --batch 16

From the SFT policy and the PRM of a demo's folder: the acting half of a step of PPO (sample, verify, score steps) with
``overlap`` off and on, in turn, on the same problems, ``--batch`` sequences at once and one thread each for sampling
and judging. Seconds are medians over rounds. Needs two cores that nobody else uses.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lm.config import load
from lm.models import load_causal_lm, load_tokenizer
from lm.torch_setup import prepare_torch
from prm.problems import load_problems
from prm.scorer import score_each
from rl.act import Actor
from rl.ahead import Clock
from rl.config import RLConfig
from rung.ladder import Ladder, stage
from verifiers.pool import verify_many


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--batch", type=int, default=16)
    arguments = parser.parse_args()
    base: RLConfig = stage(replace(load(Ladder, None), folder=arguments.demo), "ppo")
    base = replace(base, engine_batch=arguments.batch)
    prepare_torch(0, 1)
    tokenizer, policy = load_tokenizer(base.policy), load_causal_lm(base.policy)
    problems = [e.problem for e in load_problems(base.problems, "train", 2000, stream=3)]
    actors = {o: Actor(replace(base, overlap=o), tokenizer, problems, policy, policy) for o in (False, True)}
    scorer: Any = actors[False].prm
    times: dict[str, list[float]] = {}
    for step in range(arguments.rounds + 1):
        for overlap, actor in actors.items():
            clock, began = Clock(), time.perf_counter()
            acted = actor.act(step, policy, clock)
            took = clock.seconds | {"all": time.perf_counter() - began}
            for part, seconds in took.items() if step else ():
                times.setdefault(f"overlap={overlap}: {part}", []).append(seconds)
        solutions = [r.solution for r in acted.collected.rollouts]
        began = time.perf_counter()
        verify_many(solutions)
        verified = time.perf_counter()
        score_each(scorer, solutions)
        scored = time.perf_counter()
        if step:
            times.setdefault("alone: verify", []).append(verified - began)
            times.setdefault("alone: score", []).append(scored - verified)
    for name, row in times.items():
        print(f"{name:24} {np.median(row):.4f} s")


if __name__ == "__main__":
    main()
