"""What the models say of a step's rollouts before it learns from them: passes without gradients, no more than tell."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lm import processes
from lm.lora import adapter_off
from rl.batch import TokenBatch
from rl.forward import Critic, action_logprobs, action_values, evaluate_actions

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

AGREE = 1e-4  # nats: far below any clip of the ratio, and above float32's rounding


@dataclass(frozen=True)
class Readings:
    """What the models say of a step's actions before it is learnt from: (B, T), 0 elsewhere and in rows not read.

    ``rows`` are those that the policy was run on and whose entropy is known, ``compared`` those of the reference.
    ``gap`` is the largest difference between the engine's log-prob of an action in ``rows`` and the policy's: near 1e-5
    in float32; more means that the two do not run the same model.
    """

    logprobs: "torch.Tensor"
    reference_logprobs: "torch.Tensor"
    entropy: "torch.Tensor"
    values: "torch.Tensor"
    rows: Sequence[int]
    compared: Sequence[int]
    gap: float


def read_models(
    policy: "PreTrainedModel",
    reference: "PreTrainedModel",
    critic: Critic,
    tokens: TokenBatch,
    sampled: "torch.Tensor",
    *,
    trust_engine: bool,
    whole_reference: bool,
    temperature: float,
    micro_tokens: int,
) -> Readings:
    """Run the models over the rollouts without gradients, over no more of them than will tell something.

    What more than ``micro_tokens`` of rollouts would tell no better is read on so many of them: the entropy, the gap
    to the engine's log-probs ``sampled`` (B, T) and, unless ``whole_reference``, the reference. With ``trust_engine``
    and a gap of at most ``AGREE`` there the engine's log-probs stand for the policy's on all rollouts.
    """
    import torch

    head, own = (critic, None) if isinstance(critic, torch.nn.Linear) else (None, critic)
    for model in (policy, critic):
        if model is not None:
            model.eval()

    def by_policy(rows: Sequence[int]) -> "list[torch.Tensor]":
        return _run(tokens, rows, micro_tokens, 3, lambda part: evaluate_actions(policy, head, part, temperature))

    everything, rows = list(range(len(tokens.rollouts))), tokens.sample(micro_tokens)
    with torch.no_grad():
        logprobs, entropy, values = by_policy(rows)
        gap = float((logprobs - sampled)[rows][tokens.actions[rows]].abs().max())
        if trust_engine and head is None and gap <= AGREE and len(rows) < len(everything):
            logprobs = sampled
        else:
            rest = by_policy(sorted(set(everything) - set(rows)))
            logprobs, entropy, values = (a + b for a, b in zip((logprobs, entropy, values), rest, strict=True))
            gap, rows = float((logprobs - sampled)[tokens.actions].abs().max()), everything
        if own is not None:
            (values,) = _run(tokens, everything, micro_tokens, 1, lambda part: (action_values(own, part),))
        compared = everything if whole_reference else rows
        with adapter_off(reference):
            (reference_logprobs,) = _run(
                tokens, compared, micro_tokens, 1, lambda part: action_logprobs(reference, part, temperature)[:1]
            )
    return Readings(logprobs, reference_logprobs, entropy, values, rows, compared, gap)


def _run(
    tokens: TokenBatch,
    rows: Sequence[int],
    micro_tokens: int,
    outputs: int,
    model: "Callable[[TokenBatch], Sequence[torch.Tensor]]",
) -> "list[torch.Tensor]":
    """So many ``outputs`` of a model on some rows, each (B, T) and 0 in the others; every process runs its part."""
    import torch

    found = [torch.zeros(tokens.ids.shape, device=tokens.ids.device) for _ in range(outputs)]
    for where, part, weight in tokens.my_parts(rows, micro_tokens):
        for total, new in zip(found, model(part), strict=True):
            total[where] += weight * new
    processes.add_up(found)
    return found
