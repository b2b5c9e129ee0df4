"""prm.omega: the search against a scan of every step, the tree's statistics by hand, and what is shared."""

import json
import math
import random
from collections.abc import Sequence

import pytest
from toy_models import TablePolicy, completion, solution, toy_policy, toy_tokenizer
from transformers import PreTrainedTokenizerBase

from lm.engine import Completion, Finished, Sampling, TransformersEngine
from prm.omega import Found, State, Tree, exploration, omega_labels, rollout_value
from prm.rollouts import Roller, Rollout, Sample
from prm.sample import sample_solutions
from verifiers.families import distinct
from verifiers.solution import Problem
from verifiers.verify import verify_solution

PROBLEM = Problem("chain", "8+4-3", "9")


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return toy_tokenizer()


class Honest(TablePolicy):
    """A policy that arrives exactly from the texts without a line "bad", however long they are."""

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        seed: int,
        finished: Finished | None = None,
    ) -> list[Completion]:
        texts = [self.tokenizer.decode(prompt) for prompt in prompts]
        self.asked += texts
        ends = ["#### 8" if "bad\n" in text else "#### 9" for text in texts]
        return [completion(self.tokenizer, end) for end in ends for _ in range(sampling.n)]


def honest(tokenizer: PreTrainedTokenizerBase, n: int = 2) -> tuple[Roller, Honest]:
    engine = Honest(tokenizer, {})
    return Roller(engine, tokenizer, Sampling(n=n)), engine


def test_the_constants_of_the_paper() -> None:
    assert rollout_value(1.0, 0) == 1.0
    assert rollout_value(0.5, 500) == pytest.approx(0.5**0.5 * 0.9)
    assert rollout_value(0.0, 1000) == pytest.approx(0.5 * 0.81)
    assert exploration(3, 16) == pytest.approx(0.125 * 4 / 4)
    assert exploration(0, 0) == 0.0


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 16, 33])
def test_every_place_of_the_first_error_is_found_in_a_logarithm_of_the_steps(
    tokenizer: PreTrainedTokenizerBase, steps: int
) -> None:
    for error in range(steps):
        lines = [f"{i}" for i in range(error)] + ["bad"] + ["0"] * (steps - error - 1)
        roller, engine = honest(tokenizer)
        result = omega_labels(roller, [Sample(solution("\n".join(lines), PROBLEM))], 0)
        (item,) = result.labeled
        assert item.first_error(1e-9) == error
        assert item.labels[:error] == (1.0,) * error
        assert all(label in (0.0, None) for label in item.labels[error:])
        assert len(engine.asked) <= 1 + math.ceil(math.log2(max(2, steps)))  # the question itself, once
        assert result.cost["errors_found"] == 1


def test_labels_say_what_was_rolled_out_and_what_was_inferred(tokenizer: PreTrainedTokenizerBase) -> None:
    """Six steps, the fifth wrong: prefixes of 3 and 4 steps arrive, that of 5 does not."""
    roller, engine = honest(tokenizer)
    text = "0\n1\n2\n3\nbad\n#### 8"
    result = omega_labels(roller, [Sample(solution(text, PROBLEM))], 0)
    assert engine.asked == ["8+4-3\n0\n1\n2\n", "8+4-3\n0\n1\n2\n3\n", "8+4-3\n0\n1\n2\n3\nbad\n"]
    assert result.labeled[0].labels == (1.0, 1.0, 1.0, 1.0, 0.0, None)
    assert result.labeled[0].origins == ("omega_inferred",) * 2 + ("omega",) * 3 + (None,)
    assert {k: result.cost[k] for k in ("searches", "prefixes", "rollouts")} == {
        "searches": 1,
        "prefixes": 3,
        "rollouts": 6,
    }
    states = {row["prefix"]: row for row in result.states}
    assert [(row["steps"], row["right"], row["rollouts"], row["visits"]) for row in states.values()] == [
        (0, 0, 1, 1),  # the solution itself is a roll-out from the question
        (3, 2, 2, 0),
        (4, 2, 2, 0),
        (5, 0, 2, 0),
    ]
    json.dumps(result.states, allow_nan=False)


