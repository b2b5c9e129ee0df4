"""Search guided by a PRM: from a policy and a scorer to a pool of candidate solutions for each problem.

Every strategy works on all problems at once: a round is one call of the engine and one of the scorer. ``pick`` then
chooses from a pool. Strategies differ in where the scores come in:

    best_of_n    after the last token                      (Cobbe et al. 2021, arXiv:2110.14168; Lightman et al. 2023)
    beam_search  after every step, within one tree         (Snell et al. 2024, arXiv:2408.03314, §5.2)
    dvts         after every step, within separate trees   (Beeching et al. 2024, "Scaling test-time compute")
    lookahead    as beam_search, of where k further steps lead        (Snell et al. 2024, §5.2)
    mcts         after every step, and steps may be gone back on      (prm/search_mcts.py)
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lm.config import key
from lm.errors import UserError
from prm.choice import Choice, choose
from prm.search_mcts import mcts
from prm.search_tree import Explorer, Node, Scored, distinct, said
from verifiers.verify import verify_solution

Strategy = Literal["best_of_n", "beam_search", "dvts", "lookahead", "mcts"]
Pools = list[list[Scored]]  # one a problem


@dataclass(frozen=True)
class SearchConfig:
    """Which strategy, and how much of it."""

    strategy: Strategy = key("best_of_n", "how the tree of steps is searched: docs/search.md compares them")
    n: int = key(16, "solutions side by side: samples, or candidates before each choice of steps", low=1)
    width: int = key(8, "candidates for each next step (M): n/width beams, or trees of dvts, stay", low=1)
    lookahead: int = key(1, "steps that strategy lookahead writes on, greedily, before a step is judged", low=1)
    simulations: int = key(32, "expansions of mcts a problem, at most", low=1)
    exploration: float = key(1.0, "c of mcts: how far a step's prior counts against its value", low=0)


def search(explorer: Explorer, config: SearchConfig) -> Pools:
    """The pool of each problem by the config's strategy; what it took stands in ``explorer.costs``.

    Raises UserError where n is not a multiple of width and the strategy needs it to be.
    """
    if config.strategy == "best_of_n":
        return best_of_n(explorer, config.n)
    if config.strategy == "mcts":
        return mcts(explorer, config.width, config.simulations, config.exploration)
    if config.n % config.width:
        raise UserError(f"n={config.n} is no multiple of width={config.width}: n/width beams are kept")
    beams = config.n // config.width
    if config.strategy == "dvts":
        return dvts(explorer, beams, config.width)
    return beam_search(explorer, beams, config.width, config.lookahead if config.strategy == "lookahead" else 0)


def pick(explorer: Explorer, pool: Sequence[Scored], how: Choice) -> Scored:
    """The pool's solution to give: chosen from the finished ones where there are any."""
    pool = [scored for scored in pool if scored.node.end == "finished"] or pool
    answers = [verify_solution(explorer.solution(scored.node)).predicted for scored in pool]
    return pool[choose(answers, [scored.value for scored in pool], how)]


def best_of_n(explorer: Explorer, n: int) -> Pools:
    """n solutions of each problem, sampled to their ends and scored once."""
    grown = explorer.write(explorer.roots(), n, whole=True)
    values = iter(explorer.judge([node for group in grown for node in group]))
    return [[Scored(node, next(values)) for node in group] for group in grown]


def beam_search(explorer: Explorer, beams: int, width: int, lookahead: int = 0) -> Pools:
    """Keep the ``beams`` best of beams · width partial solutions after each step; the first step is drawn as often."""
    return _step_search(explorer, 1, beams, width, lookahead)


def dvts(explorer: Explorer, trees: int, width: int) -> Pools:
    """``trees`` greedy searches that never compete: in each, the best of ``width`` candidates for the next step stays.

    What beam search gains by dropping whole trees it loses in variety, which majorities and hard problems want.
    """
    return _step_search(explorer, trees, 1, width, 0)


def _step_search(explorer: Explorer, trees: int, keep: int, width: int, lookahead: int) -> Pools:
    """Candidates compete within their tree by their weight, which makes a rare one that the PRM likes too much less
    dangerous; finished ones hold their place against those that go on."""
    drawn = explorer.write(explorer.roots(), trees * keep * width)
    each = keep * width
    fresh = [group[t * each : (t + 1) * each] for group in drawn for t in range(trees)]
    kept: list[list[Scored]] = [[] for _ in fresh]
    while any(fresh):
        votes = [Counter(map(said, nodes)) for nodes in fresh]
        fresh = [distinct(nodes) for nodes in fresh]
        values = iter(_values(explorer, [node for nodes in fresh for node in nodes], lookahead))
        for t, nodes in enumerate(fresh):
            rivals = [*kept[t], *(Scored(node, next(values), votes[t][said(node)]) for node in nodes)]
            # stable: of equals the earlier stays, and what has stood longest is earliest
            kept[t] = sorted(rivals, key=lambda scored: -scored.weight)[:keep]
        live = [(t, scored) for t, beams in enumerate(kept) for scored in beams if scored.node.end == "open"]
        grown = explorer.write([scored.node for _, scored in live], width)
        fresh = [[] for _ in kept]
        for (t, scored), children in zip(live, grown, strict=True):
            fresh[t] += children
            if children:
                kept[t].remove(scored)
    return [[s for beams in kept[p : p + trees] for s in beams] for p in range(0, len(kept), trees)]


def _values(explorer: Explorer, nodes: Sequence[Node], lookahead: int) -> list[float]:
    """What the PRM makes of the nodes, or of where ``lookahead`` further greedy steps lead from them."""
    ahead = list(nodes)
    for _ in range(lookahead):
        going = [i for i, node in enumerate(ahead) if node.end == "open"]
        for i, children in zip(going, explorer.write([ahead[i] for i in going], 1, greedy=True), strict=True):
            ahead[i] = children[0] if children else ahead[i]
    return explorer.judge(ahead)
