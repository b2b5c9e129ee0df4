"""The arithmetic of benchmarks/learning.py: when a learning curve reaches a level."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.learning import curve, tokens_to_reach

TOKENS = np.array([100.0, 200.0, 400.0])


@pytest.mark.parametrize(
    ("accuracy", "target", "expected"),
    [
        ([0.2, 0.4, 0.5], 0.3, 150.0),  # halfway between the first two points
        ([0.2, 0.4, 0.5], 0.45, 300.0),
        ([0.2, 0.4, 0.5], 0.4, 200.0),
        ([0.2, 0.4, 0.5], 0.1, 100.0),  # reached before the first measurement: no earlier than that
        ([0.2, 0.6, 0.3], 0.5, 175.0),  # the first time counts, though it falls again
        ([0.2, 0.4, 0.5], 0.51, None),
    ],
)
def test_tokens_to_reach(accuracy: list[float], target: float, expected: float | None) -> None:
    found = tokens_to_reach(TOKENS, np.array(accuracy), target)
    assert found is None if expected is None else found == pytest.approx(expected)


def test_a_curve_has_a_point_where_accuracy_was_measured(tmp_path: Path) -> None:
    rows = [
        {"step": 0, "sampled_tokens": 10, "eval_accuracy": 0.25},
        {"step": 1, "sampled_tokens": 20},
        {"step": 2, "sampled_tokens": 31, "eval_accuracy": 0.5},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokens, accuracy = curve(tmp_path)
    assert tokens.tolist() == [10, 31]
    assert accuracy.tolist() == [0.25, 0.5]
