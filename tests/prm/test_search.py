"""Every strategy on a tree small enough to be searched by hand, by brute force on others, and with real models."""

import itertools
import random
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from search_toys import QUESTION, TreePolicy, TreeScorer, explorer
from toy_models import toy_classifier
from transformers import PreTrainedTokenizerBase

from lm.engine import Sampling, TransformersEngine
from lm.errors import UserError
from prm.scorer import StepPRM
from prm.search import Pools, SearchConfig, Strategy, beam_search, best_of_n, dvts, pick, search
from prm.search_mcts import mcts
from prm.search_tree import Cost, Explorer
from verifiers.solution import Problem

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Search = Callable[[Explorer, int, int], Pools]
# "a" looks best and leads nowhere, "b" holds what a greedy eye finds, and the best of all hides behind "c".
TREE = {
    "": ["a\n", "b\n", "c\n", "d\n"],
    "a\n": ["x", "y"],
    "b\n": ["x", "y\n"],
    "c\n": ["x", "z"],
    "d\n": ["x", "z"],
    "b\ny\n": ["x", "z"],
}
SCORES = {"a": 0.9, "b": 0.8, "c": 0.5, "d": 0.1}
SCORES |= {"a\nx": 0.3, "a\ny": 0.2, "b\nx": 0.95, "b\ny": 0.6, "c\nx": 0.7, "c\nz": 0.99, "d\nx": 0.05, "d\nz": 0.0}
SCORES |= {"b\ny\nx": 0.4, "b\ny\nz": 0.1}


@pytest.fixture
def policy(tokenizer: PreTrainedTokenizerBase) -> TreePolicy:
    return TreePolicy(tokenizer, TREE)


@pytest.fixture
def scorer() -> TreeScorer:
    return TreeScorer(SCORES)


def told(pools: Pools) -> list[list[tuple[str, float]]]:
    return [[(s.node.text, s.value) for s in pool] for pool in pools]


def test_best_of_n_by_hand(policy: TreePolicy, scorer: TreeScorer) -> None:
    pools = best_of_n(explorer(policy, scorer), 4)
    assert told(pools) == [[("a\nx", 0.3), ("b\nx", 0.95), ("c\nx", 0.7), ("d\nx", 0.05)]]
    assert pick(explorer(policy, scorer), pools[0], "best").node.text == "b\nx"
    assert (len(policy.calls), len(scorer.asked)) == (1, 1)


def test_beam_search_by_hand(policy: TreePolicy, scorer: TreeScorer) -> None:
    # a and b stay of four; of their children bx and by; of by's children byx, next to bx, which has ended
    assert told(beam_search(explorer(policy, scorer), 2, 2)) == [[("b\nx", 0.95), ("b\ny\nx", 0.4)]]
    assert [(texts, s.n, s.stop) for texts, s, _ in policy.calls] == [
        ([""], 4, ("\n",)),
        (["a\n", "b\n"], 2, ("\n",)),
        (["b\ny\n"], 2, ("\n",)),
    ]
    assert len(scorer.asked) == 3
    assert scorer.asked[1] == ["a\nx", "a\ny", "b\nx", "b\ny\n"]


@pytest.mark.parametrize("search", [beam_search, dvts])
def test_what_several_draws_say_counts_for_each_of_them(tokenizer: PreTrainedTokenizerBase, search: Search) -> None:
    # of four draws a is worth .9 once and b .5 three times; after it x .9 twice and y .8 twice
    tree = {"": ["a\n", "b\n", "b\n", "b\n"], "a\n": ["x"], "b\n": ["y", "x"]}
    scores = {"a": 0.9, "b": 0.5, "a\nx": 0.9, "b\nx": 0.9, "b\ny": 0.8}
    scorer = TreeScorer(scores)
    pools = search(explorer(TreePolicy(tokenizer, tree), scorer), 1, 4)
    assert told(pools) == [[("b\nx", 0.9)]]
    assert pools[0][0].votes == 2
    assert pools[0][0].weight == 1.8
    assert scorer.asked == [["a\n", "b\n"], ["b\ny", "b\nx"]]  # and is judged once


def test_dvts_by_hand(policy: TreePolicy, scorer: TreeScorer) -> None:
    # a beats b in the first tree and c beats d in the second, where cz is
    assert told(dvts(explorer(policy, scorer), 2, 2)) == [[("a\nx", 0.3), ("c\nz", 0.99)]]
    assert [texts for texts, *_ in policy.calls] == [[""], ["a\n", "c\n"]]


