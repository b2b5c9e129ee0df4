"""The whole ladder in one config: what its stages share stands at the top, and each stage's own keys below it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from lm.config import key, part
from lm.models import DType, ModelConfig
from lm.optim import OptimConfig
from lm.sft import FitConfig
from prm.label import LabelConfig
from prm.labelled_data import StepData
from prm.problems import ProblemsConfig
from prm.train import PRMConfig
from rl.config import RLConfig
from rung.evaluate import EvalConfig
from rung.report import ReportConfig
from rung.sft import SFTConfig

T = TypeVar("T")


@dataclass(frozen=True)
class Ladder:
    """Problems → SFT → step labels → PRM → PPO with process rewards and with outcome rewards → evaluation → report.

    A key that the top shares with a stage (problems, prompt, dtype, seed, threads, the folders in between) goes to
    every stage that does not set its own.
    """

    folder: Path = key(Path("runs/demo"), "everything goes here, a folder for each stage, and report.html")
    problems: ProblemsConfig = part(ProblemsConfig)
    prompt: str | None = key(None, "prompt with {question} in it; null uses the tokenizer's chat template")
    dtype: DType = key("float32", "precision of all models; bfloat16 for GPUs")
    baseline: bool = key(True, "also train the outcome-only arm: the ppo section with credit.form=outcome")
    seed: int = key(0, "of every stage")
    threads: int | None = key(None, "CPU threads; null: all, halved while the two arms train side by side")
    resume: bool = key(False, "go on where this folder's ladder stopped")
    overwrite: bool = key(False, "delete the ladder in the folder first")
    sft: SFTConfig = part(SFTConfig, fit=FitConfig(steps=600, optim=OptimConfig(lr=4e-3, warmup=50)))
    label: LabelConfig = part(LabelConfig, train_problems=10000, rollout_problems=500)
    prm: PRMConfig = part(
        PRMConfig, data=StepData(after_error="keep"), fit=FitConfig(steps=850, optim=OptimConfig(lr=2e-3))
    )
    ppo: RLConfig = part(RLConfig, steps=40, eval_every=4)
    eval: EvalConfig = part(EvalConfig)


def stage(ladder: Ladder, verb: str) -> Any:
    """The config of one stage of the ladder, with all that it shares filled in."""
    folder = ladder.folder
    policy, prm = str(folder / "sft/model"), str(folder / "prm/model")
    shared: dict[str, Any] = {
        "problems": ladder.problems,
        "prompt": ladder.prompt,
        "seed": ladder.seed,
        "threads": ladder.threads,
        "resume": ladder.resume,
        "overwrite": ladder.overwrite,
    }
    if verb == "sft":
        return fill(ladder.sft, folder=folder / "sft", model=ModelConfig(dtype=ladder.dtype), **shared)
    if verb == "label":
        return fill(ladder.label, folder=folder / "labels", policy=policy, dtype=ladder.dtype, **shared)
    if verb == "prm":
        labels = folder / "labels"
        data = StepData(train=(str(labels / "train.symbolic.jsonl"),), test=(str(labels / "test.symbolic.jsonl"),))
        del shared["problems"]
        return fill(
            ladder.prm, folder=folder / "prm", data=data, model=ModelConfig(path=policy, dtype=ladder.dtype), **shared
        )
    if verb == "ppo":
        return fill(ladder.ppo, folder=folder / "ppo-process", policy=policy, prm=prm, dtype=ladder.dtype, **shared)
    if verb == "eval":
        arms = {"outcome": "ppo-outcome", "process": "ppo-process"}
        if not ladder.baseline:
            del arms["outcome"]
        policies = {"sft": policy} | {name: str(folder / arm / "model") for name, arm in arms.items()}
        return fill(ladder.eval, folder=folder / "eval", policies=policies, prm=prm, dtype=ladder.dtype, **shared)
    if verb == "report":
        return ReportConfig(folders=(folder,))
    raise ValueError(f"the ladder has no stage {verb!r}")


def fill(config: T, **shared: Any) -> T:
    """``config`` with the keys that still have their defaults set to what is shared, a section key by key."""
    return _fill(config, type(config)(), shared)


def _fill(config: Any, plain: Any, shared: Mapping[str, Any]) -> Any:
    filled = {}
    for name, value in shared.items():
        own, default = getattr(config, name), getattr(plain, name)
        if is_dataclass(value):
            filled[name] = _fill(own, default, {field.name: getattr(value, field.name) for field in fields(value)})
        elif own == default:
            filled[name] = value
    return replace(config, **filled)
