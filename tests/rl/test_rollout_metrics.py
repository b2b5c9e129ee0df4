"""What a step's rollouts look like, on rollouts made by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from lm.engine import Completion
from prm.scores import StepScores
from rl.batch import Rollout
from rl.learn import mean_metrics
from rl.metrics import empty_steps, no_signal, repeated_steps, reward_by, reward_metrics, rollout_metrics
from verifiers.solution import Problem, Solution, Verdict
from verifiers.split import split_steps


def rollout(text: str, tokens: int, finish: str = "stop") -> Rollout:
    completion = Completion(tuple(range(tokens)), np.zeros(tokens, np.float32), finish)  # type: ignore[arg-type]
    steps = split_steps(text)
    return Rollout((1,), completion, Solution(Problem("p", "q", "1"), text, steps), (0,) * len(steps))


RIGHT, NOTHING = Verdict(True, "1", "match"), Verdict(False, None, "no answer")
UNPARSABLE, WRONG = Verdict(False, "?", "unparsable"), Verdict(False, "2", "mismatch")
ROLLOUTS = [rollout("2-1\n#### 1", 4), rollout("", 8, "length"), rollout("#### ?", 3), rollout("1\n1\n.\n#### 2", 5)]


def scored(*probabilities: float) -> StepScores:
    return StepScores(np.array(probabilities))


def test_rollout_metrics_by_hand() -> None:
    metrics = rollout_metrics(
        ROLLOUTS, [RIGHT, NOTHING, UNPARSABLE, WRONG],
        [scored(0.5, 0.75), scored(), scored(1.0), scored(0.9, 0.25, 0.5, 0.5)],
    )  # fmt: skip
    assert metrics == {
        "accuracy": 0.25, "prm_score": (0.5 + 0 + 1 + 0.25) / 4, "response_length": 5.0,
        "steps_per_solution": 7 / 4, "empty_steps": 2 / 4, "repeated_steps": 1 / 4,
        "answer_only": 0.25,  # of the two with fewer than two steps one has answered
        "delimiter_density": 4 / 20, "truncated": 0.25, "no_answer": 0.25, "unparsable": 0.25, "timeout": 0.0,
        "prm_auc": 2 / 3,  # the right one's 0.5 is above 0 and 0.25, below 1
    }  # fmt: skip


def test_prompts_without_answers_have_no_accuracy() -> None:
    prompts = [replace(r, solution=replace(r.solution, problem=Problem("", "Hello?", ""))) for r in ROLLOUTS]
    metrics = rollout_metrics(prompts, [UNPARSABLE] * 4, [scored(0.5)] * 4)
    assert not {"accuracy", "no_answer", "unparsable", "timeout", "answer_only"} & metrics.keys()
    assert metrics["truncated"] == 0.25


def test_without_both_kinds_of_verdict_there_is_no_area_under_a_curve() -> None:
    assert "prm_auc" not in rollout_metrics(ROLLOUTS, [WRONG] * 4, [scored()] * 4)


@pytest.mark.parametrize(
    ("text", "empty", "repeated"),
    [
        ("3+4\n7", 0, 0),
        ("First.\n\nSecond.\n", 0, 0),  # paragraphs are no padding
        ("3+4\n\n\n\n7", 2, 0),
        ("---\n7\n***\n---", 3, 1),
        ("7\n 7 \n7\n8", 0, 2),
        ("", 0, 0),
    ],
)
def test_padding_is_counted(text: str, empty: int, repeated: int) -> None:
    solution = Solution(Problem("p", "q", "1"), text, split_steps(text))
    assert (empty_steps(solution), repeated_steps(solution)) == (empty, repeated)


def test_rewards_by_size() -> None:
    rewards = np.array([1.0, 0.0, 0.5, 2.0])
    assert reward_by([3, 1, 3, 2], rewards) == [[1, 1, 0], [2, 1, 2], [3, 2, 0.75]]
    many = reward_by(range(100, 140), np.arange(40.0))  # 8 bins of 5
    assert [bin_[1] for bin_ in many] == [5] * 8
    assert many[0] == [102, 5, 2]
    assert many[-1] == [137, 5, 37]
    assert sum(n * mean for _, n, mean in many) == 39 * 20


def test_groups_that_all_earned_the_same_have_no_signal() -> None:
    rewards = np.array([1.0, 1.0, 0.5, 0.5, 0.0, 1e-3, 1.0, 1.0 + 1e-9])
    assert no_signal(rewards, 2) == 0.75
    assert no_signal(rewards, 4) == 0.0
    metrics = reward_metrics(ROLLOUTS, np.array([1.0, 1.0, 0.0, 2.0]), 2)
    assert metrics["no_signal"] == 0.5
    assert metrics["reward"] == 1.0
    assert metrics["reward_by_steps"] == [[0, 1, 1], [1, 1, 0], [2, 1, 1], [4, 1, 2]]
    assert metrics["reward_by_length"] == [[3, 1, 0], [4, 1, 1], [5, 1, 2], [8, 1, 1]]
    assert "no_signal" not in reward_metrics(ROLLOUTS, np.zeros(4), None)


def test_extremes_stay_extremes_over_updates() -> None:
    one, other = {"loss": 1.0, "ratio_max": 1.5, "ratio_min": 0.5}, {"loss": 3.0, "ratio_max": 9.0, "ratio_min": 1.0}
    mean = mean_metrics([one, other])
    assert mean == {"loss": 2.0, "ratio_max": 9.0, "ratio_min": 0.5}
    assert mean_metrics([]) == {}
    assert math.isnan(mean_metrics([{"loss": math.nan}])["loss"])
