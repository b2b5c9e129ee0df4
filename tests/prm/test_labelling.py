"""prm.labelling: both labellers and how far they agree, worked by hand."""

import math
import random

import pytest
from toy_models import TablePolicy, completion, solution, toy_policy, toy_tokenizer
from transformers import PreTrainedTokenizerBase

from lm.engine import Sampling, TransformersEngine
from prm.labelling import (
    RolloutCost,
    add_costs,
    agreement,
    monte_carlo_label,
    monte_carlo_labels,
    symbolic_labels,
)
from prm.sample import sample_solutions
from prm.scores import LabeledSolution
from verifiers.families import distinct
from verifiers.solution import Problem
from verifiers.verify import verify_solution

PROBLEM = Problem("chain", "8+4-3", "9")


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return toy_tokenizer()


def test_built_in_steps_have_an_exact_check() -> None:
    labeled = symbolic_labels(solution("12-3\n10\n10\nwell\n#### 9", PROBLEM), built_in=True)
    assert labeled.labels == (1.0, 0.0, 1.0, 0.0, 0.0)
    assert set(labeled.origins) == {"symbolic"}


def test_other_steps_are_judged_where_they_state_an_equation() -> None:
    text = "She sold 48/2 = 24 clips in May.\nAltogether 48+24 = 73.\nThat is a lot.\n#### 73"
    labeled = symbolic_labels(solution(text, Problem("g", "clips", "72")), built_in=False)
    assert labeled.labels == (1.0, 0.0, None, None)
    assert labeled.origins == ("symbolic", "symbolic", None, None)


def test_monte_carlo_by_hand(tokenizer: PreTrainedTokenizerBase) -> None:
    """Two solutions that share their first line: three prefixes, four continuations of each."""
    samples = [
        (solution(text, PROBLEM), completion(tokenizer, text)) for text in ("12-3\n9\n#### 9", "12-3\n8\n#### 8")
    ]
    table = {
        "8+4-3\n12-3\n": ["9\n#### 9", "#### 9", "8\n#### 8", "#### 9"],  # 3 of 4
        "8+4-3\n12-3\n9\n": ["#### 9"] * 4,
        "8+4-3\n12-3\n8\n": ["#### 8", "#### 9", "", "#### 8"],  # 1 of 4
    }
    engine = TablePolicy(tokenizer, table)
    labeled, cost = monte_carlo_labels(engine, tokenizer, samples, Sampling(n=4), 0)
    assert [item.labels for item in labeled] == [(0.75, 1.0, 1.0), (0.75, 0.25, 0.0)]  # the last: its own verdict
    assert sorted(engine.asked) == sorted(table)
    tokens = sum(len(completion(tokenizer, text).token_ids) for texts in table.values() for text in texts)
    assert cost == RolloutCost(steps=6, prefixes=3, rollouts=12, tokens=tokens)
    assert {origin for item in labeled for origin in item.origins} == {"monte_carlo"}


def test_a_solution_that_was_cut_off_is_continued(tokenizer: PreTrainedTokenizerBase) -> None:
    cut = [(solution("12-3\n#### ", PROBLEM), completion(tokenizer, "12-3\n#### ", "length"))]
    table = {"8+4-3\n12-3\n": ["#### 9", "#### 1"], "8+4-3\n12-3\n####": [" 9", " 9"]}
    labeled, cost = monte_carlo_labels(TablePolicy(tokenizer, table), tokenizer, cut, Sampling(n=2), 0)
    assert labeled[0].labels == (0.5, 1.0)
    assert cost.prefixes == 2


def test_the_same_text_on_two_problems_is_two_prefixes(tokenizer: PreTrainedTokenizerBase) -> None:
    other = Problem("other", "8+4-2", "10")
    samples = [(solution("12\n#### 9", p), completion(tokenizer, "12\n#### 9")) for p in (PROBLEM, other)]
    table = {"8+4-3\n12\n": ["#### 9"], "8+4-2\n12\n": ["#### 9"]}
    labeled, cost = monte_carlo_labels(TablePolicy(tokenizer, table), tokenizer, samples, Sampling(n=1), 0)
    assert [item.labels for item in labeled] == [(1.0, 1.0), (0.0, 0.0)]
    assert cost.prefixes == 2


