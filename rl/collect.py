"""Acting: the judged rollouts that one step learns from, sampled anew where a problem has nothing to teach."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lm import processes
from lm.engine import Engine, request_seeds
from lm.errors import UserError, engine_errors
from rl.batch import Rollout
from rl.config import RLConfig
from rl.rollout import draw, sample_rollouts
from verifiers.pool import verify_many
from verifiers.solution import Problem, Solution, Verdict

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Collected:
    """The rollouts to learn from, those of a problem side by side, and their verdicts; ``accuracy`` and ``tokens``
    are of all that was sampled, with what was sampled anew."""

    rollouts: list[Rollout]
    verdicts: list[Verdict]
    accuracy: float
    tokens: int


def collect(
    engine: Engine,
    tokenizer: "PreTrainedTokenizerBase",
    problems: Sequence[Problem],
    config: RLConfig,
    step: int,
    timer: Callable[[str], AbstractContextManager[None]],
) -> Collected:
    """Sample ``config.problems_per_step`` problems and verify the answers: each process its block, all get the whole.

    With ``config.resample`` only problems with right and wrong answers are kept, and others are drawn for the rest, so
    many rounds at most. A step in which no problem qualifies keeps the last round: its advantages say nothing.
    """
    rollouts: list[Rollout] = []
    verdicts: list[Verdict] = []
    seen: list[bool] = []
    tokens, group = 0, config.sampling.n
    for attempt in range(1 + config.resample):
        with timer("sample"):
            wanted = config.problems_per_step - len(rollouts) // group
            chosen = draw(problems, wanted, config.seed, step, attempt)
            seed = config.seed * 1_000_003 + step + attempt * 500_009
            block = processes.my_block(len(chosen))
            mine, seeds = chosen[block.start : block.stop], request_seeds(seed, len(chosen))[block.start : block.stop]
            with engine_errors():
                own = sample_rollouts(engine, tokenizer, mine, config.sampling, seeds, config.prompt)
        with timer("judge"):
            verdicts_of = verified([r.solution for r in own], config.verifier_workers, config.verifier_seconds)
            judged = processes.gathered(list(zip(own, verdicts_of, strict=True)))
            sampled, found = [r for r, _ in judged], [v for _, v in judged]
        seen += [v.correct for v in found]
        tokens += sum(len(r.completion.token_ids) for r in sampled)
        kept = with_signal(found, group) if config.resample else range(len(found))
        if attempt == config.resample and not rollouts and not kept:
            kept = range(len(found))
        rollouts += [sampled[i] for i in kept]
        verdicts += [found[i] for i in kept]
        if len(rollouts) == config.problems_per_step * group:
            break
    return Collected(rollouts, verdicts, float(np.mean(seen)), tokens)


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
