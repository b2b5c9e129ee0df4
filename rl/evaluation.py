"""What a run of RL is measured by every now and then: problems and worked solutions that it does not train on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lm import processes
from lm.engine import Engine, Sampling
from lm.errors import engine_errors
from lm.sft import Pair, encode_pairs, mean_loss
from prm.problems import load_problems
from rl.config import RLConfig
from rl.losses import Metrics
from rl.rollout import sample_rollouts
from verifiers.solution import Problem
from verifiers.verify import verify_solution

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class HeldOut:
    """Validation problems, the guard's problems (perhaps none), and worked solutions as token ids: those of the first,
    or where they have none (as the prompts of RLHF), of the guard's."""

    problems: list[Problem]
    worked: list[Pair]
    guard: list[Problem]


def load_held_out(config: RLConfig, tokenizer: "PreTrainedTokenizerBase") -> HeldOut:
    examples = load_problems(config.problems, "validation", config.eval_problems, stream=4)
    guard = load_problems(config.guard, "validation", config.eval_problems, stream=4) if config.guard else []
    texts, others = ([(e.problem.question, e.solution) for e in some if e.solution] for some in (examples, guard))
    worked = encode_pairs(tokenizer, texts or others, config.prompt)
    return HeldOut([e.problem for e in examples], worked, [e.problem for e in guard])


def measure(
    engine: Engine,
    tokenizer: "PreTrainedTokenizerBase",
    policy: "PreTrainedModel",
    held_out: HeldOut,
    config: RLConfig,
) -> Metrics:
    """``eval_accuracy`` on validation problems, and the guard of what was there before: ``guard_accuracy`` on the
    guard's problems, ``val_loss`` of held-out worked solutions (nats a token, as SFT logs it)."""
    with engine_errors():
        engine.load_weights(policy)  # what samples has last been told before this step's updates
    found: Metrics = {}
    longest = config.sampling.max_tokens
    if config.problems.answers:
        found["eval_accuracy"] = greedy_accuracy(engine, tokenizer, held_out.problems, longest, config.prompt)
    if held_out.guard:
        found["guard_accuracy"] = greedy_accuracy(engine, tokenizer, held_out.guard, longest, config.prompt)
    if held_out.worked:
        found["val_loss"] = mean_loss(policy, held_out.worked, config.micro_tokens)
    return found


def greedy_accuracy(
    engine: Engine,
    tokenizer: "PreTrainedTokenizerBase",
    problems: Sequence[Problem],
    max_tokens: int,
    prompt: str | None = None,
) -> float:
    """Share of ``problems`` that the policy answers rightly without sampling."""
    greedy = Sampling(temperature=0, max_tokens=max_tokens)

    def right(some: Sequence[Problem]) -> list[bool]:
        with engine_errors():
            rollouts = sample_rollouts(engine, tokenizer, some, greedy, 0, prompt)
        return [verify_solution(r.solution).correct for r in rollouts]

    return float(np.mean(processes.in_blocks(right, problems)))
