from typing import Any

import pytest

from rung.report_data import Arm, RunRecord
from rung.report_headline import comparisons, facts, headline


def record(evaluation: dict[str, Any], arms: list[Arm] | None = None) -> RunRecord:
    return RunRecord("r", "", "", "", {}, [], {}, [], {}, arms or [], evaluation, [])


def pair(a: str, b: str, mean: float, low: float, high: float, metric: str = "greedy") -> dict[str, Any]:
    return {"a": a, "b": b, "metric": metric, "mean": mean, "low": low, "high": high}


ARMS = [
    {"name": "sft", "greedy": 0.412},
    {"name": "ppo-process", "greedy": 0.53},
    {"name": "ppo-outcome", "greedy": 0.5},
]


def test_a_gain_is_told_with_its_interval() -> None:
    pairs = [
        pair("ppo-outcome", "sft", 0.093, 0.055, 0.13),
        pair("ppo-process", "sft", 0.05, 0.01, 0.09, "pass@8"),
        pair("ppo-process", "sft", 0.118, 0.079, 0.156),
    ]
    assert headline(record({"arms": ARMS, "paired": pairs})) == [
        "Process rewards raised greedy accuracy from 41.2% to 53.0%: +11.8 points, 95% interval 7.9 to 15.6."
    ]


@pytest.mark.parametrize(
    ("mean", "low", "high", "start"),
    [(0.008, -0.021, 0.036, "No gain can be claimed"), (-0.05, -0.08, -0.02, "Process rewards lowered")],
)
def test_what_is_no_gain_is_not_called_one(mean: float, low: float, high: float, start: str) -> None:
    sentence = headline(record({"arms": ARMS, "paired": [pair("ppo-process", "sft", mean, low, high)]}))[0]
    assert sentence.startswith(start)
    assert "raised" not in sentence


def test_the_rival_arm_has_its_own_sentence() -> None:
    against_base = pair("ppo-process", "sft", 0.118, 0.079, 0.156)
    settled = headline(record({"paired": [against_base, pair("ppo-outcome", "ppo-process", -0.03, -0.05, -0.01)]}))[1]
    assert settled.startswith("Process rewards beat outcome rewards")
    assert "+3.0 points, 95% interval 1.0 to 5.0" in settled
    worse = headline(record({"paired": [against_base, pair("ppo-process", "ppo-outcome", -0.03, -0.05, -0.01)]}))[1]
    assert worse.startswith("Outcome rewards beat process rewards")
    assert "process − outcome is −3.0 points, 95% interval −5.0 to −1.0" in worse
    open_ended = headline(record({"paired": [against_base, pair("ppo-process", "ppo-outcome", 0.01, -0.02, 0.04)]}))[1]
    assert "not settled" in open_ended


def test_a_pair_is_turned_to_measure_against_the_base() -> None:
    turned = comparisons({"paired": [pair("sft", "ppo-process", -0.1, -0.15, -0.05)]})[0]
    assert (turned.a, turned.b, turned.mean, turned.low, turned.high) == ("process", "sft", 0.1, 0.05, 0.15)


def test_a_difference_without_an_interval_is_no_result() -> None:
    bare = {"a": "ppo-process", "b": "sft", "metric": "greedy", "mean": 0.3}
    assert headline(record({"arms": ARMS, "paired": [bare]})) == [
        "Greedy on held-out problems: sft 41.2%, process 53.0%, outcome 50.0%; no paired interval was recorded."
    ]


def test_an_unfinished_run_says_so() -> None:
    assert "no policy has been trained" in headline(record({}))[0]
    arm = Arm(
        "process",
        [{"step": 0, "accuracy": 0.25, "sampled_tokens": 9216}, {"step": 1, "accuracy": 0.5, "sampled_tokens": 18432}],
    )
    assert headline(record({}, [arm])) == ["An unfinished run: process at step 2, 50.0% of its last samples right."]
    assert facts(record({"problems": 500}, [arm])) == [
        "process: 2 PPO steps, 18.4k sampled tokens",
        "500 held-out problems",
    ]
