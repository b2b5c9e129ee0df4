"""prm.labelling: the symbolic and the Monte Carlo labeller, worked by hand."""

import pytest
from toy_models import TablePolicy, completion, solution, toy_policy, toy_tokenizer
from transformers import PreTrainedTokenizerBase

from lm.engine import Sampling, TransformersEngine
from prm.labelling import monte_carlo_label, monte_carlo_labels, symbolic_labels
from prm.rollouts import Roller, Sample
from prm.sample import sample_solutions
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
    samples = [Sample(solution(text, PROBLEM)) for text in ("12-3\n9\n#### 9", "12-3\n8\n#### 8")]
    table = {
        "8+4-3\n12-3\n": ["9\n#### 9", "#### 9", "8\n#### 8", "#### 9"],  # 3 of 4
        "8+4-3\n12-3\n9\n": ["#### 9"] * 4,
        "8+4-3\n12-3\n8\n": ["#### 8", "#### 9", "", "#### 8"],  # 1 of 4
    }
    engine = TablePolicy(tokenizer, table)
    roller = Roller(engine, tokenizer, Sampling(n=4))
    labeled, cost = monte_carlo_labels(roller, samples, 0)
    assert [item.labels for item in labeled] == [(0.75, 1.0, 1.0), (0.75, 0.25, 0.0)]  # the last: its own verdict
    assert sorted(engine.asked) == sorted(table)
    tokens = sum(len(completion(tokenizer, text).token_ids) for texts in table.values() for text in texts)
    assert cost == {"prefixes": 3, "rollouts": 12, "tokens": tokens, "too_long": 0}
    assert {origin for item in labeled for origin in item.origins} == {"monte_carlo"}
    hard, _ = monte_carlo_labels(roller, samples, 0, hard=True)
    assert [item.labels for item in hard] == [(1.0, 1.0, 1.0), (1.0, 1.0, 0.0)]


def test_a_solution_that_was_cut_off_is_continued(tokenizer: PreTrainedTokenizerBase) -> None:
    cut = [Sample(solution("12-3\n#### ", PROBLEM), finished=False)]
    table = {"8+4-3\n12-3\n": ["#### 9", "#### 1"], "8+4-3\n12-3\n####": [" 9", " 9"]}
    labeled, cost = monte_carlo_labels(Roller(TablePolicy(tokenizer, table), tokenizer, Sampling(n=2)), cut, 0)
    assert labeled[0].labels == (0.5, 1.0)
    assert cost["prefixes"] == 2


def test_the_same_text_on_two_problems_is_two_prefixes(tokenizer: PreTrainedTokenizerBase) -> None:
    other = Problem("other", "8+4-2", "10")
    samples = [Sample(solution("12\n#### 9", p)) for p in (PROBLEM, other)]
    table = {"8+4-3\n12\n": ["#### 9"], "8+4-2\n12\n": ["#### 9"]}
    roller = Roller(TablePolicy(tokenizer, table), tokenizer, Sampling(n=1))
    labeled, cost = monte_carlo_labels(roller, samples, 0)
    assert [item.labels for item in labeled] == [(1.0, 1.0), (0.0, 0.0)]
    assert cost["prefixes"] == 2


def test_nothing_to_roll_out(tokenizer: PreTrainedTokenizerBase) -> None:
    """Solutions of one line, of none, and of a problem without gold answer: none of them is a wrong label."""
    samples = [Sample(solution(text, PROBLEM)) for text in ("#### 9", "")]
    samples.append(Sample(solution("1\n#### 2", Problem("p", "?", ""))))
    roller = Roller(TablePolicy(tokenizer, {}), tokenizer, Sampling(n=4))
    labeled, cost = monte_carlo_labels(roller, samples, 0)
    assert [item.labels for item in labeled] == [(1.0,), (), (None, None)]
    assert labeled[2].origins == (None, None)
    assert cost == {"prefixes": 0, "rollouts": 0, "tokens": 0, "too_long": 0}


def test_ten_thousand_steps_are_labelled_as_far_as_the_context_reaches(tokenizer: PreTrainedTokenizerBase) -> None:
    long = Sample(solution("\n".join(["1"] * 10_000) + "\n#### 9", PROBLEM))
    engine = TransformersEngine(toy_policy(tokenizer), tokenizer, batch=16)
    roller = Roller(engine, tokenizer, Sampling(max_tokens=8, n=1), context=40)
    (item,), cost = monte_carlo_labels(roller, [long], 0)
    reach = [label is not None for label in item.labels]
    assert reach[-1], "the verdict needs no roll-out"
    judged = reach[:-1].index(False)
    assert 0 < judged < 40
    assert not any(reach[judged:-1])
    assert (cost["rollouts"], cost["too_long"]) == (judged, 10_000 - judged)
    checked = symbolic_labels(long.solution, built_in=False)
    assert len(checked.labels) == 10_001


def test_a_model_s_labels_are_quarters_and_end_in_the_verdict(tokenizer: PreTrainedTokenizerBase) -> None:
    engine = TransformersEngine(toy_policy(tokenizer), tokenizer, batch=16)
    problems = [e.problem for e in distinct(("chain", "word"), (1, 2), "train", 0, 4)]
    drawn = sample_solutions(engine, tokenizer, problems, Sampling(max_tokens=24, n=2), 1)
    samples = [Sample(s, c.finish == "stop") for s, c in drawn]
    labeled, cost = monte_carlo_labels(Roller(engine, tokenizer, Sampling(max_tokens=24, n=4)), samples, 2)
    assert cost["rollouts"] == 4 * cost["prefixes"]
    for item, sample in zip(labeled, samples, strict=True):
        assert item.solution is sample.solution
        assert all(label in (0, 0.25, 0.5, 0.75, 1) for label in item.labels)
        if item.labels and sample.finished:
            assert item.labels[-1] == verify_solution(sample.solution).correct


def test_one_label() -> None:
    assert [monte_carlo_label(c, 4) for c in range(5)] == [0, 0.25, 0.5, 0.75, 1]
    assert [monte_carlo_label(c, 4, hard=True) for c in range(5)] == [0, 1, 1, 1, 1]
    for right, rollouts in ((5, 4), (-1, 4), (0, 0)):
        with pytest.raises(ValueError):
            monte_carlo_label(right, rollouts)