def test_lookahead_by_hand(policy: TreePolicy, scorer: TreeScorer) -> None:
    # by their first children a, b, c, d are worth .3, .95, .7, .05; then bx .95, by -> byx .4, cx .7, cz .99
    assert told(beam_search(explorer(policy, scorer), 2, 2, lookahead=1)) == [[("c\nz", 0.99), ("b\nx", 0.95)]]
    assert [(s.n, s.temperature) for _, s, _ in policy.calls] == [(4, 1.0), (1, 0.0), (2, 1.0), (1, 0.0)]
    assert scorer.asked[0] == ["a\nx", "b\nx", "c\nx", "d\nx"]


def test_two_problems_share_each_call_and_do_not_meet(policy: TreePolicy, scorer: TreeScorer) -> None:
    two = [QUESTION, Problem("other", "R", "9")]
    strategies: tuple[Strategy, ...] = ("best_of_n", "beam_search", "dvts", "lookahead", "mcts")
    for strategy in strategies:
        config = SearchConfig(strategy, n=4, width=2)
        alone, shared = explorer(policy, scorer), explorer(policy, scorer, two)
        calls, asked = len(policy.calls), len(scorer.asked)
        expected = search(alone, config)
        once = len(policy.calls) - calls, len(scorer.asked) - asked
        pools = search(shared, config)
        assert told(pools) == told(expected) * 2
        assert (len(policy.calls) - calls - once[0], len(scorer.asked) - asked - once[1]) == once
        assert shared.costs[0] == alone.costs[0]
        seeds = [seed for *_, given in policy.calls[calls + once[0] :] for seed in given]
        assert len(set(seeds)) >= len(seeds) - (strategy == "lookahead") * 12  # greedy requests need none of their own


def test_the_cost_by_hand(policy: TreePolicy, scorer: TreeScorer, tokenizer: PreTrainedTokenizerBase) -> None:
    def length(text: str) -> int:
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    asked = length("Q\n")
    one, two = length("a\n"), length("x")  # every step is as long as any other
    assert {length(s) for s in ("b\n", "c\n", "d\n", "y\n")} == {one}
    assert {length(s) for s in ("y", "z")} == {two}
    eos = 1
    spent = explorer(policy, scorer)
    best_of_n(spent, 4)
    whole = one + two + eos
    assert spent.costs == [Cost(4 * whole, asked, 4 * 12)]
    spent = explorer(policy, scorer)
    beam_search(spent, 2, 2)
    # 4 first steps; 3 that end and 1 that does not; 2 that end, from two steps on
    sampled = 4 * one + 3 * (two + eos) + one + 2 * (two + eos)
    prefilled = asked + 2 * (asked + one) + (asked + 2 * one)
    judged = 4 * 11 + 4 * 12 + 2 * 13
    assert spent.costs == [Cost(sampled, prefilled, judged)]
    assert spent.costs[0].total == sampled + prefilled + judged


def test_a_spent_budget_grows_nothing_more(policy: TreePolicy, scorer: TreeScorer) -> None:
    for strategy in ("beam_search", "dvts", "lookahead", "mcts"):
        short = explorer(policy, scorer, budget=1)
        (pool,) = search(short, SearchConfig(strategy, n=4, width=2))
        assert len({s.node.text for s in pool}) == 2
        assert all(s.node.end == "open" for s in pool)
        assert pick(short, pool, "best") == max(pool, key=lambda s: s.value)
        generous = explorer(policy, scorer, budget=10_000)
        assert told(search(generous, SearchConfig(strategy, n=4, width=2))) == told(
            search(explorer(policy, scorer), SearchConfig(strategy, n=4, width=2))
        )
    calls = len(policy.calls)
    beam_search(explorer(policy, scorer, budget=1), 2, 2)
    assert len(policy.calls) == calls + 1


def test_what_the_scorer_cannot_read_is_worth_nothing(policy: TreePolicy) -> None:
    spent = explorer(policy, TreeScorer(SCORES, unreadable="b\nx"))
    assert told(best_of_n(spent, 2)) == [[("a\nx", 0.3), ("b\nx", 0.0)]]
    readable = explorer(policy, TreeScorer(SCORES))
    best_of_n(readable, 2)
    assert (readable.costs[0].scored, spent.costs[0].scored) == (24, 12)


