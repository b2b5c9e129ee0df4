"""Learning from pairs of responses: the keys, the rows and the loop that ``rung dpo`` and ``rung rm`` share."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lm import processes
from lm.config import key, part
from lm.lora import LoRAConfig
from lm.models import DType
from lm.optim import learning_rate, make_optimizer, optimizer_step
from lm.run import Run
from lm.sft import FitConfig, Pair, batch_of
from lm.trackers import Tracker
from rl.losses import Metrics
from rl.preferences import PreferenceData

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class PairConfig:
    """What it takes to learn from pairs."""

    folder: Path = key(Path("runs/pairs"), "the run folder; the model is saved in FOLDER/model")
    policy: str = key("runs/sft/model", "the language model that it starts from: folder or hub name")
    data: PreferenceData = part(PreferenceData)
    dtype: DType = key("float32", "precision of all models; bfloat16 for GPUs")
    lora: LoRAConfig = part(LoRAConfig)
    gradient_checkpointing: bool = key(False, "compute activations twice rather than keep them: memory, not results")
    prompt: str | None = key(None, "prompt with {question} in it; null uses the tokenizer's chat template")
    fit: FitConfig = part(FitConfig, steps=200, batch=32)
    seed: int = key(0, "of the split and the order of the data")
    threads: int | None = key(None, "CPU threads; null leaves it to torch")
    trackers: tuple[Tracker, ...] = key((), "where the metrics go beside metrics.jsonl: tensorboard, wandb, trackio")
    resume: bool = key(False, "go on with the run in the folder")
    overwrite: bool = key(False, "delete the run in the folder first")


@dataclass(frozen=True)
class Compared:
    """A pair as token ids: chosen, rejected (and for DPO the prompt with another's chosen response), and what the
    reference gives each side, a log-prob summed over the response; empty where no reference is needed."""

    sides: tuple[Pair, ...]
    reference: tuple[float, ...] = ()

    @property
    def length(self) -> int:
        """Tokens that both sides take in a batch."""
        return 2 * max(len(prompt) + len(response) for prompt, response in self.sides)


def my_micro_batches(rows: Sequence[Compared], micro_tokens: int) -> Iterator[tuple[list[Compared], float]]:
    """See ``lm.processes.my_micro_batches``."""
    for indices, weight in processes.my_micro_batches([row.length for row in rows], micro_tokens):
        yield [rows[i] for i in indices], weight


def accumulate(
    batch: Sequence[Compared],
    micro_tokens: int,
    loss_of: "Callable[[list[Compared]], tuple[torch.Tensor, Metrics]]",
) -> Metrics:
    """Accumulate the gradient of the mean loss over a batch, a few pairs at a time; returns its metrics."""
    total: Metrics = {}
    for rows, weight in my_micro_batches(batch, micro_tokens):
        share = weight * len(rows) / len(batch)
        loss, metrics = loss_of(rows)
        (share * loss).backward()
        for name, value in (metrics | {"loss": float(loss.detach())}).items():
            total[name] = total.get(name, 0.0) + share * value
    return processes.sum_metrics(total)


def ranking_accuracy(
    rows: Sequence[Compared], micro_tokens: int, margin: "Callable[[list[Compared]], torch.Tensor]"
) -> float:
    """Share of the pairs whose ``margin`` (B,), chosen less rejected, is above 0; ties count half."""
    import torch

    right = 0.0
    with torch.no_grad():
        for part_rows, weight in my_micro_batches(rows, micro_tokens):
            margins = margin(part_rows)
            right += weight * float((margins > 0).sum() + 0.5 * (margins == 0).sum())
    return processes.sum_metrics({"right": right})["right"] / len(rows)


def fit_pairs(
    run: Run,
    model: "PreTrainedModel",
    rows: Sequence[Compared],
    held_out: Sequence[Compared],
    config: PairConfig,
    *,
    label: str,
    backward: Callable[[list[Compared]], Metrics],
    accuracy: Callable[[Sequence[Compared]], float],
) -> None:
    """Take ``config.fit.steps`` optimizer steps on the gradients that ``backward`` accumulates over a batch, and write
    ``summary.json`` with the accuracy on held-out pairs."""
    fit = config.fit
    optimizer = make_optimizer(model, fit.optim)
    run.track(model=model, optimizer=optimizer)
    model.train()  # for gradient checkpointing, which rests in evaluation mode; dropout there is none
    for step in run.steps(fit.steps, save_every=fit.save_every, label=label, show=["loss", "accuracy"]):
        metrics = backward(batch_of(rows, fit.batch, config.seed, step))
        metrics["grad_norm"] = optimizer_step(model, optimizer, fit.optim, learning_rate(fit.optim, step, fit.steps))
        if held_out and (step % 50 == 0 or step + 1 == fit.steps):
            metrics["val_accuracy"] = accuracy(held_out)
        run.log(step, **metrics)
    summary: dict[str, float] = {"pairs": len(rows), "held_out_pairs": len(held_out)}
    said = []
    if held_out:
        summary["held_out_accuracy"] = accuracy(held_out)
        said = [f"{label}: {100 * summary['held_out_accuracy']:.1f} % of {len(held_out)} held-out pairs ranked rightly"]
    run.summarise(summary, *said)
