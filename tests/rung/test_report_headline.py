from typing import Any

import pytest

from rung.report_data import RunRecord
from rung.report_headline import facts, headline
from rung.report_study import Arm, Study


def record(evaluation: dict[str, Any], arms: list[Arm] | None = None) -> Study:
    return Study(
        [RunRecord("r", "", "", "", {}, [], {}, [], {}, {}, [], evaluation, [], [])], arms or [], evaluation, []
    )


def arm(name: str, *runs: list[dict[str, Any]]) -> Arm:
    return Arm(name, [*runs], [], [], {})


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


def test_the_best_of_other_arms_leads_and_what_was_lost_is_told() -> None:
    pairs = [
        pair("ppo", "sft", 0.155, 0.103, 0.208, "win rate"),
        pair("rlaif", "sft", 0.212, 0.16, 0.265, "win rate"),
        pair("ppo", "sft", -0.053, -0.09, -0.02, "math"),
        pair("rlaif", "sft", -0.023, -0.053, 0.007, "math"),
    ]
    assert headline(record({"paired": pairs})) == [
        "The rlaif arm raised win rate: +21.2 points, 95% interval 16.0 to 26.5.",
        "It had a price: ppo −5.3 points of math (−9.0 to −2.0).",
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


def test_a_difference_without_an_interval_is_no_result() -> None:
    bare = {"a": "ppo-process", "b": "sft", "metric": "greedy", "mean": 0.3}
    assert headline(record({"arms": ARMS, "paired": [bare]})) == [
        "Greedy on held-out problems: process 53.0%, outcome 50.0%, sft 41.2%; no paired interval was recorded."
    ]


def test_the_lead_of_the_best_over_the_next_that_it_was_paired_with_is_told() -> None:
    names = {"sft (a)": 0.1, "ppo (a)": 0.5, "sft (b)": 0.55, "ppo (b)": 0.6}
    arms = [{"name": name, "greedy": mean} for name, mean in names.items()]
    others = [pair("ppo (a)", "sft (a)", 0.4, 0.3, 0.5), pair("ppo (b)", "sft (a)", 0.5, 0.4, 0.6)]
    told = [*others, pair("ppo (b)", "ppo (a)", 0.1, 0.02, 0.18)]
    assert headline(record({"arms": arms, "paired": told})) == [
        "Greedy on held-out problems: ppo (b) 60.0%, sft (b) 55.0%, ppo (a) 50.0%, sft (a) 10.0%.",
        "On the same problems ppo (b) − ppo (a) is +10.0 points, 95% interval 2.0 to 18.0.",
    ]
    assert headline(record({"arms": arms, "paired": others[:1]}))[1:] == []
    unsettled = headline(record({"arms": arms, "paired": [pair("ppo (b)", "ppo (a)", 0.1, -0.02, 0.22)]}))[1]
    assert unsettled.endswith("−2.0 to 22.0, which holds zero: not settled.")


def test_an_unfinished_run_says_so() -> None:
    assert "no policy has been trained" in headline(record({}))[0]
    rows = [
        {"step": 0, "accuracy": 0.25, "sampled_tokens": 9216},
        {"step": 1, "accuracy": 0.5, "sampled_tokens": 18432},
    ]
    process = arm("process", rows)
    assert headline(record({}, [process])) == ["No evaluation yet: process at step 2, 50.0% of its last samples right."]
    assert facts(record({"problems": 500}, [process])) == [
        "process: 2 steps, 18.4k sampled tokens",
        "500 held-out problems",
    ]


def test_many_arms_are_ranked_by_their_last_check_the_best_named() -> None:
    arms = [
        arm(f"arm{i}", [{"step": 0, "eval_accuracy": i / 10}], [{"step": 0, "eval_accuracy": 0.1}]) for i in range(6)
    ]
    assert headline(record({}, arms)) == [
        "Greedy accuracy at the last check on held-out problems: "
        "arm5 30.0%, arm4 25.0%, arm3 20.0%, arm2 15.0% and 2 more."
    ]
    uneven = [
        arm(f"arm{i}", [{"step": 0, "eval_accuracy": 0.5 + i / 10, "sampled_tokens": 1000 + 500 * i}]) for i in (0, 1)
    ]
    assert headline(record({}, uneven)) == [
        "Greedy accuracy at the last check on held-out problems: "
        "arm1 60.0% after 1.5k tokens, arm0 50.0% after 1k tokens."
    ]
