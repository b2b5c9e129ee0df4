"""The search benchmark's own arithmetic: what best-of-n is worth between two sizes, and points that are kept."""

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from benchmarks.search import COLOURS, Kept, Point, best_of_n_at, picture, table
from benchmarks.search_reasons import SURE, Watched
from prm.symbolic import SymbolicPRM
from verifiers.solution import Problem, Solution
from verifiers.split import split_steps


def point(curve: str, right: list[float], tokens: float) -> Point:
    return Point(curve, "4", np.array(right), tokens, 2 * tokens)


CURVE = [point("best of n", [0.0, 1.0], 100), point("best of n", [1.0, 1.0], 400), point("oracle", [1.0, 1.0], 200)]


def test_best_of_n_between_two_sizes() -> None:
    for kind, factor in (("sampled", 1), ("total", 2)):
        assert best_of_n_at(CURVE, factor * 200, kind) == pytest.approx([0.5, 1.0])  # half way in the logarithm
        assert best_of_n_at(CURVE, factor * 100 * math.sqrt(2), kind) == pytest.approx([0.25, 1.0])
        assert best_of_n_at(CURVE, factor * 401, kind) is None
        assert best_of_n_at(CURVE, factor * 99, kind) is None


def test_the_table_and_the_picture() -> None:
    points = [*CURVE, point("dvts", [1.0, 1.0], 200), point("mcts", [1.0, 0.0], 1000)]
    lines = table(points, 0).splitlines()
    (dvts,) = [line for line in lines if line.startswith("| dvts")]
    assert "| 200 | 400 | 100.0 [100.0, 100.0] | +25.0 [" in dvts
    assert next(line for line in lines if line.startswith("| mcts")).endswith("| – | – |")
    shown = [*points, *(point(name, [0.5, 0.5], 300) for name in COLOURS)]
    assert ElementTree.fromstring(picture(shown)).tag.endswith("svg")


def test_points_are_measured_once(tmp_path: Path) -> None:
    calls = []

    def measured() -> list[Point]:
        calls.append(1)
        return [CURVE[0]]

    for settings in ("a", "a", "b"):
        (found,) = Kept(tmp_path / "x/points.jsonl", settings).points("pool", measured)
        assert (found.curve, found.right.tolist(), found.total) == ("best of n", [0.0, 1.0], 200)
    assert len(calls) == 2


@pytest.mark.parametrize("turned", [0.0, 1.0])
def test_what_a_scorer_had_to_choose_from(turned: float) -> None:
    texts = ("7-2\n#### 5", "1-2\n#### -1", "7-2\n#### 9", "7-2\n")
    solutions = [Solution(Problem("chain-1", "3+4-2", "5"), text, split_steps(text)) for text in texts]
    watched = Watched(SymbolicPRM(), turned)
    yes, no = (1 - SURE, SURE) if turned else (SURE, 1 - SURE)
    said = [[yes, yes], [no, yes], [yes, no], [yes]]
    assert [scores.probabilities.tolist() for scores in watched.score(solutions)] == [pytest.approx(s) for s in said]
    # after the question 7-2 and 1-2; after 7-2 two last lines; what follows from 1-2 is no choice of a right one
    first, last = watched.siblings()
    assert [(score == pytest.approx(yes), right) for score, right in first] == [(True, True), (False, False)]
    assert [(score == pytest.approx(yes), right) for score, right in last] == [(True, True), (False, False)]
