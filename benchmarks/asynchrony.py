"""Sampling in turn with learning, and ahead of it in a process of its own: seconds an update, and what is learnt.

    python -m benchmarks.asynchrony runs/demo --steps 40 --seeds 3

From the SFT policy and the PRM of a demo's folder, for each seed a run of PPO with staleness=0, 1 and 2, one thread a
process, one run at a time. What an update must cost with everything overlapped is the larger of sampling (with judging)
and learning; in turn it costs their sum. Needs two cores that nobody else uses.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from lm.config import load
from lm.run import read_metrics, read_timing
from rl.config import RLConfig
from rl.train import train
from rung.ladder import Ladder, stage
from rung.statistics import mean_interval_over_seeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("runs/asynchrony"))
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--staleness", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    base: RLConfig = stage(replace(load(Ladder, None), folder=arguments.demo), "ppo")
    print("| staleness | sample, judge, s | learn, s | update, s | of the sum | of the larger | greedy % |")
    print("|---|---|---|---|---|---|---|")
    for staleness in arguments.staleness:
        folders = []
        for seed in range(arguments.seeds):
            folder = arguments.folder / f"staleness-{staleness}-{seed}"
            train(
                replace(
                    base,
                    folder=folder,
                    seed=seed,
                    staleness=staleness,
                    steps=arguments.steps,
                    threads=1,
                    eval_every=arguments.steps,
                    eval_problems=500,
                    overwrite=True,
                    advantage=replace(base.advantage, importance="token"),
                )
            )
            folders.append(folder)
        print(row(staleness, folders), flush=True)


def row(staleness: int, folders: list[Path]) -> str:
    """One line of the table; seconds are medians over the steps after the first, evaluation left out."""
    times = [line for folder in folders for line in read_timing(folder)[1:]]
    place = "ahead: " if staleness else ""
    act = np.array([sum(line.get(place + part, 0.0) for part in ("weights", "sample", "judge")) for line in times])
    learn = np.array([line["credit"] + line["learn"] for line in times])
    update = np.array([line["total"] - line.get("evaluate", 0.0) for line in times])
    ends = [100 * read_metrics(folder)[-1]["eval_accuracy"] for folder in folders]
    greedy = f"{ends[0]:.1f}"
    if len(ends) > 1:
        mean = mean_interval_over_seeds(ends)
        greedy = f"{mean.mean:.1f} [{mean.low:.1f}, {mean.high:.1f}]"
    a, b, whole = np.median(act), np.median(learn), np.median(update)
    cells = [staleness, *(f"{x:.2f}" for x in (a, b, whole, whole / (a + b), whole / max(a, b))), greedy]
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    main()
