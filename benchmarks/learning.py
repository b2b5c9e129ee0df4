"""The learning bar: does every algorithm learn, and do process rewards need fewer tokens than outcomes?

    python -m benchmarks.learning --folder runs/learning         # PPO and GRPO in both forms, the others in one
    python -m benchmarks.learning --both ppo --one --seeds 5 --tokens 100000

Trains one SFT policy and one PRM; from there, for each algorithm (a file in configs/rl) and seed, an arm with step
rewards and, for those in --both, one with credit.form=outcome, all on one budget of sampled tokens and 64 rollouts an
update; and with as many tokens, what needs no policy gradient: DPO and its kin on pairs, and expert iteration.
Evaluates every arm on the same 1,000 test problems and prints Markdown for benchmarks/RESULTS.md. Two arms of RL run at
once, one thread each. Arms that are there already are not trained again.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.learning_verdicts import ALGORITHMS, train_arm
from lm.checkpoint import write_atomic
from lm.config import load
from lm.run import read_metrics
from rl.config import RLConfig
from rung.demo import climb_to_prm, run_side_by_side
from rung.evaluate import greedy_outcomes
from rung.ladder import Ladder, stage
from rung.statistics import Difference, Interval, mean_interval_over_seeds, paired_bootstrap

CONFIGS = Path(__file__).resolve().parents[1] / "configs/rl"
ROLLOUTS = 64  # an update: many small updates learn more from the same tokens


@dataclass(frozen=True)
class Arm:
    """One run: its algorithm, form and seed, greedy accuracy (P,) on the test problems, and its learning curve."""

    algorithm: str
    form: str
    seed: int
    accuracy: np.ndarray
    curve: tuple[np.ndarray, np.ndarray]

    @property
    def percent(self) -> float:
        return 100 * float(self.accuracy.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/learning"))
    parser.add_argument("--both", nargs="*", default=["ppo", "grpo"], help="algorithms with step rewards and without")
    parser.add_argument("--seeds", type=int, default=5, help="of each of --both")
    others = ["dr_grpo", "rloo", "reinforce_pp", "dapo", "gspo"]
    parser.add_argument("--one", nargs="*", default=others, help="algorithms with step rewards alone")
    parser.add_argument("--one-seeds", type=int, default=3, help="of each of --one")
    parser.add_argument(
        "--verdicts",
        nargs="*",
        choices=ALGORITHMS,
        default=ALGORITHMS,
        help="without a policy gradient, --one-seeds each",
    )
    parser.add_argument("--tokens", type=int, default=60_000, help="token budget of each arm")
    parser.add_argument("overrides", nargs="*", help="key=value of the ladder, for example prm.fit.steps=600")
    arguments = parser.parse_args()
    ladder = replace(load(Ladder, None, arguments.overrides), folder=arguments.folder)
    climb_to_prm(replace(ladder, resume=True))

    paired = [
        (a, form, seed) for a in arguments.both for seed in range(arguments.seeds) for form in ("process", "outcome")
    ]
    alone = [(a, "process", seed) for a in arguments.one for seed in range(arguments.one_seeds)]
    runs = {arm: arm_config(ladder, *arm, arguments.tokens) for arm in paired + alone}
    missing = [config for config in runs.values() if not (config.folder / "model").exists()]
    for i in range(0, len(missing), 2):
        run_side_by_side(missing[i : i + 2])

    learnt = [(a, seed) for a in arguments.verdicts for seed in range(arguments.one_seeds)]
    folders = {
        (a, "process" if a == "step_dpo" else "verdict", seed): train_arm(ladder, a, seed, arguments.tokens)
        for a, seed in learnt
    }

    evaluation = stage(ladder, "eval")
    start = greedy_outcomes(str(ladder.folder / "sft/model"), evaluation)
    arms = [
        Arm(*arm, greedy_outcomes(str(config.folder / "model"), evaluation), curve(config.folder))
        for arm, config in runs.items()
    ]
    none = np.array([])
    arms += [Arm(*arm, greedy_outcomes(str(path / "model"), evaluation), (none, none)) for arm, path in folders.items()]
    print(f"\nSFT start: greedy {100 * start.mean():.1f} % on {len(start)} test problems\n")
    print_gains(arms, start, arguments.tokens)
    print_pairs(arms)
    found = [{"algorithm": a.algorithm, "form": a.form, "seed": a.seed, "greedy": a.percent} for a in arms]
    write_atomic(ladder.folder / "learning.json", json.dumps(found, indent=1) + "\n")


def arm_config(ladder: Ladder, algorithm: str, form: str, seed: int, tokens: int) -> RLConfig:
    """``configs/rl/ALGORITHM.yaml`` on the ladder's models; ``ALGORITHM_process.yaml`` where steps have their own."""
    own = CONFIGS / f"{algorithm}_{form}.yaml"
    rl = load(RLConfig, own if own.exists() else CONFIGS / f"{algorithm}.yaml")
    credit = rl.credit if form == "process" else replace(rl.credit, form="outcome")
    config: RLConfig = stage(replace(ladder, ppo=replace(rl, credit=credit)), "ppo")
    return replace(
        config, folder=ladder.folder / f"{algorithm}-{form}-{seed}", seed=seed, token_budget=tokens, steps=100_000,
        problems_per_step=ROLLOUTS // rl.sampling.n, eval_every=4, eval_problems=500, threads=1, overwrite=True,
    )  # fmt: skip


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


