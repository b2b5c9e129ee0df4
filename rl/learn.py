"""The learning half of a step: minibatches, the gradients of their losses, and what to do when one is not finite."""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lm import processes
from lm.checkpoint import write_json
from lm.errors import UserError
from lm.optim import OptimConfig, Optimizer, learning_rate, optimizer_step
from lm.sft import Pair, response_loss
from rl.batch import Experience
from rl.config import RLConfig
from rl.forward import Critic, action_values, evaluate_actions
from rl.losses import EXTREMES, Metrics, kl_loss, policy_loss, token_weights, value_loss

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def minibatches(experience: Experience, count: int, epochs: int, seed: int, step: int) -> Iterator[Experience]:
    """Each pass cuts the shuffled rollouts into ``count`` parts; a function of seed and step alone."""
    rows = list(range(len(experience.tokens.rollouts)))
    generator = random.Random(f"{seed}/{step}")
    for _ in range(epochs):
        generator.shuffle(rows)
        size = -(-len(rows) // count)
        for start in range(0, len(rows), size):
            yield experience.select(rows[start : start + size])


def backward(
    policy: "PreTrainedModel", critic: Critic, batch: Experience, config: RLConfig, kl_coefficient: float
) -> Metrics:
    """Accumulate the gradients of all losses over a minibatch, a few rows at a time; returns its metrics."""
    import torch

    tokens = float(batch.tokens.actions.sum())
    sequences, longest = len(batch.tokens.rollouts), config.sampling.max_tokens
    head = critic if isinstance(critic, torch.nn.Linear) else None
    for model in (policy, critic):
        if model is not None:
            model.train()  # for gradient checkpointing, which rests in evaluation mode; dropout there is none
    total: Metrics = {}
    for (rows, _), _, weight in batch.tokens.my_parts(range(sequences), config.micro_tokens):
        part = batch.select(rows)
        actions = part.tokens.actions
        weights = token_weights(actions, config.normaliser, tokens=tokens, sequences=sequences, longest=longest)
        logprobs, _, values = evaluate_actions(policy, head, part.tokens, config.sampling.temperature)
        loss, metrics = policy_loss(
            logprobs, part.old_logprobs, part.advantages, actions,
            clip_low=config.clip_low, clip_high=config.clip_high, normaliser=tokens, weights=weights,
            ratio=config.ratio, dual_clip=config.dual_clip,
        )  # fmt: skip
        metrics["policy_loss"] = float(loss.detach())
        if config.advantage.kl_in == "loss" and kl_coefficient:
            penalty = kl_loss(
                logprobs, part.reference_logprobs, actions, estimator=config.advantage.kl_estimator,
                clamp=config.advantage.kl_clamp, normaliser=tokens, weights=weights,
            )  # fmt: skip
            loss = loss + kl_coefficient * penalty
            metrics["kl_loss"] = float(penalty.detach())
        if head is not None:
            error, more = _value_loss(values, part, config, tokens)
            loss = loss + config.value_coefficient * error
            metrics |= more
        (weight * loss).backward()
        if not (critic is None or isinstance(critic, torch.nn.Linear)):
            # After the policy's backward, so that only one graph is in memory at a time.
            error, more = _value_loss(action_values(critic, part.tokens), part, config, tokens)
            (weight * error).backward()
            metrics |= more
        for name, value in metrics.items():
            value *= 1.0 if name in EXTREMES else weight
            total[name] = EXTREMES.get(name, sum)((total[name], value)) if name in total else value
    return processes.sum_metrics(total, EXTREMES)


def _value_loss(
    values: "torch.Tensor", part: Experience, config: RLConfig, tokens: float
) -> "tuple[torch.Tensor, Metrics]":
    loss, metrics = value_loss(
        values, part.old_values, part.returns, part.tokens.actions, clip=config.value_clip, normaliser=tokens
    )
    return loss, metrics | {"value_loss": float(loss.detach())}


def ptx_backward(policy: "PreTrainedModel", pairs: Sequence[Pair], coefficient: float, micro_tokens: int) -> Metrics:
    """Add the gradient of γ · (−mean log p of the response tokens of ``pairs``)   (Ouyang et al. 2022, eq. 2)."""
    tokens = sum(len(response) for _, response in pairs)
    total = 0.0
    for rows, weight in processes.my_micro_batches([len(p) + len(r) for p, r in pairs], micro_tokens):
        loss = weight * response_loss(policy, [pairs[i] for i in rows]) / tokens
        (coefficient * loss).backward()
        total += float(loss.detach())
    return processes.sum_metrics({"ptx_loss": total})


@dataclass(frozen=True)
class Learner:
    """A model that learns, and how."""

    model: "torch.nn.Module"
    optimizer: Optimizer
    config: OptimConfig


def update(learners: Mapping[str, Learner], losses: Metrics, step: int, total: int) -> Metrics:
    """One optimizer step of each model whose gradient is finite, or of none where a loss is not; returns the norms."""
    if not all(math.isfinite(value) for value in losses.values()):
        clear_gradients(learners)
        return {}
    return {
        "grad_norm" if name == "policy" else f"{name}_grad_norm": optimizer_step(
            learner.model, learner.optimizer, learner.config, learning_rate(learner.config, step, total)
        )
        for name, learner in learners.items()
    }


def clear_gradients(learners: Mapping[str, Learner]) -> None:
    for learner in learners.values():
        learner.optimizer.zero_grad(set_to_none=True)


def mean_metrics(learned: Sequence[Metrics]) -> Metrics:
    """The mean of each metric over the updates of a step (the extreme of an extreme); none where no update was made."""
    names = learned[0] if learned else {}
    return {name: float(EXTREMES.get(name, np.mean)([m[name] for m in learned])) for name in names}


class Refusals:
    """The updates left out because a loss or a gradient was NaN or Inf: counts them, keeps what they were made of, and
    ends the run after ``most`` in a row."""

    def __init__(self, folder: Path, most: int) -> None:
        self.folder, self.most = folder, most
        self.in_a_row = 0

    def passes(self, step: int, batch: Experience, numbers: Metrics) -> bool:
        """Whether all ``numbers`` of an update are finite; if not, its evidence is written.

        Raises UserError at the ``most``-th in a row that is not.
        """
        if all(math.isfinite(value) for value in numbers.values()):
            self.in_a_row = 0
            return True
        self.in_a_row += 1
        path = self.folder / "nonfinite" / f"step-{step:06d}-{self.in_a_row}.json"
        if processes.is_main():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, _evidence(step, batch, numbers))
        if self.in_a_row >= self.most:
            bad = ", ".join(name for name, value in numbers.items() if not math.isfinite(value))
            raise UserError(
                f"{self.in_a_row} updates in a row had NaN or Inf in {bad}: see {path.parent}, then lower optim.lr or "
                "critic_optim.lr, or use dtype=float32"
            )
        return False

    def state_dict(self) -> dict[str, int]:
        return {"in_a_row": self.in_a_row}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.in_a_row = state["in_a_row"]


def _evidence(step: int, batch: Experience, numbers: Metrics) -> dict[str, Any]:
    """The numbers as text, for JSON has no NaN, and for each rollout its text and the range of what it was taught."""
    taught = ("old_logprobs", "reference_logprobs", "old_values", "advantages", "returns")
    rollouts = []
    for row, rollout in enumerate(batch.tokens.rollouts):
        on = batch.tokens.actions[row]
        ranges = {}
        for name in taught:
            values = getattr(batch, name)[row][on]
            ranges[name] = f"{float(values.min())!r} to {float(values.max())!r}"
        rollouts.append({"question": rollout.solution.problem.question, "text": rollout.solution.text} | ranges)
    return {"step": step, "numbers": {name: repr(value) for name, value in numbers.items()}, "rollouts": rollouts}
