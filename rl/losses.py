"""The losses of RL and of preferences, as pure functions of tensors. Each returns (loss, metrics).

Losses over tokens are L = Σ w_t l_t / N. N (``normaliser``) is the number of action tokens in the whole optimizer
step, so cutting a step into micro-batches (or over processes) changes nothing; w (``weights``) says what a token counts
for (``token_weights``), 1 where it is not given. Their tensors are (B, T); ``actions`` is True at sampled tokens.
Losses over pairs take one number a sequence, (B,), and are means over the pairs.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal

from rl.kl import Estimator, kl_estimate

if TYPE_CHECKING:
    import torch

Metrics = dict[str, float]
EXTREMES: dict[str, Callable[[Iterable[float]], float]] = {"ratio_min": min, "ratio_max": max}  # no sums or means
Normaliser = Literal["tokens", "sequences", "constant", "sequence_sums"]
Ratio = Literal["token", "sequence"]


def token_weights(
    actions: "torch.Tensor", normaliser: Normaliser, *, tokens: float, sequences: int, longest: int
) -> "torch.Tensor":
    """w (B, T) of each action, 0 elsewhere, where l̄ = Σ w_t l_t / N and N = ``tokens``, both over an optimizer step of
    B = ``sequences`` rows with n_b actions each:

    tokens         w = 1             every token alike                       (DAPO, Yu et al. 2025, eq. 8; PPO)
    sequences      w = N / (B n_b)   every sequence alike                    (GRPO, Shao et al. 2024, eq. 3)
    constant       w = N / (B L)     tokens alike, L = ``longest``           (Dr. GRPO, Liu et al. 2025)
    sequence_sums  w = N / B         the sum over each sequence's tokens     (the policy gradient theorem)
    """
    on = actions.float()
    if normaliser == "tokens":
        return on
    if normaliser == "sequences":
        return on * (tokens / (sequences * actions.sum(1, keepdim=True).clamp(min=1)))
    return on * (tokens / (sequences * (longest if normaliser == "constant" else 1)))


def policy_loss(
    logprobs: "torch.Tensor",
    old_logprobs: "torch.Tensor",
    advantages: "torch.Tensor",
    actions: "torch.Tensor",
    *,
    clip_low: float,
    clip_high: float,
    normaliser: float,
    weights: "torch.Tensor | None" = None,
    ratio: Ratio = "token",
    dual_clip: float | None = None,
) -> "tuple[torch.Tensor, Metrics]":
    """L = −Σ w min(ρ A, clip(ρ, 1 − clip_low, 1 + clip_high) A) / N,  ρ = π(a)/π_old(a) (Schulman et al. 2017, eq. 7).

    ``ratio="sequence"`` replaces ρ_t by s = (Π_t ρ_t)^(1/n), whose gradient reaches every token of the sequence alike
    (GSPO-token, Zheng et al. 2025, eq. 13 and 14). ``dual_clip`` = c bounds the surrogate by c A from below where
    A < 0 (Ye et al. 2020).
    Metrics are sums over the tokens divided by N: ``clip_fraction`` (where the clip binds) and ``approximate_kl``
    (k3 of old to new policy); and the extremes of ρ, ``ratio_min`` and ``ratio_max`` (see ``EXTREMES``).
    """
    import torch

    log_ratio = (logprobs - old_logprobs).where(actions, logprobs.new_zeros(()))
    if ratio == "sequence":
        mean = log_ratio.sum(1, keepdim=True) / actions.sum(1, keepdim=True).clamp(min=1)
        rho = (mean.detach() + log_ratio - log_ratio.detach()).exp()
    else:
        rho = log_ratio.exp()
    clipped = rho.clamp(1 - clip_low, 1 + clip_high)
    surrogate = torch.minimum(rho * advantages, clipped * advantages)
    if dual_clip is not None:
        surrogate = torch.where(advantages < 0, torch.maximum(surrogate, dual_clip * advantages), surrogate)
    loss = -(surrogate * (actions if weights is None else weights)).sum() / normaliser
    with torch.no_grad():
        binds = (clipped * advantages < rho * advantages) & actions
        k3 = log_ratio.exp() - 1 - log_ratio
        metrics = {
            "clip_fraction": float(binds.sum() / normaliser),
            "approximate_kl": float((k3 * actions).sum() / normaliser),
            "ratio_min": float(rho.where(actions, torch.inf).min()),
            "ratio_max": float(rho.where(actions, -torch.inf).max()),
        }
    return loss, metrics


def kl_loss(
    logprobs: "torch.Tensor",
    reference_logprobs: "torch.Tensor",
    actions: "torch.Tensor",
    *,
    estimator: Estimator,
    clamp: float | None,
    normaliser: float,
    weights: "torch.Tensor | None" = None,
) -> "torch.Tensor":
    """L = Σ w k(π, π_ref) / N: the KL penalty as a loss (Shao et al. 2024, eq. 4, with k3); see rl/kl.py for k."""
    k = kl_estimate(logprobs, reference_logprobs, estimator, clamp)
    return (k.where(actions, k.new_zeros(())) * (actions if weights is None else weights)).sum() / normaliser


def value_loss(
    values: "torch.Tensor",
    old_values: "torch.Tensor",
    returns: "torch.Tensor",
    actions: "torch.Tensor",
    *,
    clip: float | None,
    normaliser: float,
) -> "tuple[torch.Tensor, Metrics]":
    """L = ½ Σ max((V − R)², (V_clip − R)²) / N,  V_clip = V_old + clip(V − V_old, ±clip).

    As in PPO's code (Engstrom et al. 2020). ``clip=None`` is the plain squared error.
    """
    import torch

    error = (values - returns).square()
    metrics: Metrics = {}
    if clip is not None:
        clipped = old_values + (values - old_values).clamp(-clip, clip)
        clipped_error = (clipped - returns).square()
        metrics["value_clip_fraction"] = float(((clipped_error > error) & actions).sum() / normaliser)
        error = torch.maximum(error, clipped_error)
    return 0.5 * (error * actions).sum() / normaliser, metrics


# --- preferences ----------------------------------------------------------------------------------------------------


def bradley_terry_loss(chosen: "torch.Tensor", rejected: "torch.Tensor") -> "tuple[torch.Tensor, Metrics]":
    """L = −mean log σ(r_chosen − r_rejected) over pairs (B,)   (Ouyang et al. 2022, eq. 1). ``accuracy``: ties half."""
    import torch

    margin = chosen - rejected
    return -torch.nn.functional.logsigmoid(margin).mean(), _pair_metrics(margin)


def dpo_loss(
    chosen: "torch.Tensor", rejected: "torch.Tensor", *, beta: float, label_smoothing: float = 0.0
) -> "tuple[torch.Tensor, Metrics]":
    """L = −mean[(1 − ε) log σ(β h) + ε log σ(−β h)],  h = chosen − rejected   (Rafailov et al. 2023, eq. 7).

    ``chosen`` and ``rejected`` (B,) are log π(y|x) − log π_ref(y|x), summed over the response. ε > 0: conservative DPO.
    """
    import torch

    margin = beta * (chosen - rejected)
    log_sigmoid = torch.nn.functional.logsigmoid
    loss = -((1 - label_smoothing) * log_sigmoid(margin) + label_smoothing * log_sigmoid(-margin)).mean()
    return loss, _pair_metrics(margin)


def ipo_loss(chosen: "torch.Tensor", rejected: "torch.Tensor", *, beta: float) -> "tuple[torch.Tensor, Metrics]":
    """L = mean (h − 1/(2β))²,  h = chosen − rejected   (Azar et al. 2024, eq. 17). As for DPO, but the log-ratios (B,)
    are means over the tokens of a response where its authors' later code and TRL are followed (see conventions.md).
    """
    margin = chosen - rejected
    return (margin - 1 / (2 * beta)).square().mean(), _pair_metrics(beta * margin)


def kto_loss(
    log_ratios: "torch.Tensor",
    desirable: "torch.Tensor",
    kl: "torch.Tensor",
    *,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> "tuple[torch.Tensor, Metrics]":
    """L = mean λ_y (1 − v),  v = σ(±β (log-ratio − z_0)), + where desirable   (Ethayarajh et al. 2024, eq. 8).

    ``log_ratios`` (B,) of single responses, ``desirable`` (B,) bool, ``kl`` the scalar z_0 ≥ 0, without a gradient.
    """
    import torch

    sign = torch.where(desirable, 1.0, -1.0).to(log_ratios.dtype)
    value = torch.sigmoid(sign * beta * (log_ratios - kl))
    weight = torch.where(desirable, desirable_weight, undesirable_weight).to(log_ratios.dtype)
    return (weight * (1 - value)).mean(), {"value": float(value.detach().mean()), "kl": float(kl)}


def nll_loss(logprobs: "torch.Tensor", lengths: "torch.Tensor") -> "tuple[torch.Tensor, Metrics]":
    """L = −mean log π(y|x) / |y|   (Pang et al. 2024, eq. 1), added to a loss of pairs for their chosen responses.

    ``logprobs`` (B,) summed over the response, ``lengths`` (B,) in tokens. What tells two sides apart may push both
    down, as long as the rejected falls faster; this holds the chosen one up.
    """
    loss = -(logprobs / lengths).mean()
    return loss, {"chosen_nll": float(loss.detach())}


def _pair_metrics(margin: "torch.Tensor") -> Metrics:
    right = (margin > 0).float() + 0.5 * (margin == 0).float()
    return {"accuracy": float(right.mean()), "margin": float(margin.detach().mean())}
