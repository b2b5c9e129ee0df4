"""The learning bar: does process PPO learn, and does it learn faster than outcome PPO on the same sampled tokens?

    python -m benchmarks.learning --seeds 5 --folder runs/learning

Trains one SFT policy and one PRM, then for each seed the two arms of PPO on one token budget, side by side, one thread
each; evaluates all on the same 1,000 test problems; prints a Markdown table for benchmarks/RESULTS.md. Arms that are
there already are not trained again.
"""

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lm.checkpoint import write_atomic
from lm.config import load
from lm.run import read_metrics
from rung.demo import climb_to_prm, run_side_by_side
from rung.evaluate import greedy_outcomes
from rung.ladder import Ladder, stage
from rung.statistics import Difference, mean_interval_over_seeds, paired_bootstrap

ARMS = ("process", "outcome")


@dataclass(frozen=True)
class SeedResult:
    """One seed: greedy accuracy (P,) of each arm on the test problems, and each arm's learning curve."""

    process: np.ndarray
    outcome: np.ndarray
    tokens: dict[str, int]
    tokens_to_reach: float | None  # by process PPO, to outcome PPO's final validation accuracy; None: it never did


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/learning"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=100_000, help="token budget of each arm")
    parser.add_argument("overrides", nargs="*", help="key=value of the ladder, for example ppo.credit.form=delta")
    arguments = parser.parse_args()
    ladder = replace(load(Ladder, None, arguments.overrides), folder=arguments.folder)
    climb_to_prm(replace(ladder, resume=True))
    for seed in range(arguments.seeds):
        train_seed(ladder, seed, arguments.tokens)
    report(ladder, arguments.seeds, arguments.tokens)


def train_seed(ladder: Ladder, seed: int, tokens: int) -> None:
    """Both arms of one seed, side by side."""
    process = replace(
        stage(ladder, "ppo"), seed=seed, token_budget=tokens, steps=100_000, threads=1, eval_problems=1000
    )
    arms = []
    for arm in ARMS:
        form = process.credit.form if arm == "process" else "outcome"
        folder = ladder.folder / f"ppo-{arm}-{seed}"
        if not (folder / "model").exists():
            arms.append(replace(process, credit=replace(process.credit, form=form), folder=folder, overwrite=True))
    if arms:
        run_side_by_side(arms)


def curve(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """(tokens sampled, greedy validation accuracy) where it was measured."""
    rows = [row for row in read_metrics(folder) if "eval_accuracy" in row]
    return np.array([row["sampled_tokens"] for row in rows]), np.array([row["eval_accuracy"] for row in rows])


def tokens_to_reach(tokens: np.ndarray, accuracy: np.ndarray, target: float) -> float | None:
    """Tokens at which the curve, linear between its points, first reaches ``target``; None if it never does."""
    above = np.flatnonzero(accuracy >= target)
    if not above.size:
        return None
    i = int(above[0])
    if i == 0:
        return float(tokens[0])
    share = (target - accuracy[i - 1]) / (accuracy[i] - accuracy[i - 1])
    return float(tokens[i - 1] + share * (tokens[i] - tokens[i - 1]))


def report(ladder: Ladder, seeds: int, budget: int) -> None:
    config = stage(ladder, "eval")
    start = greedy_outcomes(str(ladder.folder / "sft/model"), config)
    results = []
    for seed in range(seeds):
        folders = {arm: ladder.folder / f"ppo-{arm}-{seed}" for arm in ARMS}
        curves = {arm: curve(folder) for arm, folder in folders.items()}
        reached = tokens_to_reach(*curves["process"], float(curves["outcome"][1][-1]))
        accuracies = {arm: greedy_outcomes(str(folder / "model"), config) for arm, folder in folders.items()}
        used = {arm: int(tokens[-1]) for arm, (tokens, _) in curves.items()}
        results.append(SeedResult(accuracies["process"], accuracies["outcome"], used, reached))

    print(f"\nSFT start: greedy {100 * start.mean():.1f} % on {len(start)} test problems\n")
    print("| seed | outcome % | process % | process − SFT [95 %] | process − outcome [95 %] | tokens to match |")
    print("|---|---|---|---|---|---|")
    for seed, r in enumerate(results):
        gain, gap = paired_bootstrap(r.process, start, seed), paired_bootstrap(r.process, r.outcome, seed)
        share = "never" if r.tokens_to_reach is None else f"{r.tokens_to_reach / r.tokens['outcome']:.2f}"
        means = f"{100 * r.outcome.mean():.1f} | {100 * r.process.mean():.1f}"
        print(f"| {seed} | {means} | {_points(gain)} | {_points(gap)} | {share} |")
    gains = mean_interval_over_seeds([100 * (r.process.mean() - start.mean()) for r in results])
    outcome_gains = mean_interval_over_seeds([100 * (r.outcome.mean() - start.mean()) for r in results])
    gaps = mean_interval_over_seeds([100 * (r.process.mean() - r.outcome.mean()) for r in results])
    print(f"\nover {seeds} seeds, {budget:,} sampled tokens an arm, t-intervals at 95 %:")
    print(f"process − SFT {gains.mean:+.1f} [{gains.low:+.1f}, {gains.high:+.1f}] points")
    print(f"outcome − SFT {outcome_gains.mean:+.1f} [{outcome_gains.low:+.1f}, {outcome_gains.high:+.1f}] points")
    print(f"process − outcome {gaps.mean:+.1f} [{gaps.low:+.1f}, {gaps.high:+.1f}] points")
    shares = [r.tokens_to_reach / r.tokens["outcome"] for r in results if r.tokens_to_reach is not None]
    if shares:
        s = mean_interval_over_seeds(shares)
        print(
            f"share of outcome's tokens that process needs to match it: {s.mean:.2f} [{s.low:.2f}, {s.high:.2f}]",
            end="",
        )
        print(f" ({len(shares)} of {seeds} seeds reached it)")
    found = {"process": [r.process.mean() for r in results], "outcome": [r.outcome.mean() for r in results]}
    found |= {"sft": [start.mean()], "share_of_tokens": shares}
    write_atomic(ladder.folder / "learning.json", json.dumps(found, indent=1) + "\n")


def _points(d: Difference) -> str:
    return f"{100 * d.mean:+.1f} [{100 * d.low:+.1f}, {100 * d.high:+.1f}]"


if __name__ == "__main__":
    main()
