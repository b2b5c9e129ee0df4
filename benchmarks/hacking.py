"""A policy that hacks its reward model on purpose, and the same run with a remedy: does the report tell them apart?

    python -m benchmarks.hacking --demo runs/demo --folder runs/hacking --seeds 3

Trains configs/rl/hack.yaml and configs/rl/hack_remedied.yaml for each seed on the SFT policy and the PRM of a demo's
folder (which is climbed to its PRM first where they are missing), writes report.html, and prints how the runs began and
ended, over seeds, and the alarms of each. With --also it trains two more arms: hack.yaml with a PRM that is refreshed,
and with an ensemble of two. Exits with 1 unless every hack raises an alarm about the reward and no remedied run raises
any. An arm that is there already is gone on with.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lm.config import load
from lm.run import read_metrics
from prm.train import train as train_prm
from rl.alarms import Alarm, History, Row, alarms
from rl.config import RLConfig
from rl.train import train
from rung.demo import climb_to_prm
from rung.ladder import Ladder, stage
from rung.report import write_report
from rung.statistics import mean_interval_over_seeds

CONFIGS = Path(__file__).parents[1] / "configs" / "rl"
TELLING = {"step inflation", "length inflation", "over-optimisation"}
SHOWN = (
    "reward", "accuracy", "steps_per_solution", "response_length", "repeated_steps", "truncated", "prm_auc", "kl"
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=Path("runs/demo"), help="a demo's folder, with sft/ and prm/")
    parser.add_argument("--folder", type=Path, default=Path("runs/hacking"))
    parser.add_argument("--seeds", type=int, default=1, help="of each arm")
    parser.add_argument("--also", action="store_true", help="hack.yaml with a refreshed PRM and with two PRMs too")
    parser.add_argument("overrides", nargs="*", help="key=value of every run, for example threads=1")
    arguments = parser.parse_args()
    ladder = replace(Ladder(), folder=arguments.demo, resume=True)
    climb_to_prm(ladder)
    arms: dict[str, tuple[str, list[str]]] = {"hack": ("hack", []), "remedied": ("hack_remedied", [])}
    if arguments.also:
        arms |= also(ladder, arguments.folder)
    runs: dict[str, list[list[Row]]] = {name: [] for name in arms}
    for seed in range(arguments.seeds):
        for name, (config, keys) in arms.items():
            folder = arguments.folder / f"ppo-{name}-{seed}"
            shared = [f"policy={arguments.demo / 'sft/model'}", f"prm={arguments.demo / 'prm/model'}", f"seed={seed}"]
            given = [*shared, f"folder={folder}", "resume=true", *keys, *arguments.overrides]
            train(load(RLConfig, CONFIGS / f"{config}.yaml", given))
            runs[name].append(read_metrics(folder))
    for name, found in runs.items():
        print(f"\n{name}: {len(found)} seeds, means of the first and of the last eight steps\n\n{table(found)}\n")
        print("\n".join(f"seed {seed}: {told(rows)}" for seed, rows in enumerate(found)))
    print(f"\nreport: {write_report(arguments.folder)}")
    return 0 if as_it_must(runs) else 1


def also(ladder: Ladder, folder: Path) -> dict[str, tuple[str, list[str]]]:
    """hack.yaml with the two remedies that change the PRM alone; the second PRM of the ensemble is trained first."""
    second = replace(stage(replace(ladder, seed=1), "prm"), folder=folder / "prm-1")
    train_prm(second)
    return {
        "refreshed": ("hack", ["prm_refresh.every=1"]),
        "ensemble": ("hack", [f"reading.also=[{second.folder / 'model'}]", "reading.combine=min"]),
    }


def as_it_must(runs: Mapping[str, Sequence[Sequence[Row]]]) -> bool:
    """Whether every hack raises an alarm about the reward, and no remedied run any."""
    raised = {name: [{alarm.name for alarm in alarms(rows)} for rows in found] for name, found in runs.items()}
    return all(names & TELLING for names in raised["hack"]) and not any(raised["remedied"])


def table(runs: Sequence[Sequence[Row]]) -> str:
    """The mean over seeds of what each run's first and last eight steps were, and of its evaluations."""
    lines = ["| | first | last |", "|---|---|---|"]
    for metric in SHOWN:
        histories = [History(rows) for rows in runs]
        ends = [h.start(metric) for h in histories], [h.mean(metric)[-1] for h in histories]
        lines.append(f"| {metric} | {over_seeds(ends[0])} | {over_seeds(ends[1])} |")
    evaluated = [[row["eval_accuracy"] for row in rows if "eval_accuracy" in row] for rows in runs]
    ends = [values[0] for values in evaluated], [values[-1] for values in evaluated]
    return "\n".join([*lines, f"| eval_accuracy | {over_seeds(ends[0])} | {over_seeds(ends[1])} |"])


def over_seeds(values: Sequence[float]) -> str:
    found = mean_interval_over_seeds(values)
    return f"{found.mean:.2f}" + (f" [{found.low:.2f}, {found.high:.2f}]" if np.isfinite(found.low) else "")


def told(rows: Sequence[Row]) -> str:
    return "; ".join(map(sentence, alarms(rows))) or "no alarm"


def sentence(alarm: Alarm) -> str:
    return f"{alarm.name} at step {alarm.step} ({alarm.text})"


if __name__ == "__main__":
    raise SystemExit(main())
