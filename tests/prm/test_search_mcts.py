"""PUCT and its bookkeeping, worked by hand."""

import math

import pytest
from search_toys import TreePolicy, TreeScorer, explorer
from transformers import PreTrainedTokenizerBase

from prm.search_mcts import Vertex, expand, mcts, puct, select
from prm.search_tree import Node


def leaf(name: str, end: str = "open") -> Node:
    return Node(0, text=name, end=end)  # type: ignore[arg-type]


def test_puct_by_hand() -> None:
    child = Vertex(leaf("a"), prior=0.5, visits=3, total=1.4)
    assert puct(child, 4, 2.0) == pytest.approx(1.4 / 3 + 2 * 0.5 * 2 / 4)
    assert puct(child, 4, 0.0) == pytest.approx(1.4 / 3)


def test_values_back_up_and_what_is_explored_closes() -> None:
    root = Vertex(leaf(""))
    expand(root, [(leaf("a"), 0.75, 0.9), (leaf("b"), 0.25, 0.8)])
    a, b = root.children
    assert (root.visits, root.total) == (2, pytest.approx(1.7))
    assert select(root, 0.0) is a
    # a: .9 + c(.75)√2/2, b: .8 + c(.25)√2/2: a for every c >= 0; after two poor children of a, b
    expand(a, [(leaf("x", "finished"), 0.5, 0.3), (leaf("y"), 0.5, 0.2)])
    assert (a.visits, a.total, root.visits, root.total) == (3, pytest.approx(1.4), 4, pytest.approx(2.2))
    assert select(root, 0.0) is b
    # with a large c the prior and N decide: a .75·2/4 = .375 per c against b .25·2/2 = .25
    assert select(root, 10.0) is a.children[1]
    expand(a.children[1], [(leaf("z", "cut"), 1.0, 0.1)])
    assert (a.children[1].closed, a.closed, root.closed) == (True, True, False)
    assert select(root, 10.0) is b
    expand(b, [(leaf("z", "finished"), 1.0, 1.0)])
    assert root.closed
    assert root.visits == 6
    assert root.total == pytest.approx(0.9 + 0.8 + 0.3 + 0.2 + 0.1 + 1.0)


def test_a_tree_is_searched_in_order_of_worth_and_to_its_end(tokenizer: PreTrainedTokenizerBase) -> None:
    tree = {"": ["a\n", "b\n"], "a\n": ["x", "y"], "b\n": ["x", "y\n"], "b\ny\n": ["x", "x"]}
    scores = {"a": 0.9, "b": 0.8, "a\nx": 0.3, "a\ny": 0.2, "b\nx": 0.95, "b\ny": 0.6, "b\ny\nx": 0.4}
    policy, scorer = TreePolicy(tokenizer, tree), TreeScorer(scores)
    (pool,) = mcts(explorer(policy, scorer), 2, 100, 0.0)
    assert [texts for texts, *_ in policy.calls] == [[""], ["a\n"], ["b\n"], ["b\ny\n"]]  # 4 of 100, then all is known
    assert [len(texts) for texts in scorer.asked] == [2, 2, 2, 1]  # the two equal draws are judged once
    assert [(s.node.text, s.value) for s in pool] == [
        ("a\nx", 0.3),
        ("a\ny", 0.2),
        ("b\nx", 0.95),
        ("b\ny\nx", 0.4),
    ]


def test_a_tree_that_came_to_no_end_is_gone_on_with_from_its_most_visited_leaf(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    tree = {"": ["a\n", "b\n"], "a\n": ["x\n", "y\n"], "b\n": ["x", "y"], "a\nx\n": ["p", "q"], "a\ny\n": ["p", "q"]}
    scores = {"a": 0.9, "b": 0.8, "a\nx": 0.5, "a\ny": 0.6, "b\nx": 0.3, "b\ny": 0.1}
    scores |= {"a\nx\np": 0.7, "a\ny\np": 0.9, "a\ny\nq": 0.1}
    policy, scorer = TreePolicy(tokenizer, tree), TreeScorer(scores)
    (pool,) = mcts(explorer(policy, scorer), 2, 1, 0.0)
    # a and b are visited once each, and a is worth more
    assert [texts for texts, *_ in policy.calls] == [[""], ["a\n"]]
    assert (policy.calls[1][1].n, policy.calls[1][1].stop) == (2, ())
    assert [(s.node.text, s.node.end) for s in pool] == [("a\nx\np", "finished"), ("a\ny\np", "finished")]
    (pool,) = mcts(explorer(policy, scorer), 2, 2, 0.0)  # a is visited three times, b once, y is worth more than x
    assert [texts for texts, *_ in policy.calls[2:]] == [[""], ["a\n"], ["a\ny\n"]]
    assert [(s.node.text, s.value) for s in pool] == [("a\ny\np", 0.9), ("a\ny\nq", 0.1)]
    short = explorer(policy, scorer, budget=1)
    assert [s.node.text for s in mcts(short, 2, 1, 0.0)[0]] == ["a\n", "b\n"]  # nothing is left to end them with


def test_equal_draws_are_one_child_with_a_larger_prior(tokenizer: PreTrainedTokenizerBase) -> None:
    tree = {"": ["a\n", "b\n", "a\n", "a\n"], "a\n": ["x"], "b\n": ["x"]}
    scores = {"a": 0.4, "b": 0.5, "a\nx": 0.4, "b\nx": 0.5}
    first = {}
    for exploration in (0.0, 1.0):
        policy = TreePolicy(tokenizer, tree)
        mcts(explorer(policy, TreeScorer(scores)), 4, 2, exploration)
        first[exploration] = policy.calls[1][0]
    # .4 + c(.75)√2/2 against .5 + c(.25)√2/2: a leads where c > .1 / (.5 · .7071) = .283
    assert first == {0.0: ["b\n"], 1.0: ["a\n"]}
    assert 0.1 / (0.5 * math.sqrt(2) / 2) == pytest.approx(0.2828, abs=1e-4)
