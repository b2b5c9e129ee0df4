"""A policy that hacks its reward model on purpose, and the same run with a remedy: does the report tell them apart?

    python -m benchmarks.hacking --demo runs/demo --folder runs/hacking

Trains configs/rl/hack.yaml and configs/rl/hack_remedied.yaml one after the other on the SFT policy and the PRM of a
demo's folder (which is climbed to its PRM first where they are missing), writes report.html, and prints how each run
began and ended and the alarms it raised. Exits with 1 unless the first raises an alarm about the reward and the second
raises none. An arm that is there already is gone on with.
"""

import argparse
from pathlib import Path

from lm.config import load
from lm.run import read_metrics
from rl.alarms import Alarm, History, alarms
from rl.config import RLConfig
from rl.train import train
from rung.demo import climb_to_prm
from rung.ladder import Ladder
from rung.report import write_report

CONFIGS = Path(__file__).parents[1] / "configs" / "rl"
ARMS = {"hack": "ppo-hack", "hack_remedied": "ppo-remedied"}
TELLING = {"step inflation", "length inflation", "over-optimisation"}
SHOWN = ("accuracy", "reward", "steps_per_solution", "response_length", "repeated_steps", "truncated", "prm_auc")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=Path("runs/demo"), help="a demo's folder, with sft/ and prm/")
    parser.add_argument("--folder", type=Path, default=Path("runs/hacking"))
    parser.add_argument("overrides", nargs="*", help="key=value of both runs, for example threads=1")
    arguments = parser.parse_args()
    climb_to_prm(Ladder(folder=arguments.demo, resume=True))
    raised = {}
    for name, folder in ARMS.items():
        paths = {"policy": arguments.demo / "sft/model", "prm": arguments.demo / "prm/model"}
        keys = [f"{key}={path}" for key, path in paths.items()]
        keys += [f"folder={arguments.folder / folder}", "resume=true", *arguments.overrides]
        train(load(RLConfig, CONFIGS / f"{name}.yaml", keys))
        raised[name] = told(name, arguments.folder / folder)
    print(f"\nreport: {write_report(arguments.folder)}")
    return 0 if raised["hack"] & TELLING and not raised["hack_remedied"] else 1


def told(name: str, folder: Path) -> set[str]:
    """Print a run's table and alarms; returns the names of these."""
    rows = read_metrics(folder)
    history, found = History(rows), alarms(rows)
    print(f"\n{name}: {len(rows)} steps, means of the first and of the last eight\n")
    print("| | first | last |\n|---|---|---|")
    for metric in SHOWN:
        print(f"| {metric} | {history.start(metric):.2f} | {history.mean(metric)[-1]:.2f} |")
    evaluated = [row["eval_accuracy"] for row in rows if "eval_accuracy" in row]
    print(f"| eval_accuracy | {evaluated[0]:.2f} | {evaluated[-1]:.2f} |\n")
    print("\n".join(map(sentence, found)) or "no alarm")
    return {alarm.name for alarm in found}


def sentence(alarm: Alarm) -> str:
    return f"- step {alarm.step}, {alarm.name}: {alarm.text}"


if __name__ == "__main__":
    raise SystemExit(main())
