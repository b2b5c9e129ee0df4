"""``rung dpo``: a policy from preferences without sampling: DPO, IPO, KTO, and step-DPO where the pairs are steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lm.checkpoint import write_json
from lm.config import key, part
from lm.models import DType, default_device, load_causal_lm, load_tokenizer
from lm.optim import OptimConfig, learning_rate, make_optimizer, optimizer_step
from lm.padding import by_length
from lm.run import Run
from lm.sft import FitConfig, Pair, batch_of
from lm.torch_setup import prepare_torch
from rl.batch import pack_pairs
from rl.forward import action_logprobs
from rl.losses import Metrics, dpo_loss, ipo_loss, kto_loss
from rl.preferences import PreferenceData, encode_preferences, load_preferences

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class DPOConfig:
    """Direct preference optimisation, and its kin."""

    folder: Path = key(Path("runs/dpo"), "the run folder; the policy is saved in FOLDER/model")
    policy: str = key("runs/sft/model", "where the policy starts, and the reference it stays near: folder or hub name")
    data: PreferenceData = part(PreferenceData)
    loss: Literal["dpo", "ipo", "kto"] = key("dpo", "see rl/losses.py; kto takes the two sides of a pair one by one")
    beta: float = key(0.1, "β: how dear it is to leave the reference", low=0)
    label_smoothing: float = key(0.0, "dpo only: share of the pairs thought to be the wrong way round", low=0, high=0.5)
    desirable_weight: float = key(1.0, "kto only: weight of the chosen", low=0)
    undesirable_weight: float = key(1.0, "kto only: weight of the rejected", low=0)
    dtype: DType = key("float32", "precision of all models; bfloat16 for GPUs")
    prompt: str | None = key(None, "prompt with {question} in it; null uses the tokenizer's chat template")
    fit: FitConfig = part(FitConfig, steps=200, batch=32, optim=OptimConfig(lr=1e-4, warmup=10))
    seed: int = key(0, "of the split and the order of the data")
    threads: int | None = key(None, "CPU threads; null leaves it to torch")
    resume: bool = key(False, "go on with the run in the folder")
    overwrite: bool = key(False, "delete the run in the folder first")


@dataclass(frozen=True)
class Compared:
    """A pair as token ids, and what the reference gives each side: (log-prob summed over the response, its tokens).

    ``mismatched`` is the prompt with the chosen response to another one, from which KTO estimates its z_0.
    """

    sides: tuple[Pair, Pair, Pair]
    reference: tuple[float, float, float]

    @property
    def length(self) -> int:
        return max(len(prompt) + len(response) for prompt, response in self.sides)


def train(config: DPOConfig) -> None:
    """Learn from the pairs; write ``folder/model`` and ``folder/summary.json`` with what held-out pairs say."""
    prepare_torch(config.seed, config.threads)
    train_pairs, held_out_pairs = load_preferences(config.data, config.seed)
    tokenizer = load_tokenizer(config.policy)
    policy = load_causal_lm(config.policy, config.dtype).to(default_device())  # type: ignore[arg-type]
    run = Run.open(config.folder, config, verb="dpo", resume=config.resume, overwrite=config.overwrite)
    rows, held_out = (
        with_reference(policy, *encode_preferences(tokenizer, pairs, config.prompt), config.fit.micro_tokens)
        for pairs in (train_pairs, held_out_pairs)
    )
    optimizer = make_optimizer(policy, config.fit.optim)
    run.track(policy=policy, optimizer=optimizer)
    policy.eval()  # no dropout: the log-ratio to the reference is to be a function of the weights
    for step in run.steps(config.fit.steps, save_every=config.fit.save_every, label=config.loss.upper(), show=["loss"]):
        metrics = backward(policy, batch_of(rows, config.fit.batch, config.seed, step), config)
        rate = learning_rate(config.fit.optim, step, config.fit.steps)
        metrics["grad_norm"] = optimizer_step(policy, optimizer, config.fit.optim, rate)
        if held_out and (step % 50 == 0 or step + 1 == config.fit.steps):
            metrics["val_accuracy"] = preference_accuracy(policy, held_out, config.fit.micro_tokens)
        run.log(step, **metrics)
    summary: dict[str, float] = {"pairs": len(rows), "held_out_pairs": len(held_out)}
    if held_out:
        summary["held_out_accuracy"] = accuracy = preference_accuracy(policy, held_out, config.fit.micro_tokens)
        print(f"{100 * accuracy:.1f} % of {len(held_out)} held-out pairs ranked rightly by log π/π_ref")
    write_json(config.folder / "summary.json", summary)
    run.finish(model=(policy, tokenizer))


def with_reference(
    reference: "PreTrainedModel", chosen: Sequence[Pair], rejected: Sequence[Pair], micro_tokens: int
) -> list[Compared]:
    """Score both sides, and each prompt with the next pair's chosen response, by the policy as it starts.

    Done once, so that no second model stays in memory.
    """
    import torch

    mismatched = [(prompt, chosen[(i + 1) % len(chosen)][1]) for i, (prompt, _) in enumerate(chosen)]
    scores = []
    for side in (chosen, rejected, mismatched):
        sums = [0.0] * len(side)
        with torch.no_grad():
            for rows in by_length([len(p) + len(r) for p, r in side], micro_tokens):
                for i, value in zip(rows, response_logprobs(reference, [side[i] for i in rows]).tolist(), strict=True):
                    sums[i] = value
        scores.append(sums)
    sides, references = zip(chosen, rejected, mismatched, strict=True), zip(*scores, strict=True)
    return [Compared(s, r) for s, r in zip(sides, references, strict=True)]


def response_logprobs(model: "PreTrainedModel", pairs: Sequence[Pair]) -> "torch.Tensor":
    """log π(response | prompt), summed over its tokens: (B,)."""
    logprobs, _ = action_logprobs(model, pack_pairs(pairs, model.device), 1.0)
    return logprobs.sum(1)


def log_ratios(policy: "PreTrainedModel", batch: Sequence[Compared], side: int) -> "torch.Tensor":
    """log π − log π_ref of one side of each pair (0 chosen, 1 rejected, 2 mismatched): (B,)."""
    import torch

    logprobs = response_logprobs(policy, [row.sides[side] for row in batch])
    return logprobs - torch.tensor([row.reference[side] for row in batch], device=logprobs.device)


def backward(policy: "PreTrainedModel", batch: Sequence[Compared], config: DPOConfig) -> Metrics:
    """Accumulate the gradient of the mean loss over a batch, a few pairs at a time; returns its metrics."""
    import torch

    parts = [[batch[i] for i in rows] for rows in by_length([2 * row.length for row in batch], config.fit.micro_tokens)]
    kl = torch.zeros((), device=policy.device)
    if config.loss == "kto":
        with torch.no_grad():
            kl = torch.cat([log_ratios(policy, part, 2) for part in parts]).mean().clamp(min=0)
    total: Metrics = {}
    for rows in parts:
        share = len(rows) / len(batch)
        chosen, rejected = log_ratios(policy, rows, 0), log_ratios(policy, rows, 1)
        loss, metrics = preference_loss(chosen, rejected, rows, kl, config)
        (share * loss).backward()
        metrics |= {
            "loss": float(loss.detach()),
            "chosen_log_ratio": float(chosen.detach().mean()),
            "rejected_log_ratio": float(rejected.detach().mean()),
        }
        for name, value in metrics.items():
            total[name] = total.get(name, 0.0) + share * value
    return total


def preference_loss(
    chosen: "torch.Tensor", rejected: "torch.Tensor", rows: Sequence[Compared], kl: "torch.Tensor", config: DPOConfig
) -> "tuple[torch.Tensor, Metrics]":
    """The loss that ``config`` names, of log-ratios (B,)."""
    import torch

    if config.loss == "dpo":
        return dpo_loss(chosen, rejected, beta=config.beta, label_smoothing=config.label_smoothing)
    if config.loss == "ipo":
        lengths = [torch.tensor([len(r.sides[side][1]) for r in rows], device=chosen.device) for side in (0, 1)]
        return ipo_loss(chosen / lengths[0], rejected / lengths[1], beta=config.beta)
    desirable = torch.arange(2 * len(rows), device=chosen.device) < len(rows)
    return kto_loss(
        torch.cat([chosen, rejected]), desirable, kl, beta=config.beta,
        desirable_weight=config.desirable_weight, undesirable_weight=config.undesirable_weight,
    )  # fmt: skip


def preference_accuracy(policy: "PreTrainedModel", rows: Sequence[Compared], micro_tokens: int) -> float:
    """Share of the pairs whose chosen side has the greater log π/π_ref; ties count half."""
    import torch

    right = 0.0
    with torch.no_grad():
        for indices in by_length([2 * row.length for row in rows], micro_tokens):
            part = [rows[i] for i in indices]
            margin = log_ratios(policy, part, 0) - log_ratios(policy, part, 1)
            right += float((margin > 0).sum() + 0.5 * (margin == 0).sum())
    return right / len(rows)
