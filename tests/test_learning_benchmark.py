"""The arithmetic of benchmarks/learning.py: when a learning curve reaches a level."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.learning import Arm, arm_config, curve, share_of_tokens, tokens_to_reach
from benchmarks.learning_verdicts import right_against_wrong, right_against_wrong_steps
from lm.config import load
from rung.ladder import Ladder
from verifiers.solution import Problem, Solution
from verifiers.split import split_steps

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


def arm(form: str, tokens: list[float], accuracy: list[float]) -> Arm:
    return Arm("ppo", form, 0, np.zeros(1), (np.array(tokens), np.array(accuracy)))


def test_a_share_of_tokens_is_to_the_same_accuracy() -> None:
    """Outcome is at 0.4 after 300 tokens (halfway between 200 and 400); process after 150."""
    outcome, process = arm("outcome", [200, 400], [0.3, 0.5]), arm("process", [100, 200], [0.3, 0.5])
    assert share_of_tokens(process, outcome, 0.4) == pytest.approx(0.5)
    assert share_of_tokens(process, outcome, 0.6) is None


def test_every_algorithm_has_a_config_of_64_rollouts_an_update(tmp_path: Path) -> None:
    ladder = load(Ladder, None, [f"folder={tmp_path}"])
    for algorithm in ("ppo", "grpo", "dr_grpo", "rloo", "reinforce_pp", "dapo", "gspo"):
        process, outcome = (arm_config(ladder, algorithm, form, 2, 1000) for form in ("process", "outcome"))
        assert process.problems_per_step * process.sampling.n == 64
        assert (process.credit.form, outcome.credit.form) == ("delta", "outcome")
        assert process.policy == f"{tmp_path}/sft/model"
        assert process.seed == outcome.seed == 2
        assert process.folder != outcome.folder


def test_pairs_of_right_against_wrong_by_hand() -> None:
    problem = Problem("p", "2+2", "4")
    texts = ["#### 4", "2+2=4\n#### 4", "#### 5", "#### 5", "#### 6", "#### 7"]
    pairs = right_against_wrong([Solution(problem, text, split_steps(text)) for text in texts])
    assert [(pair["chosen"], pair["rejected"]) for pair in pairs] == [
        ("#### 4", "#### 5"), ("2+2=4\n#### 4", "#### 6"), ("#### 4", "#### 7"),
    ]  # fmt: skip
    assert {pair["prompt"] for pair in pairs} == {"2+2"}
    assert right_against_wrong([Solution(problem, "#### 4", ())]) == []
    assert right_against_wrong([]) == []


def test_pairs_of_steps_by_hand() -> None:
    """One wrong step after each of two beginnings; a right answer to what a wrong step left is no pair of anything."""
    problem = Problem("chain-1-24e1c03dc3", "5-1+2", "6")  # the id that the families give it
    texts = ["4+2\n#### 6", "6+2\n#### 8", "4+2\n#### 5", "6+2\n#### 7"]
    pairs = right_against_wrong_steps([Solution(problem, text, split_steps(text)) for text in texts])
    assert pairs == [
        {"prompt": "5-1+2", "prefix": "", "chosen": "4+2\n", "rejected": "6+2\n"},
        {"prompt": "5-1+2", "prefix": "4+2\n", "chosen": "#### 6", "rejected": "#### 5"},
    ]