def test_solutions_of_one_problem_share_what_was_rolled_out(tokenizer: PreTrainedTokenizerBase) -> None:
    """The right one proves its prefixes without a roll-out; the second wrong one adds only the prefix of its own."""
    roller, engine = honest(tokenizer)
    texts = ["0\n1\n2\n#### 9", "0\n1\nbad\n#### 8", "0\n1\nbad\n#### 7", "0\nbad\n#### 8\n"]
    result = omega_labels(roller, [Sample(solution(text, PROBLEM)) for text in texts], 0)
    assert engine.asked == ["8+4-3\n0\n1\nbad\n", "8+4-3\n0\nbad\n"]
    assert [item.labels for item in result.labeled] == [
        (1.0, 1.0, 1.0, 1.0),
        (1.0, 1.0, 0.0, None),
        (1.0, 1.0, 0.0, None),
        (1.0, 0.0, None),
    ]
    assert result.labeled[0].origins == ("omega_inferred",) * 4


def test_a_problem_too_hard_or_without_an_answer_gets_no_label(tokenizer: PreTrainedTokenizerBase) -> None:
    table = {"8+4-3\n": ["#### 1", "#### 2"], "8+4-3\n1\n": ["#### 1", "#### 2"]}
    engine = TablePolicy(tokenizer, table)
    samples = [Sample(solution(text, p)) for p in (PROBLEM, Problem("x", "?", "")) for text in ("1\n#### 1", "")]
    result = omega_labels(Roller(engine, tokenizer, Sampling(n=2)), samples, 0, searches=3)
    assert [item.labels for item in result.labeled] == [(None, None), (), (None, None), ()]
    assert (engine.asked, result.more) == (["8+4-3\n1\n", "8+4-3\n"], [])
    assert result.cost["errors_found"] == 0


def test_ten_thousand_steps_take_fourteen_prefixes(tokenizer: PreTrainedTokenizerBase) -> None:
    lines = ["1"] * 7000 + ["bad"] + ["1"] * 2999
    roller, engine = honest(tokenizer, 1)
    result = omega_labels(roller, [Sample(solution("\n".join(lines), PROBLEM))], 0)
    assert result.labeled[0].first_error(1e-9) == 7000
    assert len(engine.asked) <= 15


def test_what_the_context_cannot_hold_stays_unknown(tokenizer: PreTrainedTokenizerBase) -> None:
    engine = Honest(tokenizer, {})
    roller = Roller(engine, tokenizer, Sampling(n=1, max_tokens=8), None, context=48)
    lines = ["1"] * 60 + ["bad"] + ["1"] * 40
    result = omega_labels(roller, [Sample(solution("\n".join(lines), PROBLEM))], 0)
    (item,) = result.labeled
    reached = item.labels.count(1.0)
    assert 5 < reached < 40
    assert item.labels == (1.0,) * reached + (None,) * (101 - reached)
    assert result.cost["too_long"] > 0
    assert result.cost["errors_found"] == 0


def test_a_solution_that_was_cut_off_need_not_be_wrong(tokenizer: PreTrainedTokenizerBase) -> None:
    roller, _ = honest(tokenizer)
    for text, labels in (("0\n1\n2\n", (1.0, 1.0, 1.0)), ("0\nbad\n2\n", (1.0, 0.0, None))):
        result = omega_labels(roller, [Sample(solution(text, PROBLEM), finished=False)], 0)
        assert tuple(result.labeled[0].labels) == labels


