"""``rung sft``: a first policy from worked solutions."""

from dataclasses import dataclass
from pathlib import Path

from lm.config import key, part
from lm.errors import UserError
from lm.lora import LoRAConfig
from lm.models import ModelConfig, build_causal_lm, default_device, load_causal_lm, load_tokenizer, make_trainable
from lm.run import Run
from lm.sft import FitConfig, encode_pairs, fit_lm
from lm.tokenizer import train_tokenizer
from lm.torch_setup import prepare_torch
from lm.trackers import Tracker
from prm.problems import ProblemsConfig, load_problems


@dataclass(frozen=True)
class SFTConfig:
    """Supervised fine-tuning on the worked solutions of a problem source."""

    folder: Path = key(Path("runs/sft"), "the run folder; the policy is saved in FOLDER/model")
    problems: ProblemsConfig = part(ProblemsConfig)
    examples: int | None = key(40000, "worked solutions to learn from; null takes all")
    model: ModelConfig = part(ModelConfig)
    prompt: str | None = key(None, "prompt with {question} in it; null uses the tokenizer's chat template")
    lora: LoRAConfig = part(LoRAConfig)
    gradient_checkpointing: bool = key(False, "compute activations twice rather than keep them: memory, not results")
    fit: FitConfig = part(FitConfig)
    seed: int = key(0, "of the weights and the order of the data")
    threads: int | None = key(None, "CPU threads; null leaves it to torch")
    trackers: tuple[Tracker, ...] = key((), "where the metrics go beside metrics.jsonl: tensorboard, wandb, trackio")
    resume: bool = key(False, "go on with the run in the folder")
    overwrite: bool = key(False, "delete the run in the folder first")


def train(config: SFTConfig) -> None:
    """Train (or fine-tune) a causal LM and write ``folder/model``."""
    if config.lora.rank and config.model.path is None:
        raise UserError("lora.rank adapts a model that knows something: give model.path, or leave lora.rank at 0")
    prepare_torch(config.seed, config.threads)
    examples = [e for e in load_problems(config.problems, "train", config.examples, 1, repeats=True) if e.solution]
    held_out = [e for e in load_problems(config.problems, "validation", 200) if e.solution]
    if not examples:
        raise UserError(f"problems.source {config.problems.source!r} has no worked solutions to learn from")
    if config.model.path is None:
        tokenizer = train_tokenizer((f"{e.problem.question}\n{e.solution}" for e in examples), config.model.vocabulary)
        model = build_causal_lm(config.model, tokenizer)
    else:
        tokenizer = load_tokenizer(config.model.path)
        model = load_causal_lm(config.model.path, config.model.dtype, config.model.attention)
    model.to(default_device())  # type: ignore[arg-type]
    make_trainable(model, config.lora, config.gradient_checkpointing)

    run = Run.open(config, verb="sft")
    pairs, held_out_pairs = (
        encode_pairs(tokenizer, [(e.problem.question, e.solution or "") for e in es], config.prompt)
        for es in (examples, held_out)
    )
    fit_lm(run, model, pairs, held_out_pairs, config.fit, config.seed)
    run.finish(model=(model, tokenizer))
