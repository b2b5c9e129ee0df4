"""Sampling in turn with learning, and ahead of it in a process of its own: seconds an update, and what is learnt.

    python -m benchmarks.asynchrony runs/demo --steps 40 --seeds 3

From the SFT policy and the PRM of a demo's folder, for each seed a run of PPO with staleness=0, 1 and 2, one thread a
process, one run at a time. What an update must cost with everything overlapped is the larger of sampling (with judging)
and learning; in turn it costs their sum. Needs two cores that nobody else uses. Stopped and started again, it goes on
with the runs that are there. The second table compares what is learnt: greedy accuracy on 500 validation problems, the
same for all, over the run; a difference is of runs with the same seed, its interval over seeds.
"""

import argparse
from collections.abc import Sequence
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
    folders: dict[int, list[Path]] = {}
    for staleness in arguments.staleness:
        for seed in range(arguments.seeds):
            folder = arguments.folder / f"staleness-{staleness}-{seed}"
            config = replace(
                base, folder=folder, seed=seed, staleness=staleness, steps=arguments.steps, threads=1, save_every=5,
                eval_every=max(1, arguments.steps // 4), eval_problems=500, resume=(folder / "metrics.jsonl").exists(),
                advantage=replace(base.advantage, importance="token"),
            )  # fmt: skip
            if not (folder / "model").exists():
                train(config)
            folders.setdefault(staleness, []).append(folder)
    print("| staleness | sample, judge, s | learn, s | update, s | of the sum | of the larger |")
    print("|---|---|---|---|---|---|")
    for staleness, runs in folders.items():
        print(f"| {staleness} | {' | '.join(f'{x:.2f}' for x in seconds(staleness, runs))} |")
    curves = {staleness: [curve(folder) for folder in runs] for staleness, runs in folders.items()}
    steps, _ = curves[arguments.staleness[0]][0]
    first = [values for _, values in curves[arguments.staleness[0]]]
    print(f"\n| greedy %, mean of {arguments.seeds} seeds; updates before it: | {' | '.join(map(str, steps))} | mean |")
    print("|---|" + "---|" * (len(steps) + 1))
    for staleness, found in curves.items():
        values = [row for _, row in found]
        cells = [f"{x:.1f}" for x in (*np.mean(values, 0), np.mean(values))]
        print(f"| staleness {staleness} | {' | '.join(cells)} |")
        if staleness != arguments.staleness[0] and arguments.seeds > 1:
            differ = np.array(values) - np.array(first)
            cells = [interval(column) for column in (*differ.T, differ.mean(1))]
            print(f"| − staleness {arguments.staleness[0]} [95 %] | {' | '.join(cells)} |")


def seconds(staleness: int, folders: Sequence[Path]) -> tuple[float, ...]:
    """Medians over the steps after the first, evaluation left out: sampling and judging, learning, the whole update,
    and the update as a share of the sum and of the larger of the two."""
    times = [line for folder in folders for line in read_timing(folder)[1:]]
    place = "ahead: " if staleness else ""
    act = np.median([sum(line.get(place + part, 0.0) for part in ("weights", "sample", "judge")) for line in times])
    learn = np.median([line["credit"] + line["learn"] for line in times])
    update = np.median([line["total"] - line.get("evaluate", 0.0) for line in times])
    return act, learn, update, update / (act + learn), update / max(act, learn)


def curve(folder: Path) -> tuple[list[int], list[float]]:
    """(updates before each evaluation, greedy accuracy there in per cent)."""
    rows = [row for row in read_metrics(folder) if "eval_accuracy" in row]
    return [row["step"] + 1 for row in rows], [100 * row["eval_accuracy"] for row in rows]


def interval(values: Sequence[float]) -> str:
    found = mean_interval_over_seeds(list(values))
    return f"{found.mean:+.1f} [{found.low:+.1f}, {found.high:+.1f}]"


if __name__ == "__main__":
    main()
