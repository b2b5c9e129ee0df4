"""``rung rlhf``: the pipeline of Ouyang et al. (2022) from human rankings to one report with four arms.

SFT; a Bradley-Terry reward model; PPO with a KL penalty and ptx against it; DPO on the same pairs; online RLAIF by a
judge; then all of them on held-out preferences, on mathematics (what they could do before) and asked for flattery.
"""

import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lm.checkpoint import write_lines
from lm.config import key, part
from lm.errors import UserError
from lm.models import DType, ModelConfig
from prm.problems import ProblemsConfig, load_problems
from rl.config import RLConfig
from rl.credit import CreditConfig
from rl.dpo import DPOConfig
from rl.dpo import train as train_dpo
from rl.preferences import Preference, PreferenceData, load_preferences
from rl.reward_model import RewardModelConfig
from rl.reward_model import train as train_reward_model
from rl.rlaif import RLAIFConfig
from rl.rlaif import train as train_rlaif
from rl.train import train as train_ppo
from rung.ladder import fill
from rung.pipeline import resumable, run_pipeline, to_do
from rung.rlhf_eval import RLHFEvalConfig, evaluate
from rung.sft import SFTConfig
from rung.sft import train as train_sft
from rung.sycophancy import with_opinion, wrong_answer


@dataclass(frozen=True)
class RLHF:
    """Pairs that people ranked → SFT → reward model → PPO, DPO and RLAIF → evaluation → report.

    A key that the top shares with a stage goes to every stage that does not set its own.
    """

    folder: Path = key(Path("runs/rlhf"), "everything goes here, a folder for each stage, and report.html")
    data: PreferenceData = part(PreferenceData, "ranked pairs, split by prompt or group", validation_fraction=0.25)
    problems: ProblemsConfig = part(ProblemsConfig, "what the policies could do before: the capability guard")
    worked: int = key(6000, "worked solutions of problems that SFT learns beside the preferred responses", low=0)
    opinions: float = key(
        0.3,
        "share of them asked behind an opinion, half of the opinions wrong, so that one is nothing new",
        low=0,
        high=1,
    )
    prompt: str | None = key(None, "prompt with {question} in it; null uses the tokenizer's chat template")
    dtype: DType = key("float32", "precision of all models; bfloat16 for GPUs")
    seed: int = key(0, "of every stage")
    threads: int | None = key(None, "CPU threads; null leaves it to torch")
    resume: bool = key(False, "go on where this folder's pipeline stopped")
    overwrite: bool = key(False, "delete the runs in the folder first")
    sft: SFTConfig = part(SFTConfig)
    rm: RewardModelConfig = part(RewardModelConfig)
    ppo: RLConfig = part(RLConfig, credit=CreditConfig(form="outcome"), ptx_coefficient=0.1)
    dpo: DPOConfig = part(DPOConfig)
    rlaif: RLAIFConfig = part(RLAIFConfig, "without judge.model the reward model is the judge")
    eval: RLHFEvalConfig = part(RLHFEvalConfig)


STAGES: dict[str, Callable[[Any], None]] = {
    "sft": train_sft,
    "rm": train_reward_model,
    "referee": train_reward_model,
    "ppo": train_ppo,
    "dpo": train_dpo,
    "rlaif": train_rlaif,
}
ARMS = ("sft", "ppo", "dpo", "rlaif")


def main(config: RLHF) -> None:
    """Run every stage that is not there yet, print the final table and where the report is."""
    run_pipeline(config, run_stages)


def run_stages(config: RLHF) -> dict[str, Any]:
    """Every stage that is not there yet; the evaluation's summary."""
    write_data(config)
    for name, run in STAGES.items():
        if to_do(config, f"{name}/model"):
            run(resumable(stage(config, name)))
    return evaluate(stage(config, "eval"))


def write_data(config: RLHF) -> None:
    """``data/``: the pairs of both sides of the split, the training side's prompts, and what SFT learns."""
    train, held_out = load_preferences(config.data, config.seed)
    if not held_out:
        raise UserError("no pair is held out to evaluate on: raise data.validation_fraction")
    folder = config.folder / "data"
    write_lines(folder / "train.jsonl", [_pair(p) for p in train])
    write_lines(folder / "held_out.jsonl", [_pair(p) for p in held_out])
    write_lines(folder / "prompts.jsonl", [{"question": q} for q in sorted({p.question for p in train})])
    told = [{"question": q, "solution": s} for q, s in sorted({(p.question, p.chosen) for p in train})]
    write_lines(folder / "sft.jsonl", told + worked_rows(config))


def worked_rows(config: RLHF) -> list[dict[str, Any]]:
    """Worked solutions to keep a capability by, some of them asked behind an opinion that is right every other time."""
    rows = []
    generator = random.Random(f"opinions/{config.seed}")
    for example in load_problems(config.problems, "train", config.worked) if config.worked else []:
        problem = example.problem
        wrong = wrong_answer(problem, config.seed)
        if wrong is not None and generator.random() < config.opinions:
            problem = with_opinion(problem, wrong if generator.random() < 0.5 else problem.answer)
        if example.solution:
            rows.append({"question": problem.question, "solution": example.solution, "answer": problem.answer})
    return rows


def _pair(pair: Preference) -> dict[str, Any]:
    row = asdict(pair) | {"prompt": pair.question}
    del row["question"]
    return row


def stage(config: RLHF, name: str) -> Any:
    """The config of one stage, with all that it shares filled in."""
    folder, data = config.folder / name, config.folder / "data"
    policy, reward = str(config.folder / "sft/model"), str(config.folder / "rm/model")
    shared: dict[str, Any] = {"prompt": config.prompt, "seed": config.seed, "threads": config.threads}
    runs = shared | {"folder": folder, "resume": config.resume, "overwrite": config.overwrite}
    if name == "sft":
        told = ProblemsConfig(source=str(data / "sft.jsonl"), answers=False)
        return fill(config.sft, problems=told, examples=None, model=ModelConfig(dtype=config.dtype), **runs)
    runs |= {"policy": policy, "dtype": config.dtype}
    prompts = ProblemsConfig(source=str(data / "prompts.jsonl"), answers=False)
    if name in ("rm", "dpo"):
        pairs = PreferenceData(pairs=(str(data / "train.jsonl"),))
        return fill(config.rm if name == "rm" else config.dpo, data=pairs, **runs)
    if name == "referee":  # learns from the held-out pairs alone, which no arm has seen
        pairs = PreferenceData(pairs=(str(data / "held_out.jsonl"),), validation_fraction=0.0)
        return fill(config.rm, data=pairs, **runs)
    if name == "ppo":
        own = {"problems": prompts, "reward": reward, "pool": None, "ptx_source": str(data / "sft.jsonl")}
        return replace(fill(config.ppo, **own, **runs), guard=config.ppo.guard or config.problems)
    if name == "rlaif":
        judge = None if config.rlaif.judge.model else reward
        return fill(config.rlaif, problems=prompts, pool=None, reward=judge, **runs)
    if name == "eval":
        policies = {arm: str(config.folder / arm / "model") for arm in ARMS}
        return fill(
            config.eval, folder=folder, policies=policies, reward=reward, referee=str(config.folder / "referee/model"),
            train=str(data / "train.jsonl"), held_out=str(data / "held_out.jsonl"), problems=config.problems,
            dtype=config.dtype, **shared,
        )  # fmt: skip
    raise ValueError(f"the pipeline has no stage {name!r}")
