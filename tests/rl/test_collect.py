"""Which problems a step learns from, and what is sampled anew."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np

from lm.engine import Sampling, TransformersEngine
from rl.collect import collect, with_signal
from rl.config import RLConfig
from verifiers.solution import Problem, Verdict
from verifiers.verify import verify_solution

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

RIGHT, WRONG = Verdict(True, "1", "match"), Verdict(False, "2", "mismatch")


def test_groups_that_differ_in_themselves() -> None:
    verdicts = [RIGHT, RIGHT, RIGHT, WRONG, WRONG, WRONG, WRONG, RIGHT]
    assert with_signal(verdicts, 2) == [2, 3, 6, 7]
    assert with_signal(verdicts, 4) == list(range(8))


def test_what_is_sampled_anew(
    fitted_policy: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", configure: Callable[..., RLConfig]
) -> None:
    """Sums of 0 to 9, some of which the policy gets right now and then; answers nobody gives teach nothing."""
    problems = [Problem(f"{a}+{b}-{c}", f"{a}+{b}-{c}", str(a + b - c)) for a in range(9) for b in (1, 5) for c in (1,)]
    engine = TransformersEngine(fitted_policy, tokenizer)

    def run(problems: list[Problem], resample: int) -> "tuple[int, int, list[bool], float]":
        sampling = Sampling(max_tokens=16, n=4)
        config = configure("collect", sampling=sampling, problems_per_step=6, resample=resample)
        found = collect(engine, tokenizer, problems, config, 0, lambda name: nullcontext())
        assert [verify_solution(r.solution).correct for r in found.rollouts] == [v.correct for v in found.verdicts]
        groups = np.array([v.correct for v in found.verdicts]).reshape(-1, 4)
        assert all(len({r.solution.problem for r in found.rollouts[i : i + 4]}) == 1 for i in range(0, len(groups), 4))
        return len(groups), found.tokens, (groups.any(1) & ~groups.all(1)).tolist(), found.accuracy

    plain, more = run(problems, 0), run(problems, 6)
    assert plain[0] == 6
    assert not all(plain[2])
    assert all(more[2])
    assert sum(plain[2]) <= more[0] <= 6
    assert more[1] > plain[1]  # tokens of what was thrown away are counted
    hopeless = [Problem(p.id, p.question, "-77") for p in problems]
    groups, _, signal, accuracy = run(hopeless, 2)
    assert (groups, any(signal), accuracy) == (6, False, 0.0)  # the last round, rather than nothing
