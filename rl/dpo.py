"""``rung dpo``: a policy from preferences without sampling: DPO, IPO, KTO, and step-DPO where the pairs are steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lm import processes
from lm.config import key, part
from lm.models import default_device, load_causal_lm, load_tokenizer, make_trainable
from lm.optim import OptimConfig
from lm.run import Run
from lm.sft import FitConfig, Pair
from lm.torch_setup import prepare_torch
from rl.batch import pack_pairs
from rl.forward import action_logprobs
from rl.losses import Metrics, dpo_loss, ipo_loss, kto_loss, nll_loss
from rl.pair_fit import Compared, PairConfig, accumulate, fit_pairs, my_micro_batches, ranking_accuracy
from rl.preferences import encode_preferences, load_preferences

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class PreferenceLoss:
    """How a preference moves the policy; see rl/losses.py."""

    loss: Literal["dpo", "ipo", "kto"] = key("dpo", "see rl/losses.py; kto takes the two sides of a pair one by one")
    beta: float = key(
        0.1, "β: how dear it is to leave the reference; ipo's pairs are told apart by 1/(2β) nats a token", low=0
    )
    nll_weight: float = key(
        0.0, "α: weight of the chosen side's −log π a token, which DPO alone lets rise (iterative RPO: 1)", low=0
    )
    label_smoothing: float = key(0.0, "dpo only: share of the pairs thought to be the wrong way round", low=0, high=0.5)
    desirable_weight: float = key(1.0, "kto only: weight of the chosen", low=0)
    undesirable_weight: float = key(1.0, "kto only: weight of the rejected", low=0)


@dataclass(frozen=True)
class DPOConfig(PreferenceLoss, PairConfig):
    """Direct preference optimisation, and its kin. The reference is the policy as it starts."""

    folder: Path = key(Path("runs/dpo"), "the run folder; the policy is saved in FOLDER/model")
    fit: FitConfig = part(FitConfig, steps=200, batch=32, optim=OptimConfig(lr=1e-4, warmup=10))


def train(config: DPOConfig) -> None:
    """Learn from the pairs; write ``folder/model`` and ``folder/summary.json`` with what held-out pairs say."""
    prepare_torch(config.seed, config.threads)
    pairs, held_out_pairs = load_preferences(config.data, config.seed)
    tokenizer = load_tokenizer(config.policy)
    policy = load_causal_lm(config.policy, config.dtype).to(default_device())  # type: ignore[arg-type]
    make_trainable(policy, config.lora, config.gradient_checkpointing)
    run = Run.open(config, verb="dpo")
    micro_tokens = config.fit.micro_tokens
    rows, held_out = (
        with_reference(policy, *encode_preferences(tokenizer, some, config.prompt), micro_tokens)
        for some in (pairs, held_out_pairs)
    )
    fit_pairs(
        run, policy, rows, held_out, config, label=config.loss.upper(),
        backward=lambda batch: backward(policy, batch, config, micro_tokens),
        accuracy=lambda some: ranking_accuracy(some, micro_tokens, lambda part: margin(policy, part)),
    )  # fmt: skip
    run.finish(model=(policy, tokenizer))


def with_reference(
    reference: "PreTrainedModel", chosen: Sequence[Pair], rejected: Sequence[Pair], micro_tokens: int
) -> list[Compared]:
    """Score both sides, and each prompt with the next pair's chosen response (from which KTO estimates its z_0), by
    the reference: once, so that a policy that is its own reference as it starts needs no second model in memory."""
    import torch

    mismatched = [(prompt, chosen[(i + 1) % len(chosen)][1]) for i, (prompt, _) in enumerate(chosen)]
    scores = []
    for side in (chosen, rejected, mismatched):
        sums = torch.zeros(len(side), device=reference.device)
        with torch.no_grad():
            for rows, _ in processes.my_micro_batches([len(p) + len(r) for p, r in side], micro_tokens):
                sums[rows] = response_logprobs(reference, [side[i] for i in rows])
        processes.add_up([sums])
        scores.append(sums.tolist())
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


def response_lengths(rows: Sequence[Compared], side: int, device: "torch.device") -> "torch.Tensor":
    """Tokens in the response of one side of each pair: (B,)."""
    import torch

    return torch.tensor([len(row.sides[side][1]) for row in rows], device=device)


def margin(policy: "PreTrainedModel", rows: Sequence[Compared]) -> "torch.Tensor":
    """log π/π_ref of the chosen side less that of the rejected: the implicit reward's margin over β, (B,)."""
    return log_ratios(policy, rows, 0) - log_ratios(policy, rows, 1)


def backward(
    policy: "PreTrainedModel", batch: Sequence[Compared], config: PreferenceLoss, micro_tokens: int
) -> Metrics:
    """Accumulate the gradient of the mean loss over a batch, a few pairs at a time; returns its metrics."""
    import torch

    kl = torch.zeros((), device=policy.device)
    if config.loss == "kto":
        with torch.no_grad():
            parts = my_micro_batches(batch, micro_tokens)
            ratios = [float(weight * log_ratios(policy, part, 2).sum()) for part, weight in parts]
            kl += max(0.0, processes.sum_metrics({"sum": sum(ratios)})["sum"] / len(batch))

    def loss_of(rows: list[Compared]) -> tuple[torch.Tensor, Metrics]:
        chosen, rejected = log_ratios(policy, rows, 0), log_ratios(policy, rows, 1)
        loss, metrics = preference_loss(chosen, rejected, rows, kl, config)
        if config.nll_weight:
            logprobs = chosen + chosen.new_tensor([row.reference[0] for row in rows])
            nll, more = nll_loss(logprobs, response_lengths(rows, 0, chosen.device))
            loss, metrics = loss + config.nll_weight * nll, metrics | more
        means = {"chosen_log_ratio": chosen, "rejected_log_ratio": rejected}
        return loss, metrics | {name: float(values.detach().mean()) for name, values in means.items()}

    return accumulate(batch, micro_tokens, loss_of)


def preference_loss(
    chosen: "torch.Tensor",
    rejected: "torch.Tensor",
    rows: Sequence[Compared],
    kl: "torch.Tensor",
    config: PreferenceLoss,
) -> "tuple[torch.Tensor, Metrics]":
    """The loss of pairs that ``config`` names, of log-ratios (B,)."""
    import torch

    if config.loss == "dpo":
        return dpo_loss(chosen, rejected, beta=config.beta, label_smoothing=config.label_smoothing)
    if config.loss == "ipo":
        lengths = [response_lengths(rows, side, chosen.device) for side in (0, 1)]
        return ipo_loss(chosen / lengths[0], rejected / lengths[1], beta=config.beta)
    desirable = torch.arange(2 * len(rows), device=chosen.device) < len(rows)
    return kto_loss(
        torch.cat([chosen, rejected]), desirable, kl, beta=config.beta,
        desirable_weight=config.desirable_weight, undesirable_weight=config.undesirable_weight,
    )  # fmt: skip