def test_a_solution_out_of_tokens_is_cut(policy: TreePolicy, scorer: TreeScorer) -> None:
    tight = explorer(policy, scorer)
    tight.sampling = replace(tight.sampling, max_tokens=len(tight.prompts[0]))  # one step and no more
    pools = beam_search(tight, 2, 2)
    assert [(s.node.text, s.node.end) for s in pools[0]] == [("a\n", "cut"), ("b\n", "cut")]


def test_width_must_divide_n(policy: TreePolicy, scorer: TreeScorer) -> None:
    with pytest.raises(UserError, match="n=6 is no multiple of width=4"):
        search(explorer(policy, scorer), SearchConfig("dvts", n=6, width=4))


def wild_tree(seed: int) -> tuple[dict[str, list[str]], dict[str, float]]:
    """Three ways on for three steps, some of which end early, and scores of all."""
    rng = random.Random(seed)
    tree, scores, texts = {}, {}, [""]
    for depth in range(3):
        grown = []
        for text in texts:
            tree[text] = [name + "\n" * (depth < 2 and rng.random() < 0.8) for name in "pqr"]
            for child in tree[text]:
                scores[(text + child).strip()] = rng.random()
                if child.endswith("\n"):
                    grown.append(text + child)
        texts = grown
    return tree, scores


def leaves(tree: dict[str, list[str]], text: str = "") -> list[str]:
    return [text] if text not in tree else [leaf for child in tree[text] for leaf in leaves(tree, text + child)]


@pytest.mark.parametrize("seed", range(8))
def test_wide_enough_searches_are_brute_force(tokenizer: PreTrainedTokenizerBase, seed: int) -> None:
    tree, scores = wild_tree(seed)
    policy, scorer = TreePolicy(tokenizer, tree), TreeScorer(scores)
    every = sorted(leaves(tree))
    for pools in (
        beam_search(explorer(policy, scorer), 27, 3),
        beam_search(explorer(policy, scorer), 27, 3, lookahead=1),
        mcts(explorer(policy, scorer), 3, 50, 1.0),
    ):
        assert sorted(s.node.text for s in pools[0]) == every
        best = max(every, key=lambda text: scores[text.strip()])
        assert pick(explorer(policy, scorer), pools[0], "best").node.text == best


@pytest.mark.parametrize("seed", range(8))
def test_greedy_search_is_the_greedy_walk(tokenizer: PreTrainedTokenizerBase, seed: int) -> None:
    tree, scores = wild_tree(seed)
    policy, scorer = TreePolicy(tokenizer, tree), TreeScorer(scores)
    text = ""
    while text in tree:
        text = max((text + child for child in tree[text]), key=lambda t: scores[t.strip()])
    for pools in (beam_search(explorer(policy, scorer), 1, 3), dvts(explorer(policy, scorer), 1, 3)):
        assert [s.node.text for s in pools[0]] == [text]


def test_real_models_give_each_problem_its_own_search(
    fitted_policy: "PreTrainedModel", tokenizer: PreTrainedTokenizerBase
) -> None:
    classifier = toy_classifier(tokenizer)
    torch.nn.init.normal_(classifier.score.weight, std=2.0)
    prm = StepPRM(classifier.model, classifier.score, tokenizer)
    engine = TransformersEngine(fitted_policy, tokenizer, 16)
    problems = [Problem(f"p{i}", f"{i}+{9 - i}-2", "7") for i in range(5)]
    sampling = Sampling(max_tokens=24)
    for strategy in ("best_of_n", "beam_search", "dvts", "lookahead", "mcts"):
        config = SearchConfig(strategy, n=4, width=2, simulations=4)
        shared = Explorer(engine, tokenizer, prm, problems, sampling=sampling, seed=1)
        pools = search(shared, config)
        again = Explorer(engine, tokenizer, prm, problems[::-2], sampling=sampling, seed=1)
        for pool, other in zip(pools[::-2], search(again, config), strict=True):
            assert [s.node.text for s in pool] == [s.node.text for s in other]
        assert again.costs == shared.costs[::-2]
        nodes = list(itertools.chain(*([s.node for s in pool] for pool in pools)))
        assert any(node.end == "finished" for node in nodes)
        for node in nodes:
            assert len(node.ids) <= 24
            assert node.text == tokenizer.decode(node.ids, skip_special_tokens=True)
            assert node.end != "open" or node.text.endswith("\n")
