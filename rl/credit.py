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

Form = Literal[
    "outcome",
    "sum",
    "clip",
    "delta",
    "clip_delta",
    "min",
    "running_min",
    "potential",
    "progress",
    "group",
    "implicit",
]


@dataclass(frozen=True)
class CreditConfig:
    """What a rollout earns, and where."""

    form: Form = key(
        "delta", "how step scores become rewards; outcome uses the verdict alone (the baseline). See rl/credit.py"
    )
    min_temperature: float = key(0.0, "T of the form min: 0 charges the worst step alone, more spreads it", low=0)
    process_weight: float = key(1.0, "multiplies the step rewards")
    outcome_weight: float = key(1.0, "reward of a right final answer, given at the last token")
    no_answer: float = key(
        0.0, "reward at the last token of a rollout without an answer, or cut off before a right one"
    )
    could_not_tell: float = key(0.0, "reward at the last token when the verifier could not tell (unparsable, timeout)")
    truncated: float = key(0.0, "added at the last token of a rollout cut off at sampling.max_tokens")
    overlong_buffer: int = key(
        0, "tokens before sampling.max_tokens over which a long rollout comes to lose 1 (DAPO); 0: none", low=0
    )
    scale: float = key(1.0, "multiplies every reward")
    clip: float | None = key(None, "the reward of a token is held within ± this, once scaled", low=0)


def sum_form(p: np.ndarray) -> np.ndarray:
    """r_i = p_i. The return is the sum over steps, so longer solutions earn more: shown for what it is. (S,) -> (S,)"""
    return p.copy()


def clip_form(p: np.ndarray) -> np.ndarray:
    """r_i = min(p_i − η, 0) with η = 1: a step can only cost (the clip mechanism of Gao et al. 2024). (S,) -> (S,)"""
    return np.minimum(p - 1.0, 0.0)


def delta_form(p: np.ndarray) -> np.ndarray:
    """r_i = p_i − p_{i+1}, r_S = p_S: the return from step i on is p_i (delta of Gao et al. 2024). (S,) -> (S,)"""
    return np.append(p[:-1] - p[1:], p[-1:])


def clip_delta_form(p: np.ndarray) -> np.ndarray:
    """Clip, then delta, as Gao et al. 2024 run both: the return from step i on is min(p_i − 1, 0). (S,) -> (S,)"""
    return delta_form(clip_form(p))


def min_form(p: np.ndarray, temperature: float = 0.0) -> np.ndarray:
    """r*_i = softmax(−r / T)_i · r_i with r = 2p − 1 = p(right) − p(wrong)   (PURE, Cheng et al. 2025, eq. 6).

    At T = 0, the strict limit, only the first worst step earns, so the return is the minimum. (S,) -> (S,)
    """
    r = 2 * p - 1
    if not len(p):
        return r
    if temperature == 0:
        weights = np.zeros_like(r)
        weights[int(p.argmin())] = 1.0
    else:
        weights = np.exp((r.min() - r) / temperature)
        weights /= weights.sum()
    return weights * r


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


def progress_form(p: np.ndarray, start: float) -> np.ndarray:
    """The return from step i on is A_i = p_i − p_{i−1}, p_0 = ``start``: r_i = A_i − A_{i+1}, r_S = A_S. (S,) -> (S,)

    Process advantage verifiers (Setlur et al. 2024): with p_i = V^μ after step i, the chance that a prover μ
    ends well from there, tokens of step i are weighed by Q^π + A^μ, progress alone, not the progress of later steps.
    """
    return delta_form(np.diff(np.append(start, p)))


def implicit_form(p: np.ndarray) -> np.ndarray:
    """r_i = logit p_i − logit p_{i−1}, logit p_0 = 0: of an implicit PRM the β log π/π_ref of the step's tokens.

    PRIME's process reward (Cui et al. 2025, eq. 3), summed over a step. (S,) -> (S,)
    """
    held = np.clip(p, 1e-12, 1 - 1e-12)
    return np.diff(np.log(held) - np.log1p(-held), prepend=0.0)


def standardise(values: np.ndarray) -> np.ndarray:
    """(x − mean) / (s + 1e-4), s unbiased; 0 where there is but one. (N,) -> (N,)"""
    spread = values.std(ddof=1) if len(values) > 1 else 0.0
    return (values - values.mean()) / (spread + 1e-4)


