"""Log-probs of chosen tokens and the entropy of what they were chosen from, with one (N, V) tensor and not four."""

from typing import Any

import torch

CHUNK = 256  # rows whose logits are worked on at once: few enough to stay in a CPU's cache


def chosen_logprobs(
    states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, chosen: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """log p(chosen) (N,) and H(p) (N,) in float32, p = softmax((states @ weightᵀ + bias) / temperature).

    ``states`` (N, H), ``weight`` (V, H), ``bias`` (V,) or None, ``chosen`` (N,). Entropy carries no gradient.
    """
    logprobs, entropy = _Chosen.apply(states, weight, bias, chosen, temperature, torch.is_grad_enabled())
    return logprobs, entropy


class _Chosen(torch.autograd.Function):
    """d log p_c / d logit_v = (1[v = c] − p_v) / temperature: the backward pass needs p alone, and is made in its
    place. So a second backward pass through the same graph is an error, which torch raises.
    """

    @staticmethod
    def forward(
        ctx: Any,
        states: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        chosen: torch.Tensor,
        temperature: float,
        keep: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rows = len(states)
        logprobs, entropy = (torch.empty(rows, dtype=torch.float32, device=states.device) for _ in range(2))
        kept = torch.empty((rows if keep else 0, len(weight)), dtype=torch.float32, device=states.device)
        for begin in range(0, rows, CHUNK):
            part = slice(begin, begin + CHUNK)
            logits = torch.nn.functional.linear(states[part], weight, bias).float()
            if temperature != 1:
                logits /= temperature
            logits -= logits.logsumexp(-1, keepdim=True)
            logprobs[part] = logits.gather(-1, chosen[part, None])[:, 0]
            p = torch.exp(logits, out=kept[part]) if keep else logits.exp()
            entropy[part] = -(p * logits).sum(-1)
        ctx.save_for_backward(states, weight, chosen, kept)
        ctx.temperature = temperature
        ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        states, weight, chosen, p = ctx.saved_tensors
        slope = gradients[0] / ctx.temperature
        p.mul_(-slope[:, None])
        p[torch.arange(len(p), device=p.device), chosen] += slope
        by_logits = p.to(weight.dtype)
        to_states, to_weight, to_bias = ctx.needs_input_grad[:3]
        return (
            by_logits @ weight if to_states else None,
            by_logits.T @ states if to_weight else None,
            by_logits.sum(0) if to_bias else None,
            None,
            None,
            None,
        )
