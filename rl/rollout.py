"""Sampling solutions: problems in, rollouts out."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from lm.engine import Completion, Engine, Sampling
from lm.tokenizer import encode, prompt_text, token_ends
from rl.batch import Rollout
from verifiers.solution import Problem, Solution
from verifiers.split import split_steps

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def sample_rollouts(
    engine: Engine,
    tokenizer: "PreTrainedTokenizerBase",
    problems: Sequence[Problem],
    sampling: Sampling,
    seed: int | Sequence[int],
    prompt: str | None = None,
    arrived: Callable[[Mapping[int, list[Rollout]]], None] = lambda some: None,
) -> list[Rollout]:
    """``sampling.n`` rollouts of each problem, those of one problem side by side.

    ``arrived`` is told of the rollouts of each problem, by its place, while others are still sampled.
    """
    prompts = encode(tokenizer, [prompt_text(tokenizer, p.question, prompt) for p in problems])
    found: dict[int, list[Rollout]] = {}

    def keep(some: Mapping[int, Sequence[Completion]]) -> None:
        new = {i: [make_rollout(tokenizer, problems[i], prompts[i], c) for c in group] for i, group in some.items()}
        found.update(new)
        arrived(new)

    engine.generate(prompts, sampling, seed, keep)
    return [rollout for i in range(len(problems)) for rollout in found[i]]


def make_rollout(
    tokenizer: "PreTrainedTokenizerBase", problem: Problem, prompt_ids: Sequence[int], completion: Completion
) -> Rollout:
    """Cut a completion into steps and find the token that ends each: the first by which its last character stands."""
    text, ends = token_ends(tokenizer, completion.token_ids)
    steps = split_steps(text)
    step_ends, token = [], 0
    for step in steps:
        while ends[token] < step.end:
            token += 1
        step_ends.append(token)
    return Rollout(tuple(prompt_ids), completion, Solution(problem, text, steps), tuple(step_ends))


def draw(problems: Sequence[Problem], count: int, seed: int, step: int, attempt: int = 0) -> list[Problem]:
    """The problems of one step: ``count`` different ones (all, if there are fewer), by seed, step and attempt alone."""
    place = f"{seed}/{step}/{attempt}" if attempt else f"{seed}/{step}"
    return random.Random(place).sample(list(problems), min(count, len(problems)))


class Counter:
    """What a run has used up so far, as a checkpoint keeps it, of a ``budget`` of sampled tokens where it has one."""

    def __init__(self, budget: int | None = None) -> None:
        self.budget, self.sampled_tokens = budget, 0

    def spent(self) -> bool:
        return self.budget is not None and self.sampled_tokens >= self.budget

    def state_dict(self) -> dict[str, int]:
        return {"sampled_tokens": self.sampled_tokens}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.sampled_tokens = state["sampled_tokens"]
