"""Acting: the judged rollouts that one step learns from, sampled anew where a problem has nothing to teach."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lm import processes
from lm.engine import Engine, in_groups, request_seeds
from lm.errors import UserError, engine_errors
from rl.batch import Rollout
from rl.config import RLConfig
from rl.rollout import draw, sample_rollouts
from rl.stream import Stream
from verifiers.pool import verify_many
from verifiers.solution import Problem, Solution, Verdict

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from prm.scores import StepScores

Score = Callable[[Sequence[Solution]], "Sequence[StepScores | str]"]
Timer = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True)
class Collected:
    """The rollouts to learn from, those of a problem side by side, and their verdicts; ``scores`` where their steps
    were scored as they came. ``accuracy`` and ``tokens`` are of all that was sampled, with what was sampled anew."""

    rollouts: list[Rollout]
    verdicts: list[Verdict]
    scores: "list[StepScores | str] | None"
    accuracy: float
    tokens: int


@dataclass(frozen=True)
class _Judged:
    rollout: Rollout
    verdict: Verdict
    score: "StepScores | str" = "not scored yet"


def collect(
    engine: Engine,
    tokenizer: "PreTrainedTokenizerBase",
    problems: Sequence[Problem],
    config: RLConfig,
    step: int,
    timer: Timer,
    score: Score | None = None,
) -> Collected:
    """Sample ``config.problems_per_step`` problems and verify the answers: each process its block, all get the whole.

    Answers are verified, and with ``score`` steps are scored, while other rollouts are still sampled; the time of
    "judge" is what is left to wait for.

    With ``config.resample`` only problems with right and wrong answers are kept, and others are drawn for the rest, so
    many rounds at most. A step in which no problem qualifies keeps the last round: its advantages say nothing.
    """
    judged: list[_Judged] = []
    seen: list[bool] = []
    tokens, group = 0, config.sampling.n

    def judge(groups: Sequence[list[Rollout]]) -> list[list[_Judged]]:
        rollouts = [rollout for some in groups for rollout in some]
        solutions = [rollout.solution for rollout in rollouts]
        parts: list[Sequence[Any]] = [rollouts, verified(solutions, config.verifier_workers, config.verifier_seconds)]
        parts += [] if score is None else [score(solutions)]
        return in_groups([_Judged(*one) for one in zip(*parts, strict=True)], group)

    for attempt in range(1 + config.resample):
        with Stream(judge) as stream:
            with timer("sample"):
                wanted = config.problems_per_step - len(judged) // group
                chosen = draw(problems, wanted, config.seed, step, attempt)
                seed = config.seed * 1_000_003 + step + attempt * 500_009
                block = processes.my_block(len(chosen))
                cut = slice(block.start, block.stop)
                mine, seeds = chosen[cut], request_seeds(seed, len(chosen))[cut]
                with engine_errors():
                    sample_rollouts(engine, tokenizer, mine, config.sampling, seeds, config.prompt, stream.put)
            with timer("judge"):
                found = processes.gathered([one for some in stream.results() for one in some])
        seen += [one.verdict.correct for one in found]
        tokens += sum(len(one.rollout.completion.token_ids) for one in found)
        kept = with_signal([one.verdict for one in found], group) if config.resample else range(len(found))
        if attempt == config.resample and not judged and not kept:
            kept = range(len(found))
        judged += [found[i] for i in kept]
        if len(judged) == config.problems_per_step * group:
            break
    return Collected(
        [one.rollout for one in judged],
        [one.verdict for one in judged],
        None if score is None else [one.score for one in judged],
        float(np.mean(seen)),
        tokens,
    )


def verified(solutions: Sequence[Solution], workers: int, seconds: float) -> list[Verdict]:
    """The verdicts; with ``workers`` an answer that takes longer than ``seconds`` is a timeout and nothing else waits.

    Raises UserError where no worker can be started.
    """
    try:
        return verify_many(solutions, workers=workers, timeout=seconds)
    except RuntimeError as error:  # verifiers.pool's: its workers die, or never get ready
        raise UserError(f"{error}; verifier_workers=0 does without them, and resume=true goes on") from error


def with_signal(verdicts: Sequence[Verdict], group: int) -> list[int]:
    """Rows of the groups in which some rollouts are right and some are not: the others have no advantage to give
    (dynamic sampling; Yu et al. 2025, eq. 11)."""
    rows: list[int] = []
    for start in range(0, len(verdicts), group):
        if len({v.correct for v in verdicts[start : start + group]}) > 1:
            rows += range(start, start + group)
    return rows
