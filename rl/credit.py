"""Credit: from step scores and a final verdict to rewards on tokens. Each form is one pure function of the S scores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from lm.config import key

if TYPE_CHECKING:
    import torch

    from prm.scores import StepScores
    from rl.batch import TokenBatch
    from verifiers.solution import Verdict

Form = Literal["outcome", "sum", "clip", "delta", "min", "running_min", "potential"]


@dataclass(frozen=True)
class CreditConfig:
    """What a rollout earns, and where."""

    form: Form = key(
        "potential", "how step scores become rewards; outcome uses the verdict alone (the baseline). See rl/credit.py"
    )
    process_weight: float = key(1.0, "multiplies the step rewards")
    outcome_weight: float = key(1.0, "reward of a right final answer, given at the last token")
    no_answer: float = key(
        0.0, "reward at the last token of a rollout without an answer, or cut off before a right one"
    )
    could_not_tell: float = key(0.0, "reward at the last token when the verifier could not tell (unparsable, timeout)")


def sum_form(p: np.ndarray) -> np.ndarray:
    """r_i = p_i. The return is the sum over steps, so longer solutions earn more: shown for what it is. (S,) -> (S,)"""
    return p.copy()


def clip_form(p: np.ndarray) -> np.ndarray:
    """r_i = min(p_i − η, 0) with η = 1: a step can only cost (the clip mechanism of Gao et al. 2024). (S,) -> (S,)"""
    return np.minimum(p - 1.0, 0.0)


def delta_form(p: np.ndarray) -> np.ndarray:
    """r_i = p_i − p_{i+1}, r_S = p_S: the return from step i on is p_i (delta of Gao et al. 2024). (S,) -> (S,)"""
    return np.append(p[:-1] - p[1:], p[-1:])


def min_form(p: np.ndarray) -> np.ndarray:
    """Only the worst step earns: r_i = 2 p_i − 1 at the first argmin, else 0, so the return is the minimum.

    PURE (Cheng et al. 2025) in its strict limit T → 0, with its process reward p(right) − p(wrong). (S,) -> (S,)
    """
    rewards = np.zeros_like(p)
    if len(p):
        worst = int(p.argmin())
        rewards[worst] = 2 * p[worst] - 1
    return rewards


def running_min_form(p: np.ndarray) -> np.ndarray:
    """r_i = Φ_i − Φ_{i−1} with Φ_i = min(p_1..p_i), Φ_0 = 1: the fall is charged to the step that caused it.

    A difference of potentials (Ng et al. 1999) whose sum telescopes to min(p) − 1, so neither more steps nor steps
    after the first error change the return. (S,) -> (S,)
    """
    return np.diff(np.minimum.accumulate(np.append(1.0, p)))


def last_potential(rewards: np.ndarray) -> float:
    """Φ_S of running_min_form's rewards (S,): what the form "potential" takes back at the end of the episode.

    Ng et al. (1999) ask for Φ(terminal) = 0: then the shaping sums to −Φ_0 whatever the policy does, so a policy that
    pleases the PRM and not the verifier gains nothing by it, yet a wrong step still pays where it is made.
    """
    return 1.0 + float(rewards.sum())


FORMS: dict[Form, Callable[[np.ndarray], np.ndarray]] = {
    "outcome": np.zeros_like,
    "sum": sum_form,
    "clip": clip_form,
    "delta": delta_form,
    "min": min_form,
    "running_min": running_min_form,
    "potential": running_min_form,
}


def outcome_reward(verdict: "Verdict", finish: str, config: CreditConfig) -> float:
    """What the whole rollout earns by its final answer."""
    if verdict.correct:
        return config.outcome_weight
    if verdict.reason in ("unparsable", "timeout"):
        return config.could_not_tell
    return config.no_answer if verdict.reason == "no answer" or finish == "length" else 0.0


def token_rewards(
    tokens: "TokenBatch", scores: "Sequence[StepScores]", verdicts: "Sequence[Verdict]", config: CreditConfig
) -> "torch.Tensor":
    """Rewards (B, T): step i's at the token that ends it, the outcome's at the last sampled token."""
    import torch

    rewards = torch.zeros(tokens.ids.shape)
    for row, rollout in enumerate(tokens.rollouts):
        first = len(rollout.prompt_ids)
        per_step = FORMS[config.form](np.asarray(scores[row].probabilities, dtype=np.float64))
        for end, reward in zip(rollout.step_ends, per_step, strict=True):
            rewards[row, first + end] += config.process_weight * float(reward)
        last = first + len(rollout.completion.token_ids) - 1
        if config.form == "potential":
            rewards[row, last] -= config.process_weight * last_potential(per_step)
        rewards[row, last] += outcome_reward(verdicts[row], rollout.completion.finish, config)
    return rewards.to(tokens.ids.device)
