import math
from typing import Any

from rung.report_evaluation import Measurement, comparisons, measurements, metric_name


def test_measurements_in_every_form() -> None:
    arm = {
        "name": "ppo-process",
        "problems": 500,
        "greedy": {"mean": 0.5, "low": 0.4, "high": 0.6},
        "pass@k": {"1": 0.4, "8": {"mean": 0.7, "low": 0.6, "high": 0.8}},
        "majority@k": {"mean": 0.55, "low": 0.5, "high": 0.6, "k": 16},
        "best_of_n": 0.6,
    }
    cells = measurements({"arms": [arm, {"name": "sft", "greedy": {"mean": None}}]})
    assert [(c.metric, c.mean) for c in cells] == [
        ("greedy", 0.5),
        ("pass@1", 0.4),
        ("pass@8", 0.7),
        ("majority@16", 0.55),
        ("best of n", 0.6),
    ]
    assert cells[2] == Measurement("pass@8", "process", 0.7, 0.6, 0.8)
    assert math.isnan(cells[1].low)
    assert measurements({}) == []


def test_metric_names() -> None:
    assert [metric_name("best_of_n", 8), metric_name("pass@k", 4), metric_name("top", 2)] == [
        "best of 8",
        "pass@4",
        "top 2",
    ]


def test_a_pair_is_turned_to_measure_against_the_base() -> None:
    pair: dict[str, Any] = {"a": "sft", "b": "ppo-process", "metric": "greedy"}
    pair |= {"mean": -0.1, "low": -0.15, "high": -0.05}
    turned = comparisons({"paired": [pair]})[0]
    assert (turned.a, turned.b, turned.mean, turned.low, turned.high) == ("process", "sft", 0.1, 0.05, 0.15)
