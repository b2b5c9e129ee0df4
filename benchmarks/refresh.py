"""Does a PRM that keeps learning help a policy that outwits one that stays as it was?

    python -m benchmarks.refresh --demo runs/demo --folder runs/refresh
    python -m benchmarks.refresh --algorithm gspo --seeds 5 prm_refresh.every=1

Trains an algorithm with step rewards, as benchmarks.learning has it, twice for each seed from the SFT policy and the
PRM of a demo's folder (which is climbed to its PRM first where they are missing): with that PRM, and with a refresh on
the rollouts of the run, on one budget of sampled tokens. Evaluates all on the same 1,000 test problems and prints
Markdown for benchmarks/RESULTS.md. ``key=value`` are of the refreshed arms alone. An arm that is there is gone on with.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import prm
from benchmarks.learning import arm_config, curve
from lm.config import load, to_dict
from lm.engine import Sampling
from lm.run import read_metrics
from prm.labelling import symbolic_labels
from prm.metrics import auc
from prm.problems import load_problems
from prm.scores import LabeledSolution, judged_steps
from prm.train import readable
from rl.alarms import History
from rl.config import RLConfig
from rl.train import train
from rung.demo import climb_to_prm
from rung.evaluate import Policy, greedy_outcomes
from rung.ladder import Ladder, stage
from rung.statistics import interval_over_seeds_and_problems, paired_bootstrap

REFRESH = ("prm_refresh.every=5", "prm_refresh.optim.lr=0.001")


@dataclass(frozen=True)
class Ended:
    """A run at its end: greedy accuracy (P,) on the test problems, the best and the last point of its validation curve,
    the mean KL of its last eight steps and, on fresh samples, the step AUC of the PRM as it was and as it ended."""

    right: np.ndarray
    best: float
    last: float
    kl: float
    auc_first: float
    auc_own: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=Path("runs/demo"), help="a demo's folder, with sft/ and prm/")
    parser.add_argument("--folder", type=Path, default=Path("runs/refresh"))
    parser.add_argument("--algorithm", default="dr_grpo", help="a file of configs/rl")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=60_000, help="token budget of each arm")
    parser.add_argument("overrides", nargs="*", default=REFRESH, help="key=value of the refreshed arms")
    arguments = parser.parse_args()
    ladder = Ladder(folder=arguments.demo)
    climb_to_prm(replace(ladder, resume=True))
    print("| seed | PRM | greedy % | validation %, best | last | KL | step AUC of the first PRM | of its own |")
    print("|---|---|---|---|---|---|---|---|")
    gaps = []
    for seed in range(arguments.seeds):
        found = {}
        frozen = arm_config(ladder, arguments.algorithm, "process", seed, arguments.tokens)
        for name, keys in (("frozen", []), ("refreshed", arguments.overrides)):
            folder = arguments.folder / f"{arguments.algorithm}-{name}-{seed}"
            train(load(RLConfig, to_dict(frozen), [f"folder={folder}", "resume=true", "overwrite=false", *keys]))
            found[name] = ended(folder, frozen.prm, ladder)
            print(f"| {seed} | {name} | {described(found[name])} |", flush=True)
        gaps.append(found["refreshed"].right - found["frozen"].right)
    print()
    for seed, gap in enumerate(gaps):
        apart = paired_bootstrap(gap, np.zeros(len(gap)), seed)
        print(f"seed {seed}: refreshed − frozen {points(apart.mean, apart.low, apart.high)}")
    if len(gaps) > 1:
        over = interval_over_seeds_and_problems(gaps)
        print(f"{len(gaps)} seeds: refreshed − frozen {points(over.mean, over.low, over.high)}")


def ended(folder: Path, first: str, ladder: Ladder) -> Ended:
    """What became of the run in ``folder``, which began with the PRM ``first``."""
    evaluation, accuracy = stage(ladder, "eval"), curve(folder)[1]
    problems = [e.problem for e in load_problems(evaluation.problems, "test", evaluation.count, stream=9)]
    one = Sampling(max_tokens=evaluation.sampling.max_tokens)
    drawn = Policy(folder.name, str(folder / "model"), evaluation).solve(problems, one, evaluation.seed)
    labelled = [symbolic_labels(solution, built_in=True) for solution in drawn]
    own = str(folder / "prm") if (folder / "prm").exists() else first
    return Ended(
        greedy_outcomes(str(folder / "model"), evaluation), accuracy.max(), accuracy[-1],
        History(read_metrics(folder)).mean("kl")[-1], *(step_auc(name, labelled) for name in (first, own)),
    )  # fmt: skip


def step_auc(name: str, labelled: Sequence[LabeledSolution]) -> float:
    """AUC of the PRM at ``name`` on labelled steps, of the solutions that it can read."""
    scorer = prm.load(name)
    some = readable(scorer, labelled, name)
    return auc(*judged_steps(scorer.score([item.solution for item in some]), some))


def described(end: Ended) -> str:
    shares = [f"{100 * share:.1f}" for share in (end.right.mean(), end.best, end.last)]
    return " | ".join([*shares, f"{end.kl:.1f}", f"{end.auc_first:.3f}", f"{end.auc_own:.3f}"])


def points(mean: float, low: float, high: float) -> str:
    return f"{100 * mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] points"


if __name__ == "__main__":
    main()
