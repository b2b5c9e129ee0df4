"""Monte Carlo tree search over steps, with the PRM's scores in the place of roll-outs.

A simulation walks from the root to a node without children yet, by PUCT (Rosin 2011; AlphaGo Zero, Silver et al. 2017):

    argmax over children a of   Q(a) + c · P(a) · √N(parent) / (1 + N(a)),      Q = W / N

writes ``width`` next steps there, has the PRM judge each, and adds each judgement to the child and to all above it, as
in AlphaMath (Chen et al. 2024, arXiv:2405.03553) and ReST-MCTS* (Zhang et al. 2024, arXiv:2406.03816). P(a) is the
share of the ``width`` draws that said a. What is fully explored is closed and walked no more, so no simulation is spent
on finished solutions, and a small tree is searched to its end.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from prm.search_tree import Explorer, Node, Scored, distinct, said


@dataclass(eq=False)
class Vertex:
    """A node of the tree: the PRM's ``value`` of it, and N and W over the judgements made in its subtree."""

    node: Node
    prior: float = 1.0
    value: float = 0.0
    parent: "Vertex | None" = None
    children: "list[Vertex]" = field(default_factory=list)
    visits: int = 0
    total: float = 0.0
    closed: bool = False

    def above(self) -> "list[Vertex]":
        """This vertex and its ancestors, the root last."""
        return [self, *(self.parent.above() if self.parent is not None else [])]

    def below(self) -> "list[Vertex]":
        return [self, *(found for child in self.children for found in child.below())]


def puct(child: Vertex, parent_visits: int, exploration: float) -> float:
    """Q + c P √N(parent) / (1 + N); every child has been judged once, so Q is never without evidence."""
    return child.total / child.visits + exploration * child.prior * math.sqrt(parent_visits) / (1 + child.visits)


def select(root: Vertex, exploration: float) -> Vertex:
    """The open vertex without children that PUCT leads to; of equals the earlier drawn."""
    vertex = root
    while vertex.children:
        parent = vertex
        waiting = [child for child in parent.children if not child.closed]
        vertex = max(waiting, key=lambda child: puct(child, parent.visits, exploration))
    return vertex


def expand(vertex: Vertex, children: Sequence[tuple[Node, float, float]]) -> None:
    """Hang (node, prior, value) below the vertex, back the values up, and close what is now fully explored."""
    for node, prior, value in children:
        child = Vertex(node, prior, value, vertex, closed=node.end != "open")
        vertex.children.append(child)
        for passed in child.above():
            passed.visits += 1
            passed.total += value
    for passed in vertex.above():
        if not all(child.closed for child in passed.children):
            break
        passed.closed = True


def mcts(explorer: Explorer, width: int, simulations: int, exploration: float) -> list[list[Scored]]:
    """The pool of each problem: the solutions that its tree has come to the end of.

    A tree without any when the simulations are spent has its most visited leaf written to the end ``width`` times. Its
    open leaves are the pool only where the explorer's budget does not allow that.
    """
    roots = [Vertex(node) for node in explorer.roots()]
    for _ in range(simulations):
        leaves = [select(root, exploration) for root in roots if not root.closed]
        if not leaves:
            break
        _grow(explorer, leaves, width)
    unended = [root for root in roots if all(vertex.node.end == "open" for vertex in root.below())]
    if unended:
        _grow(explorer, [most_visited(root) for root in unended], width, whole=True)
    return [_pool(root) for root in roots]


def _grow(explorer: Explorer, leaves: Sequence[Vertex], width: int, whole: bool = False) -> None:
    grown = explorer.write([leaf.node for leaf in leaves], width, whole=whole)
    counts = [Counter(map(said, children)) for children in grown]
    fresh = [distinct(children) for children in grown]
    values = iter(explorer.judge([node for nodes in fresh for node in nodes]))
    for leaf, nodes, count in zip(leaves, fresh, counts, strict=True):
        expand(leaf, [(node, count[said(node)] / width, next(values)) for node in nodes])


def most_visited(root: Vertex) -> Vertex:
    """The leaf that the most visited children lead to, of equally visited ones those of higher Q."""
    vertex = root
    while vertex.children:
        vertex = max(vertex.children, key=lambda child: (child.visits, child.total))
    return vertex


def _pool(root: Vertex) -> list[Scored]:
    leaves = [vertex for vertex in root.below() if not vertex.children and vertex.parent is not None]
    ended = [vertex for vertex in leaves if vertex.node.end != "open"]
    return [Scored(vertex.node, vertex.value) for vertex in ended or leaves]
