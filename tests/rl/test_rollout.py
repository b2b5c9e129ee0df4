"""From completions to steps and the tokens that end them; which problems a step draws."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lm.engine import Completion, Sampling, TransformersEngine
from rl.rollout import draw, make_rollout, sample_rollouts
from verifiers.solution import Problem

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PROBLEM = Problem("p", "8+4-3", "9")


def completion(ids: list[int]) -> Completion:
    return Completion(tuple(ids), np.zeros(len(ids), np.float32), "length")


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("12-3\n#### 9", ["3", "9"]),
        ("12-3\n\n #### 9 \n", ["3", "9"]),
        ("x\n\n\n", ["x"]),
        ("", []),
        (" \n ", []),
        ("7", ["7"]),
    ],
)
def test_a_step_ends_at_the_token_with_its_last_character(
    tokenizer: "PreTrainedTokenizerBase", text: str, pieces: list[str]
) -> None:
    ids = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
    rollout = make_rollout(tokenizer, PROBLEM, [1, 2], completion(ids))
    assert rollout.solution.text == text
    assert rollout.prompt_ids == (1, 2)
    assert [tokenizer.decode([ids[end]]) for end in rollout.step_ends] == pieces


@pytest.mark.parametrize("text", ["é²\n→→\nx", "👩‍👧 = 2\n#### 二", "\u2028a\u2028\nb"])
def test_steps_of_many_byte_characters(tokenizer: "PreTrainedTokenizerBase", text: str) -> None:
    """Independently: the fewest tokens whose decoded text holds the whole step."""
    ids = tokenizer(text)["input_ids"]
    rollout = make_rollout(tokenizer, PROBLEM, [1], completion(ids))
    for step, end in zip(rollout.solution.steps, rollout.step_ends, strict=True):
        assert tokenizer.decode(ids[: end + 1])[: step.end] == text[: step.end]
        assert tokenizer.decode(ids[:end])[: step.end] != text[: step.end]


def test_text_cut_in_the_middle_of_a_character(tokenizer: "PreTrainedTokenizerBase") -> None:
    ids = tokenizer("1\n²")["input_ids"]
    rollout = make_rollout(tokenizer, PROBLEM, [1], completion(ids[:-1]))
    assert rollout.solution.text == "1\n"
    assert rollout.step_ends == (0,)


def test_rollouts_of_a_problem_stand_side_by_side(
    fitted_policy: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase"
) -> None:
    problems = [Problem(f"p{i}", question, "1") for i, question in enumerate(["9+9-12", "1+1", "8+4-3"])]
    engine, seen = TransformersEngine(fitted_policy, tokenizer), list[Any]()
    rollouts = sample_rollouts(
        engine, tokenizer, problems, Sampling(max_tokens=12, n=2), 3, "{question}=\n", seen.append
    )
    assert [r.solution.problem.id for r in rollouts] == ["p0", "p0", "p1", "p1", "p2", "p2"]
    assert [tokenizer.decode(list(r.prompt_ids)) for r in rollouts[::2]] == ["9+9-12=\n", "1+1=\n", "8+4-3=\n"]
    assert [r for some in seen for i in sorted(some) for r in some[i]] == rollouts
    for r in rollouts:
        text = str(tokenizer.decode(list(r.completion.token_ids), skip_special_tokens=True))
        assert r.solution.text.rstrip("\ufffd") == text.rstrip("\ufffd")
        assert len(r.step_ends) == len(r.solution.steps)
        assert all(0 <= end < len(r.completion.token_ids) for end in r.step_ends)
        assert list(r.step_ends) == sorted(r.step_ends)
    assert all(r.prompt_ids[-1] == tokenizer("\n")["input_ids"][0] for r in sample_rollouts(
        engine, tokenizer, problems, Sampling(max_tokens=1), 0
    ))  # fmt: skip


def test_draws_are_a_function_of_seed_and_step() -> None:
    problems = [Problem(str(i), str(i), "1") for i in range(40)]
    first = draw(problems, 10, seed=1, step=2)
    assert first == draw(problems, 10, seed=1, step=2)
    assert len(set(first)) == 10
    assert first != draw(problems, 10, seed=1, step=3)
    assert first != draw(problems, 10, seed=2, step=2)
    assert set(draw(problems, 100, seed=0, step=0)) == set(problems)
    assert {p.id for step in range(60) for p in draw(problems, 4, 0, step)} == {p.id for p in problems}
