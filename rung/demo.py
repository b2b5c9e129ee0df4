"""``rung demo``: every stage of a ladder, one after the other, to a report; on built-in problems in minutes."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

from lm.checkpoint import write_atomic
from lm.config import to_yaml
from lm.errors import UserError
from lm.progress import progress
from lm.run import read_metrics
from lm.signals import stop_signals
from prm.label import label
from prm.train import train as train_prm
from rl.config import RLConfig
from rl.train import train as train_ppo
from rung.evaluate import evaluate
from rung.ladder import Ladder, stage
from rung.pipeline import resumable, run_pipeline, to_do
from rung.sft import train as train_sft

# What a stage leaves when it is done; a resumed ladder does not do it again.
_LEAVES = {"sft": "sft/model", "label": "labels/summary.json", "prm": "prm/model", "eval": "eval/summary.json"}


def main(ladder: Ladder) -> None:
    """Run the ladder, print the final table and where the report is."""
    run_pipeline(ladder, climb)


def climb(ladder: Ladder) -> dict:
    """Every stage that is not there yet; the evaluation's summary."""
    climb_to_prm(ladder)
    train_arms(ladder)
    if to_do(ladder, _LEAVES["eval"]):
        return evaluate(resumable(stage(ladder, "eval")))
    found: dict = json.loads((ladder.folder / _LEAVES["eval"]).read_text(encoding="utf-8"))
    return found


def climb_to_prm(ladder: Ladder) -> None:
    """SFT, labels and PRM: what every arm of PPO starts from."""
    for verb, run in (("sft", train_sft), ("label", label), ("prm", train_prm)):
        if to_do(ladder, _LEAVES[verb]):
            run(resumable(stage(ladder, verb)))


# -- the two arms --------------------------------------------------------------------------------------------------


def train_arms(ladder: Ladder) -> None:
    """PPO with process rewards and its outcome-only baseline: side by side on two cores or more, each with half."""
    process: RLConfig = stage(ladder, "ppo")
    arms = [process]
    if ladder.baseline:
        outcome = replace(process.credit, form="outcome")
        arms.append(replace(process, credit=outcome, folder=process.folder.with_name("ppo-outcome")))
    arms = [resumable(arm) for arm in arms if to_do(ladder, f"{arm.folder.name}/model")]
    cores = ladder.threads or os.cpu_count() or 1
    if len(arms) < 2 or cores < 2 or _has_gpu():
        for arm in arms:
            train_ppo(arm)
    else:
        run_side_by_side([replace(arm, threads=ladder.ppo.threads or cores // len(arms)) for arm in arms])


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def run_side_by_side(arms: list[RLConfig]) -> None:
    """Each arm in a process of its own, with a bar for each. Ctrl-C stops them all after the step they are in."""
    children: list[subprocess.Popen] = []
    logs = [arm.folder.with_suffix(".log") for arm in arms]
    with stop_signals() as signals, progress("PPO, all arms", sum(map(_goal, arms))) as bar:
        for arm, log in zip(arms, logs, strict=True):
            config = arm.folder.with_suffix(".yaml")
            write_atomic(config, to_yaml(arm))
            with log.open("w") as out:
                # A session of its own: a Ctrl-C in the terminal reaches the child once, from us. The pipe tells it
                # when we are gone.
                words = [sys.executable, "-m", "rung.arm", str(config)]
                children.append(
                    subprocess.Popen(words, stdin=subprocess.PIPE, stdout=out, stderr=out, start_new_session=True)
                )
        try:
            _watch(children, arms, bar, signals)
        finally:
            for child in children:
                if child.poll() is None:
                    child.terminate()
                    child.wait()
    for child, log in zip(children, logs, strict=True):
        if signals:
            print("rung demo: stopped; resume=true goes on", file=sys.stderr)
            raise SystemExit(128 + signals[0])
        if child.returncode:
            last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            raise UserError(f"an arm of PPO failed ({' '.join(last)}); all it said is in {log}")


def _watch(children: list[subprocess.Popen], arms: list[RLConfig], bar: Any, signals: list[int]) -> None:
    seen, told = 0, False
    while any(child.poll() is None for child in children):
        if signals and not told:
            told = True
            for child in children:
                if child.poll() is None:
                    child.send_signal(signal.SIGINT)
        if any(child.poll() not in (None, 0) for child in children) and not signals:
            return  # one arm failed: the caller ends the others
        latest = [_latest(arm) for arm in arms]
        done = sum(_reached(arm, row) for arm, row in zip(arms, latest, strict=True))
        if done > seen:
            bar.advance(
                done - seen, **{arm.credit.form: row["accuracy"] for arm, row in zip(arms, latest, strict=True) if row}
            )
            seen = done
        time.sleep(0.5)
    bar.advance(sum(_reached(arm, _latest(arm)) for arm in arms) - seen)


def _goal(arm: RLConfig) -> int:
    """What the bar counts: tokens where they are what ends the arm, else steps."""
    return arm.steps if arm.token_budget is None else arm.token_budget


def _latest(arm: RLConfig) -> dict[str, Any]:
    return read_metrics(arm.folder)[-1] if (arm.folder / "metrics.jsonl").exists() and read_metrics(arm.folder) else {}


def _reached(arm: RLConfig, latest: dict[str, Any]) -> int:
    if not latest:
        return 0
    return int(latest["step"]) + 1 if arm.token_budget is None else min(arm.token_budget, int(latest["sampled_tokens"]))
