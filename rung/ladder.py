"""The whole ladder in one config: what its stages share stands at the top, and each stage's own keys below it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from lm.config import key, part
from prm.label import LabelConfig
from prm.problems import ProblemsConfig
from prm.train import PRMConfig
from rl.train import PPOConfig
from rung.evaluate import EvalConfig
from rung.report import ReportConfig
from rung.sft import SFTConfig

T = TypeVar("T")


@dataclass(frozen=True)
class Ladder:
    """Problems → SFT → step labels → PRM → PPO with process rewards and with outcome rewards → evaluation → report.

    A key that the top shares with a stage (problems, prompt, seed, threads, the folders in between) goes to every
    stage that does not set its own.
    """

    folder: Path = key(Path("runs/demo"), "everything goes here, a folder for each stage, and report.html")
    problems: ProblemsConfig = part(ProblemsConfig)
    prompt: str | None = key(None, "prompt with {question} in it; null uses the tokenizer's chat template")
    baseline: bool = key(True, "also train the outcome-only arm: the ppo section with credit.form=outcome")
    seed: int = key(0, "of every stage")
    threads: int | None = key(None, "CPU threads; null: all, halved while the two arms train side by side")
    resume: bool = key(False, "go on where this folder's ladder stopped")
    overwrite: bool = key(False, "delete the ladder in the folder first")
    sft: SFTConfig = part(SFTConfig)
    label: LabelConfig = part(LabelConfig)
    prm: PRMConfig = part(PRMConfig)
    ppo: PPOConfig = part(PPOConfig)
    eval: EvalConfig = part(EvalConfig)


def stage(ladder: Ladder, verb: str) -> Any:
    """The config of one stage of the ladder, with all that it shares filled in."""
    folder = ladder.folder
    shared: dict[str, Any] = {
        "problems": ladder.problems,
        "prompt": ladder.prompt,
        "seed": ladder.seed,
        "threads": ladder.threads,
        "resume": ladder.resume,
        "overwrite": ladder.overwrite,
    }
    if verb == "sft":
        return fill(ladder.sft, folder=folder / "sft", **shared)
    if verb == "label":
        return fill(ladder.label, folder=folder / "labels", policy=str(folder / "sft/model"), **shared)
    if verb == "prm":
        files = {"train": (str(folder / "labels/train.symbolic.jsonl"),), "test": (str(folder / "labels/test.symbolic.jsonl"),)}
        plain = PRMConfig()
        data = fill(ladder.prm.data, **files)
        own_model = ladder.prm.model.path != plain.model.path
        model = ladder.prm.model if own_model else replace(ladder.prm.model, path=str(folder / "sft/model"))
        del shared["problems"]
        return replace(fill(ladder.prm, folder=folder / "prm", **shared), data=data, model=model)
    models = {"policy": str(folder / "sft/model"), "prm": str(folder / "prm/model")}
    if verb == "ppo":
        return fill(ladder.ppo, folder=folder / "ppo-process", **models, **shared)
    if verb == "eval":
        arms = {"outcome PPO": "ppo-outcome", "process PPO": "ppo-process"}
        if not ladder.baseline:
            del arms["outcome PPO"]
        policies = {"SFT": str(folder / "sft/model")} | {name: str(folder / arm / "model") for name, arm in arms.items()}
        del shared["resume"], shared["overwrite"]
        return fill(ladder.eval, folder=folder / "eval", policies=policies, prm=models["prm"], **shared)
    if verb == "report":
        return ReportConfig(folder=folder)
    raise ValueError(f"the ladder has no stage {verb!r}")


def fill(config: T, **shared: Any) -> T:
    """``config`` with the keys of ``shared`` that still have their defaults set to what is shared."""
    plain = type(config)()
    return replace(config, **{k: v for k, v in shared.items() if getattr(config, k) == getattr(plain, k)})  # type: ignore[type-var]