def test_the_next_roll_out_has_the_greatest_q_plus_u() -> None:
    """By hand: 0.5^0.25·0.9^0.02 + 0.125·√5/5 = 0.895, 0.5^0.75·0.9^0.002 + 0.125·√5/2 = 0.734; 0 and 1 never."""
    tree = Tree(PROBLEM)
    rollouts = {10: Rollout("long", 10, True, False), 1: Rollout("short", 1, True, False)}
    tree.states = {
        "a": State("a", 1, 4, 3, [rollouts[10]], visits=4),
        "b": State("b", 2, 4, 1, [rollouts[1]], visits=1),
        "c": State("c", 3, 4, 0, [rollouts[1]]),
        "d": State("d", 3, 4, 4, []),
    }
    assert rollout_value(0.75, 10) + exploration(4, 5) == pytest.approx(0.895, abs=1e-3)
    assert rollout_value(0.25, 1) + exploration(1, 5) == pytest.approx(0.734, abs=1e-3)
    assert tree.choose() == (tree.states["a"], rollouts[10])
    assert (tree.states["a"].visits, tree.states["a"].wrong) == (5, [])
    assert tree.choose() == (tree.states["b"], rollouts[1])
    assert tree.choose() is None


def test_further_searches_grow_the_tree(tokenizer: PreTrainedTokenizerBase) -> None:
    """From "0, 1" half of the roll-outs arrive; the one that fails is searched next, from there on."""
    table = {
        "8+4-3\n0\n1\n": ["#### 9", "2\n3\n#### 8"],
        "8+4-3\n0\n1\nbad\n": ["#### 8", "#### 8"],
        "8+4-3\n0\n1\n2\n3\n": ["#### 8", "#### 8"],
        "8+4-3\n0\n1\n2\n": ["#### 9", "#### 8"],
    }
    engine = TablePolicy(tokenizer, table)
    samples = [Sample(solution("0\n1\nbad\n#### 8", PROBLEM))]
    result = omega_labels(Roller(engine, tokenizer, Sampling(n=2)), samples, 0, searches=1)
    assert result.labeled[0].labels == (1.0, 0.5, 0.0, None)
    (more,) = result.more
    assert more.solution.text == "0\n1\n2\n3\n#### 8"
    assert more.labels == (1.0, 0.5, 0.5, 0.0, None)
    assert result.cost["searches"] == 2


def test_hard_labels_and_a_text_that_arrives_through_a_state_that_did_not() -> None:
    tree = Tree(PROBLEM)
    tree.add("0\n", 1, [Rollout("0\n#### 8", 1, True, False)] * 3)
    tree.add("", 0, [Rollout("0\n#### 9", 1, True, True)])
    assert tree.estimate("0\n") == 0.25  # none of three, and then one
    item = tree.label(Sample(solution("0\n#### 9", PROBLEM)), Found(2, None), hard=True)
    assert item.labels == (1.0, 1.0)


def test_a_model_s_search_agrees_with_rolling_out_everywhere(tokenizer: PreTrainedTokenizerBase) -> None:
    """Whatever a random model does: right solutions are labelled throughout, and no prefix is asked for twice."""
    engine = TransformersEngine(toy_policy(tokenizer), tokenizer, batch=16)
    problems = [e.problem for e in distinct(("chain", "word"), (1, 2), "train", 0, 3)]
    drawn = sample_solutions(engine, tokenizer, problems, Sampling(max_tokens=24, n=3), 1)
    samples = [Sample(s, c.finish == "stop") for s, c in drawn]
    random.Random(0).shuffle(samples)
    result = omega_labels(Roller(engine, tokenizer, Sampling(max_tokens=24, n=2)), samples, 2, searches=2)
    assert [item.solution for item in result.labeled] == [sample.solution for sample in samples]
    for item in result.labeled:
        if verify_solution(item.solution).correct:
            assert None not in item.labels
    assert len(result.states) == len({(row["id"], row["prefix"]) for row in result.states})
    assert result.cost["rollouts"] == 2 * result.cost["prefixes"]
