"""prm.sample: n solutions of each problem, cut into steps."""

import pytest
from toy_models import TablePolicy, toy_policy, toy_tokenizer
from transformers import PreTrainedTokenizerBase

from lm.engine import Sampling, TransformersEngine
from prm.sample import sample_solutions
from verifiers.families import distinct
from verifiers.solution import Problem
from verifiers.split import split_steps


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return toy_tokenizer()


def test_solutions_of_one_problem_stand_side_by_side(tokenizer: PreTrainedTokenizerBase) -> None:
    first, second = Problem("a", "1+2+3", "6"), Problem("b", "4-1", "3")
    engine = TablePolicy(tokenizer, {"1+2+3\n": ["3+3\n6\n#### 6", "#### 7"], "4-1\n": ["#### 3", ""]})
    found = [s for s, _ in sample_solutions(engine, tokenizer, [first, second], Sampling(n=2), 0)]
    assert [(s.problem.id, s.text) for s in found] == [
        ("a", "3+3\n6\n#### 6"),
        ("a", "#### 7"),
        ("b", "#### 3"),
        ("b", ""),
    ]
    assert [step.text for step in found[0].steps] == ["3+3", "6", "#### 6"]
    assert found[3].steps == ()


def test_a_prompt_of_ones_own(tokenizer: PreTrainedTokenizerBase) -> None:
    engine = TablePolicy(tokenizer, {"Q: 4-1\nA:": ["#### 3"]})
    [(solution, _)] = sample_solutions(
        engine, tokenizer, [Problem("b", "4-1", "3")], Sampling(), 0, "Q: {question}\nA:"
    )
    assert solution.text == "#### 3"


def test_a_model_s_solutions_are_its_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    engine = TransformersEngine(toy_policy(tokenizer), tokenizer, batch=8)
    problems = [e.problem for e in distinct(("chain", "word"), (1, 2), "train", 0, 5)]

    def sample(seed: int) -> list:
        return sample_solutions(engine, tokenizer, problems, Sampling(max_tokens=12, n=3), seed)

    found = sample(5)
    assert [s.problem for s, _ in found] == [p for p in problems for _ in range(3)]
    for s, c in found:
        whole = tokenizer.decode(list(c.token_ids), skip_special_tokens=True)
        assert whole.rstrip("\ufffd").startswith(s.text.rstrip("\ufffd"))
        assert s.steps == split_steps(s.text)
    assert [s.text for s, _ in found] == [s.text for s, _ in sample(5)]
    assert [s.text for s, _ in found] != [s.text for s, _ in sample(6)]