def share_of_tokens(process: Arm, outcome: Arm, target: float) -> float | None:
    """Tokens that ``process`` takes to ``target``, as a share of those that ``outcome`` takes; None: never."""
    needed, tokens = tokens_to_reach(*process.curve, target), tokens_to_reach(*outcome.curve, target)
    return None if needed is None or tokens is None else needed / tokens


def print_gains(arms: Sequence[Arm], start: np.ndarray, budget: int) -> None:
    """Every algorithm against SFT, over its seeds."""
    print(f"{budget:,} sampled tokens an arm; t-intervals at 95 % over seeds\n")
    print("| algorithm | credit | seeds | greedy %, mean | − SFT, points [95 %] |")
    print("|---|---|---|---|---|")
    for algorithm, form in dict.fromkeys((a.algorithm, a.form) for a in arms):
        percents = [a.percent for a in arms if (a.algorithm, a.form) == (algorithm, form)]
        gain = mean_interval_over_seeds([p - 100 * start.mean() for p in percents])
        print(f"| {algorithm} | {form} | {len(percents)} | {np.mean(percents):.1f} | {_interval(gain, '+.1f')} |")


def print_pairs(arms: Sequence[Arm]) -> None:
    """Process against outcome, seed by seed and over seeds.

    A share is of the tokens that outcome took to the same accuracy: that at its end, and the best of its curve.
    """
    by_name = {(a.algorithm, a.form, a.seed): a for a in arms}
    pairs = [(a, by_name[a.algorithm, "outcome", a.seed]) for a in arms if (a.algorithm, "outcome", a.seed) in by_name]
    pairs = [(process, outcome) for process, outcome in pairs if process is not outcome]
    if not pairs:
        return
    print("\n| algorithm | seed | outcome % | process % | process − outcome [95 %] | share to its end | to its best |")
    print("|---|---|---|---|---|---|---|")
    gaps: dict[str, list[float]] = {}
    shares: dict[str, list[list[float | None]]] = {}
    for process, outcome in pairs:
        accuracy = outcome.curve[1]
        gap = paired_bootstrap(process.accuracy, outcome.accuracy, process.seed)
        both = [
            share_of_tokens(process, replace(outcome, curve=last(outcome.curve)), float(accuracy[-1])),
            share_of_tokens(process, outcome, float(accuracy.max())),
        ]
        cells = [process.algorithm, process.seed, f"{outcome.percent:.1f}", f"{process.percent:.1f}", _points(gap)]
        print("| " + " | ".join(map(str, cells)) + " | " + " | ".join(_share(x) for x in both) + " |")
        gaps.setdefault(process.algorithm, []).append(100 * gap.mean)
        shares.setdefault(process.algorithm, []).append(both)
    for algorithm, values in gaps.items():
        print(f"\n{algorithm}: process − outcome {_interval(mean_interval_over_seeds(values), '+.1f')} points", end="")
        for name, column in zip(("end", "best point"), zip(*shares[algorithm], strict=True), strict=True):
            reached = [x for x in column if x is not None]
            if len(reached) > 1:
                mean = _interval(mean_interval_over_seeds(reached), ".2f")
                print(f"; share of tokens to outcome's {name} {mean} ({len(reached)} of {len(column)} seeds)", end="")
    print()


def last(curve: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The last point of a curve alone: its tokens are the whole budget, though it had been there before."""
    return curve[0][-1:], curve[1][-1:]


def _interval(x: Interval, form: str) -> str:
    return f"{x.mean:{form}} [{x.low:{form}}, {x.high:{form}}]"


def _points(d: Difference) -> str:
    return f"{100 * d.mean:+.1f} [{100 * d.low:+.1f}, {100 * d.high:+.1f}]"


def _share(x: float | None) -> str:
    return "never" if x is None else f"{x:.2f}"


if __name__ == "__main__":
    main()
