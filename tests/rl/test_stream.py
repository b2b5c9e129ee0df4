"""Judging while others are sampled: what is judged together, and that a step of RL really does it."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from lm.engine import Completion, Finished, Sampling, TransformersEngine
from lm.errors import UserError
from lm.run import read_metrics
from prm.symbolic import SymbolicPRM
from rl.collect import collect
from rl.config import RLConfig, check
from rl.stream import Stream
from rl.train import train
from verifiers.solution import Problem, Solution

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PATIENCE = 60.0


def test_what_comes_while_the_judge_is_busy_is_judged_together() -> None:
    calls: list[list[str]] = []
    busy, go_on = threading.Event(), threading.Event()

    def judge(words: Sequence[str]) -> list[int]:
        calls.append(list(words))
        busy.set()
        assert go_on.wait(PATIENCE)
        return [len(word) for word in words]

    with Stream(judge) as stream:
        stream.put({1: "four"})
        assert busy.wait(PATIENCE)
        stream.put({2: "fifth"})
        stream.put({0: "one", 3: "sixth."})
        go_on.set()
        assert stream.results() == [3, 4, 5, 6]
    assert calls == [["four"], ["fifth", "one", "sixth."]]


def test_what_the_judge_raises_is_raised_where_its_answer_is_wanted() -> None:
    def judge(words: Sequence[str]) -> list[int]:
        raise UserError("no judge")

    with Stream(judge) as stream:
        stream.put({0: "a"})
        with pytest.raises(UserError, match="no judge"):
            stream.results()


class Waiting(TransformersEngine):
    """Goes on to its second batch only when the first has been judged: forever, if judging waited for the last."""

    judged = threading.Event()

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        seed: int | Sequence[int],
        finished: Finished | None = None,
    ) -> list[Completion]:
        def wait(some: Mapping[int, Sequence[Completion]]) -> None:
            assert finished is not None
            finished(some)
            assert self.judged.wait(PATIENCE)

        return super().generate(prompts, sampling, seed, wait)


def test_the_first_rollouts_are_judged_before_the_last_are_sampled(
    fitted_policy: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", configure: Callable[..., RLConfig]
) -> None:
    problems = [Problem(f"{a}+5-1", f"{a}+5-1", str(a + 4)) for a in range(6)]
    engine = Waiting(fitted_policy, tokenizer, 4)  # two problems of two rollouts at once
    scored: list[int] = []
    prm: Any = SymbolicPRM()

    def score(solutions: Sequence[Solution]) -> Any:
        scored.append(len(solutions))
        engine.judged.set()
        return prm.score(solutions)

    config = configure("stream", problems_per_step=6)
    found = collect(engine, tokenizer, problems, config, 0, lambda name: nullcontext(), score)
    assert scored[0] == 4
    assert sum(scored) == 12
    plain = collect(
        TransformersEngine(fitted_policy, tokenizer, 4), tokenizer, problems, config, 0, lambda name: nullcontext()
    )
    assert plain.scores is None
    assert [r.solution for r in found.rollouts] == [r.solution for r in plain.rollouts]
    assert found.verdicts == plain.verdicts
    assert found.scores is not None
    by_hand = prm.score([r.solution for r in plain.rollouts])
    assert [s.probabilities.tolist() for s in found.scores if not isinstance(s, str)] == [
        s.probabilities.tolist() for s in by_hand
    ]


def test_a_run_that_overlaps_is_the_run_that_does_not(configure: Callable[..., RLConfig]) -> None:
    lines = {}
    for overlap in (False, True):
        train(config := configure(f"overlap-{overlap}", overlap=overlap, engine_batch=4))
        lines[overlap] = read_metrics(config.folder)
    for here, there in zip(lines[False], lines[True], strict=True):
        numbers = {name for name, value in here.items() if isinstance(value, float)}
        assert {"accuracy", "prm_score", "policy_loss", "grad_norm"} <= numbers
        assert [there[name] for name in numbers] == pytest.approx([here[name] for name in numbers], abs=1e-5)


def test_judges_that_cannot_stand_beside_the_policy_are_refused(configure: Callable[..., RLConfig]) -> None:
    with pytest.raises(UserError, match="with prover leave overlap at false"):
        check(replace(configure("refused"), prover="other", overlap=True))