def test_nothing_to_roll_out(tokenizer: PreTrainedTokenizerBase) -> None:
    """Solutions of one line, and of none: a policy that says nothing must not stop the labelling."""
    samples = [(solution(text, PROBLEM), completion(tokenizer, text)) for text in ("#### 9", "")]
    labeled, cost = monte_carlo_labels(TablePolicy(tokenizer, {}), tokenizer, samples, Sampling(n=4), 0)
    assert [item.labels for item in labeled] == [(1.0,), ()]
    assert cost == RolloutCost(1, 0, 0, 0)


def test_a_model_s_labels_are_quarters_and_end_in_the_verdict(tokenizer: PreTrainedTokenizerBase) -> None:
    engine = TransformersEngine(toy_policy(tokenizer), tokenizer, batch=16)
    problems = [e.problem for e in distinct(("chain", "word"), (1, 2), "train", 0, 4)]
    samples = sample_solutions(engine, tokenizer, problems, Sampling(max_tokens=24, n=2), 1)
    labeled, cost = monte_carlo_labels(engine, tokenizer, samples, Sampling(max_tokens=24, n=4), 2)
    assert cost.rollouts == 4 * cost.prefixes
    for item, (s, c) in zip(labeled, samples, strict=True):
        assert item.solution is s
        assert all(label in (0, 0.25, 0.5, 0.75, 1) for label in item.labels)
        if item.labels and c.finish == "stop":
            assert item.labels[-1] == verify_solution(s).correct


def test_one_label() -> None:
    assert [monte_carlo_label(c, 4) for c in range(5)] == [0, 0.25, 0.5, 0.75, 1]
    assert [monte_carlo_label(c, 4, hard=True) for c in range(5)] == [0, 1, 1, 1, 1]
    for right, rollouts in ((5, 4), (-1, 4), (0, 0)):
        with pytest.raises(ValueError):
            monte_carlo_label(right, rollouts)


def labeled_by(labels: tuple[float | None, ...]) -> LabeledSolution:
    text = "\n".join(str(i) for i in range(len(labels)))
    return LabeledSolution(solution(text, PROBLEM), labels, tuple(None if x is None else "x" for x in labels))


def test_agreement_by_hand() -> None:
    """Table [[4, 1], [2, 3]]: agree 0.7, by chance 0.5·0.6 + 0.5·0.4 = 0.5, so kappa = 0.2 / 0.5 = 0.4."""
    symbolic = labeled_by((0, 0, 0, 0, 0, 1, 1, 1, 1, 1, None, 1))
    monte_carlo = labeled_by((0, 0, 0, 0, 0.25, 0, 0, 0.25, 0.5, 1, 1, None))
    found = agreement([symbolic], [monte_carlo])
    assert (found.both, found.table) == (10, ((4, 1), (2, 3)))
    assert found.agree == pytest.approx(0.7)
    assert found.kappa == pytest.approx(0.4)
    # 25 pairs of a right and a wrong step; 0: 4 ties and 1 loss each, 0.25: 4 wins and 1 tie, 0.5 and 1: 5 wins
    assert found.auc == pytest.approx((2 * 2.0 + 4.5 + 2 * 5) / 25)


def test_agreement_is_cohen_s_kappa_whatever_the_labels() -> None:
    rng = random.Random(0)
    first = [float(rng.random() < 0.7) for _ in range(300)]
    second = [rng.choice([0, 0, x, 0.25]) for x in first]
    found = agreement([labeled_by(tuple(first))], [labeled_by(tuple(second))])
    a, b = [x > 0.5 for x in first], [x > 0 for x in second]
    by_chance = sum((sum(x is v for x in a) / 300) * (sum(y is v for y in b) / 300) for v in (True, False))
    observed = sum(x is y for x, y in zip(a, b, strict=True)) / 300
    assert found.agree == pytest.approx(observed)
    assert found.kappa == pytest.approx((observed - by_chance) / (1 - by_chance))


def test_labels_of_one_class_leave_agreement_undefined() -> None:
    wrong = labeled_by((0.0, 0.0))
    found = agreement([wrong], [wrong])
    assert found.agree == 1.0
    assert math.isnan(found.kappa)
    assert math.isnan(found.auc)
    nothing = agreement([labeled_by((None,))], [labeled_by((0.5,))])
    assert nothing.both == 0
    assert math.isnan(nothing.auc)


def test_costs_add_up() -> None:
    assert add_costs([RolloutCost(1, 2, 3, 4), RolloutCost(10, 20, 30, 40)]) == RolloutCost(11, 22, 33, 44)
    assert add_costs([]) == RolloutCost(0, 0, 0, 0)
