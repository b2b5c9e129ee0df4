"""``rung rm``: a reward model from preferences: one number for a response, read at its last token (Bradley-Terry)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lm.checkpoint import write_json
from lm.config import key, part
from lm.models import DType, default_device, load_token_scorer, load_tokenizer, zero_head
from lm.optim import OptimConfig, learning_rate, make_optimizer, optimizer_step
from lm.padding import by_length
from lm.run import Run
from lm.sft import FitConfig, Pair, batch_of
from lm.torch_setup import prepare_torch
from rl.batch import pack_pairs
from rl.losses import Metrics, bradley_terry_loss
from rl.preferences import PreferenceData, encode_preferences, load_preferences

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class RewardModelConfig:
    """A reward model on the trunk of a language model."""

    folder: Path = key(Path("runs/rm"), "the run folder; the reward model is saved in FOLDER/model")
    start: str = key("runs/sft/model", "the trunk it starts from: folder or hub name")
    data: PreferenceData = part(PreferenceData)
    dtype: DType = key("float32", "precision of the model; bfloat16 for GPUs")
    prompt: str | None = key(None, "prompt with {question} in it; null uses the tokenizer's chat template")
    fit: FitConfig = part(FitConfig, steps=200, batch=32, optim=OptimConfig(lr=5e-4, warmup=10))
    seed: int = key(0, "of the split and the order of the data")
    threads: int | None = key(None, "CPU threads; null leaves it to torch")
    resume: bool = key(False, "go on with the run in the folder")
    overwrite: bool = key(False, "delete the run in the folder first")


def train(config: RewardModelConfig) -> None:
    """Learn to rank the pairs; write ``folder/model`` and ``folder/summary.json`` with held-out accuracy."""
    prepare_torch(config.seed, config.threads)
    train_pairs, held_out_pairs = load_preferences(config.data, config.seed)
    tokenizer = load_tokenizer(config.start)
    model = load_token_scorer(config.start, 1, config.dtype).to(default_device())  # type: ignore[arg-type]
    zero_head(model)
    run = Run.open(config.folder, config, verb="rm", resume=config.resume, overwrite=config.overwrite)
    rows, held_out = (
        list(zip(*encode_preferences(tokenizer, pairs, config.prompt), strict=True))
        for pairs in (train_pairs, held_out_pairs)
    )
    optimizer = make_optimizer(model, config.fit.optim)
    run.track(model=model, optimizer=optimizer)
    for step in run.steps(config.fit.steps, save_every=config.fit.save_every, label="RM", show=["loss", "accuracy"]):
        metrics = backward(model, batch_of(rows, config.fit.batch, config.seed, step), config.fit.micro_tokens)
        rate = learning_rate(config.fit.optim, step, config.fit.steps)
        metrics["grad_norm"] = optimizer_step(model, optimizer, config.fit.optim, rate)
        run.log(step, **metrics)
    summary: dict[str, float] = {"pairs": len(rows), "held_out_pairs": len(held_out)}
    if held_out:
        summary["held_out_accuracy"] = accuracy = ranking_accuracy(model, held_out, config.fit.micro_tokens)
        print(f"{100 * accuracy:.1f} % of {len(held_out)} held-out pairs ranked rightly")
    write_json(config.folder / "summary.json", summary)
    run.finish(model=(model, tokenizer))


def rewards(model: "PreTrainedModel", pairs: Sequence[Pair]) -> "torch.Tensor":
    """r(prompt, response), the model's output at the last token of each: (B,)."""
    import torch

    tokens = pack_pairs(pairs, model.device)
    out = model(input_ids=tokens.ids, attention_mask=tokens.attention).logits[..., 0].float()
    return out[torch.arange(len(pairs), device=out.device), tokens.attention.sum(1) - 1]


def backward(model: "PreTrainedModel", batch: Sequence[tuple[Pair, Pair]], micro_tokens: int) -> Metrics:
    """Accumulate the gradient of the mean Bradley-Terry loss over a batch; returns its metrics."""
    total: Metrics = {}
    for indices in by_length([_length(row) for row in batch], micro_tokens):
        rows, share = [batch[i] for i in indices], len(indices) / len(batch)
        loss, metrics = bradley_terry_loss(*_both(model, rows))
        (share * loss).backward()
        for name, value in (metrics | {"loss": float(loss.detach())}).items():
            total[name] = total.get(name, 0.0) + share * value
    return total


def ranking_accuracy(model: "PreTrainedModel", rows: Sequence[tuple[Pair, Pair]], micro_tokens: int) -> float:
    """Share of the pairs that the rewards rank as people did; ties count half."""
    import torch

    right = 0.0
    with torch.no_grad():
        for indices in by_length([_length(row) for row in rows], micro_tokens):
            _, metrics = bradley_terry_loss(*_both(model, [rows[i] for i in indices]))
            right += metrics["accuracy"] * len(indices)
    return right / len(rows)


def _both(model: "PreTrainedModel", rows: Sequence[tuple[Pair, Pair]]) -> "tuple[torch.Tensor, torch.Tensor]":
    """Rewards of the chosen and of the rejected side, (B,) each, in one pass."""
    both = rewards(model, [row[0] for row in rows] + [row[1] for row in rows])
    return both[: len(rows)], both[len(rows) :]


def _length(row: tuple[Pair, Pair]) -> int:
    return 2 * max(len(prompt) + len(response) for prompt, response in row)
