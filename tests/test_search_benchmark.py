"""The search benchmark's own arithmetic: what best-of-n is worth between two sizes, and points that are kept."""

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from benchmarks.search import COLOURS, Kept, Point, best_of_n_at, picture, table


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
