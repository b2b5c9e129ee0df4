"""prm.rollouts: prefixes end where the next step begins, and too long ones are told from failing ones."""

import pytest
from toy_models import TablePolicy, solution, toy_tokenizer

from lm.engine import Sampling
from prm.rollouts import Roller, Rollout, Sample
from verifiers.solution import Problem

PROBLEM = Problem("chain", "8+4-3", "9")


def test_prefixes() -> None:
    sample = Sample(solution("12-3\n\n9\n#### 9\n", PROBLEM))
    assert [sample.prefix(i) for i in range(4)] == ["", "12-3\n\n", "12-3\n\n9\n", "12-3\n\n9\n#### 9"]


def test_rollouts_are_whole_texts_with_their_verdicts() -> None:
    tokenizer = toy_tokenizer()
    table = {"8+4-3\n12-3\n": ["#### 9", "#### 8"], "8+4-3\n": ["12-3\n#### 9", ""]}
    roller = Roller(TablePolicy(tokenizer, table), tokenizer, Sampling(n=2))
    first, second = roller.roll([(PROBLEM, "12-3\n"), (PROBLEM, "")], 0)
    assert first is not None
    assert second is not None
    assert [(r.text, r.right) for r in first] == [("12-3\n#### 9", True), ("12-3\n#### 8", False)]
    ids = tokenizer("#### 9", add_special_tokens=False)["input_ids"]
    assert first[0] == Rollout("12-3\n#### 9", len(ids) + 1, True, True)
    assert [r.text for r in second] == ["12-3\n#### 9", ""]


@pytest.mark.parametrize(("context", "fits"), [(None, True), (64, True), (12, False)])
def test_a_prefix_that_leaves_no_room(context: int | None, fits: bool) -> None:
    tokenizer = toy_tokenizer()
    roller = Roller(TablePolicy(tokenizer, {"8+4-3\n": ["9"]}), tokenizer, Sampling(n=1, max_tokens=8), None, context)
    (found,) = roller.roll([(PROBLEM, "")], 0)
    assert (found is not None) is fits