def group_forms(scores: list[np.ndarray], form: Form) -> list[np.ndarray]:
    """Rewards of the forms that look at all rollouts of a problem: K arrays (S,) to K arrays (S,).

    progress  the value before the first step is the mean of the values after it
    group     every step standardised among all steps of the group: GRPO's process supervision (Shao et al. 2024,
              section 4.1.3), whose advantage is the sum of what follows (advantage.estimator=returns, whiten=false)
    """
    if form == "progress":
        first = [float(p[0]) for p in scores if len(p)]
        return [progress_form(p, sum(first) / len(first)) if len(p) else p for p in scores]
    every = np.concatenate(scores)
    if not len(every):
        return scores
    return np.split(standardise(every), np.cumsum([len(p) for p in scores])[:-1])


FORMS: dict[Form, Callable[[np.ndarray], np.ndarray]] = {
    "outcome": np.zeros_like,
    "sum": sum_form,
    "clip": clip_form,
    "delta": delta_form,
    "clip_delta": clip_delta_form,
    "min": min_form,
    "running_min": running_min_form,
    "potential": running_min_form,
    "implicit": implicit_form,
}


def step_rewards(scores: list[np.ndarray], config: CreditConfig, group: int) -> list[np.ndarray]:
    """The reward of each step of each rollout, ``group`` of them to a problem, side by side; not yet weighted."""
    if config.form in ("progress", "group"):
        groups = [scores[i : i + group] for i in range(0, len(scores), group)]
        return [rewards for members in groups for rewards in group_forms(members, config.form)]
    if config.form == "min":
        return [min_form(p, config.min_temperature) for p in scores]
    return [FORMS[config.form](p) for p in scores]


def outcome_reward(verdict: "Verdict", finish: str, config: CreditConfig) -> float:
    """What the whole rollout earns by its final answer."""
    if verdict.correct:
        return config.outcome_weight
    if verdict.reason in ("unparsable", "timeout"):
        return config.could_not_tell
    return config.no_answer if verdict.reason == "no answer" or finish == "length" else 0.0


def overlong_reward(length: int, longest: int, buffer: int) -> float:
    """0 up to longest − buffer tokens, then down in a line to −1 at ``longest`` (DAPO, Yu et al. 2025, eq. 13)."""
    return 0.0 if buffer == 0 else min(0.0, (longest - buffer - length) / buffer)


def token_rewards(
    tokens: "TokenBatch",
    scores: "Sequence[StepScores]",
    verdicts: "Sequence[Verdict]",
    config: CreditConfig,
    *,
    group: int = 1,
    longest: int = 0,
    paid: "Sequence[float] | None" = None,
) -> "torch.Tensor":
    """Rewards (B, T): step i's at the token that ends it, the outcome's and what length costs at the last one.

    ``group`` rollouts of each problem stand side by side; ``longest`` is the most tokens that one could have had.
    ``paid`` is what a reward model gives each rollout, in the place of its outcome's reward.
    """
    import torch

    rewards = torch.zeros(tokens.ids.shape)
    every_step = step_rewards([np.asarray(s.probabilities, dtype=np.float64) for s in scores], config, group)
    outcomes = (
        [config.outcome_weight * reward for reward in paid]
        if paid is not None
        else [
            outcome_reward(verdict, rollout.completion.finish, config)
            for verdict, rollout in zip(verdicts, tokens.rollouts, strict=True)
        ]
    )
    if config.form == "group":
        outcomes = [x for i in range(0, len(outcomes), group) for x in standardise(np.array(outcomes[i : i + group]))]
    for row, (rollout, per_step) in enumerate(zip(tokens.rollouts, every_step, strict=True)):
        first, length = len(rollout.prompt_ids), len(rollout.completion.token_ids)
        for end, reward in zip(rollout.step_ends, per_step, strict=True):
            rewards[row, first + end] += config.process_weight * float(reward)
        last = first + length - 1
        if config.form == "potential":
            rewards[row, last] -= config.process_weight * last_potential(per_step)
        rewards[row, last] += outcomes[row]
        rewards[row, last] += overlong_reward(length, longest, config.overlong_buffer)
        if rollout.completion.finish == "length":
            rewards[row, last] += config.truncated
    rewards *= config.scale
    if config.clip is not None:
        rewards.clamp_(-config.clip, config.clip)
    return rewards.to(tokens.ids.device)
