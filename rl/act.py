"""Acting: rollouts of the policy, their verdicts, and the scores of their steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from lm import processes
from lm.engines import open_engine
from lm.errors import engine_errors
from prm.scorer import Scorer, score_each
from prm.scores import StepScores
from rl.collect import Collected, Timer, collect
from rl.config import RLConfig
from rl.judge import Prover, step_judge
from rl.reward_model import RewardModel, outcome_scores

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from verifiers.solution import Problem, Solution


@dataclass(frozen=True)
class Acted:
    """What one step learns from: rollouts with their verdicts, and of each the scores of its steps.

    ``paid`` is what a reward model pays for each rollout in the verdict's place; None without one.
    """

    collected: Collected
    scores: "list[StepScores]"
    paid: list[float] | None
    unscored: float = 0.0  # share of the rollouts that the PRM cannot read
    elsewhere: Mapping[str, float] = field(default_factory=dict)  # seconds that it took another process


class Actor:
    """The policy's engine and those who judge what it writes."""

    def __init__(
        self,
        config: RLConfig,
        tokenizer: "PreTrainedTokenizerBase",
        problems: "Sequence[Problem]",
        policy: "PreTrainedModel",
        reference: "PreTrainedModel",
    ) -> None:
        self.config, self.tokenizer, self.problems = config, tokenizer, problems
        self.engine = open_engine(
            config.engine, config.policy, tokenizer, dtype=config.dtype, batch=config.engine_batch,
            model=None if processes.sharded() else policy,  # a model in shards cannot sample at each process's own pace
        )  # fmt: skip
        self.prm = step_judge(config, tokenizer, reference)

    def act(self, step: int, policy: "PreTrainedModel", timer: Timer) -> Acted:
        """Sample the problems of ``step`` with ``policy``'s weights and judge: first final answers, then every step.

        Of several processes each does its part, and all get the whole.
        """
        with timer("weights"), engine_errors():
            self.engine.load_weights(policy)
        score = partial(score_each, self.prm) if self.config.overlap else None  # type: ignore[arg-type]  # by check
        collected = collect(self.engine, self.tokenizer, self.problems, self.config, step, timer, score)
        with timer("judge"):
            solutions = [r.solution for r in collected.rollouts]
            if isinstance(self.prm, RewardModel):  # RLHF: what people would prefer, in the place of the verdict
                paid = processes.in_blocks(self.prm.rate, [(s.problem.question, s.text) for s in solutions])
                return Acted(collected, outcome_scores(paid, solutions), paid)
            scores, unscored = step_scores(self.prm, solutions, collected.scores)
            return Acted(collected, scores, None, unscored)


def step_scores(
    prm: "Scorer | Prover", solutions: "Sequence[Solution]", found: "Sequence[StepScores | str] | None" = None
) -> "tuple[list[StepScores], float]":
    """(the scores of each solution, the share that cannot be scored): such a one, longer than the PRM reads for
    example, has every step scored 0, so that a policy gains nothing by writing what its judge cannot read.

    ``found`` is what ``score_each`` has found already.
    """
    if isinstance(prm, Prover):
        return processes.in_blocks(prm.score, solutions), 0.0
    if found is None:
        found = processes.in_blocks(partial(score_each, prm), solutions)
    scores = [
        StepScores(np.zeros(len(solution.steps))) if isinstance(score, str) else score
        for solution, score in zip(solutions, found, strict=True)
    ]
    return scores, float(np.mean([isinstance(score, str) for score in found]))
