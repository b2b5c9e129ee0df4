import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm.errors import UserError
from prm.scores import LabeledSolution, StepScores, read_labeled, write_labeled
from verifiers.solution import Problem, Solution, Step
from verifiers.split import split_steps

PROBLEM = Problem("p-1", "What is 2 + 3 · 4?", "14")
TEXT = "3 · 4 = 12\n2 + 12 = 15 – done\n#### 15"


def labeled(labels: tuple[float | None, ...] = (1.0, 0.25, None)) -> LabeledSolution:
    solution = Solution(PROBLEM, TEXT, split_steps(TEXT))
    return LabeledSolution(solution, labels, tuple(None if x is None else "monte-carlo" for x in labels))


@pytest.mark.parametrize(("how", "expected"), [("min", 0.5), ("product", 0.3), ("mean", 2.05 / 3), ("last", 0.75)])
def test_aggregate_hand_worked(how: str, expected: float) -> None:
    assert StepScores(np.array([0.8, 0.5, 0.75])).aggregate(how) == pytest.approx(
        expected if how != "mean" else 2.05 / 3
    )


def test_softmin_is_the_one_of_pure_on_its_rewards() -> None:
    p = np.array([0.8, 0.5, 0.52])
    rewards = 2 * p - 1
    weights = np.exp(-rewards / 0.1) / np.exp(-rewards / 0.1).sum()
    found = StepScores(p).aggregate("softmin")
    assert 2 * found - 1 == pytest.approx(float(weights @ rewards))
    assert 0.5 < found < 0.52
    assert StepScores(np.array([0.3, 0.3])).aggregate("softmin") == pytest.approx(0.3)


@pytest.mark.parametrize("how", ["min", "product", "mean", "last", "softmin"])
def test_a_solution_without_steps_scores_zero(how: str) -> None:
    assert StepScores(np.array([])).aggregate(how) == 0.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_product_never_exceeds_min_nor_min_the_mean(values: list[float]) -> None:
    scores = StepScores(np.array(values))
    assert scores.aggregate("product") <= scores.aggregate("min") <= scores.aggregate("mean") + 1e-12


@pytest.mark.parametrize("bad", [[1.1], [-0.1], [float("nan")], [[0.5]]])
def test_probabilities_are_checked(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="step probabilities"):
        StepScores(np.array(bad))


def test_unknown_aggregation_names_the_choices() -> None:
    with pytest.raises(ValueError, match="'median'; use one of min, product, mean, last"):
        StepScores(np.array([0.5])).aggregate("median")  # type: ignore[arg-type]


def test_scores_are_a_read_only_copy() -> None:
    mine = np.array([0.25, 0.5])
    scores = StepScores(mine)
    mine[0] = 0.75
    assert scores.probabilities.tolist() == [0.25, 0.5]
    with pytest.raises(ValueError, match="read-only"):
        scores.probabilities[0] = 1


def test_first_error_skips_what_nobody_judged_and_uses_the_threshold() -> None:
    assert labeled((1.0, 0.25, 0.0)).first_error() == 1
    assert labeled((1.0, 0.25, 0.0)).first_error(threshold=0.2) == 2
    assert labeled((None, 0.5, None)).first_error() == -1  # 0.5 is not below 0.5
    assert labeled((None, None, None)).first_error() == -1


@pytest.mark.parametrize(
    ("labels", "origins", "message"),
    [
        ((1.0, 1.0), (None, None), "3 steps, 2 labels, 2 origins"),
        ((1.0, 1.0, 1.0), (None, None), "3 steps, 3 labels, 2 origins"),
        ((1.0, 1.5, None), (None, None, None), "label 1 is 1.5"),
        ((1.0, float("nan"), None), (None, None, None), "label 1 is nan"),
        ((-1, 1.0, None), (None, None, None), "label 0 is -1"),
        ((1.0, True, None), (None, None, None), "label 1 is True"),
        ((1.0, "1", None), (None, None, None), "label 1 is '1'"),
        ((1.0, 1.0, None), (None, 3, None), "origin 1 is 3"),
    ],
)
def test_labels_are_checked(labels: tuple, origins: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LabeledSolution(labeled().solution, labels, origins)


@pytest.mark.parametrize("name", ["labels.jsonl", "new/folder/labels.jsonl.gz"])
def test_files_give_back_what_was_written(tmp_path: Path, name: str) -> None:
    items = [labeled(), labeled((None, 0.0, 1 / 3)), LabeledSolution(Solution(PROBLEM, "", ()), (), ())]
    assert write_labeled(tmp_path / name, items) == 3
    assert read_labeled(tmp_path / name) == items
    assert [p.name for p in (tmp_path / name).parent.iterdir() if p.is_file()] == [Path(name).name]


def test_the_file_is_one_plain_json_object_a_line(tmp_path: Path) -> None:
    write_labeled(tmp_path / "a.jsonl.gz", [labeled()])
    with gzip.open(tmp_path / "a.jsonl.gz", "rt", encoding="utf-8") as lines:
        (line,) = lines
    assert json.loads(line) == {
        "id": "p-1",
        "question": PROBLEM.question,
        "answer": "14",
        "text": TEXT,
        "steps": [[0, 10], [11, 29], [30, 37]],
        "labels": [1.0, 0.25, None],
        "origins": ["monte-carlo", "monte-carlo", None],
    }


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_labeled(path, [labeled()])

    def broken() -> list[LabeledSolution]:
        yield labeled()
        raise RuntimeError("the labeller died")

    with pytest.raises(RuntimeError):
        write_labeled(path, broken())
    assert read_labeled(path) == [labeled()]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": None}, "'question' must be text, not None"),
        ({"labels": [1.0]}, "3 steps, 1 labels"),
        ({"labels": [1.0, 2, None]}, "label 1 is 2"),
        ({"labels": 3}, "'labels' must be a list"),
        ({"steps": [[0, 10], [5, 29], [30, 37]]}, r"step 1 is \[5, 29\]"),
        ({"steps": [[0, 10], [11, 29], [30, 99]]}, r"step 2 is \[30, 99\]"),
        ({"steps": [[0, 10], [11, 11], [30, 37]]}, r"step 1 is \[11, 11\]"),
        ({"steps": [[0, 10], "x", [30, 37]]}, "step 1 is 'x'"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, change: dict, message: str) -> None:
    rows = [labeled().to_json(), labeled().to_json() | change]
    path = tmp_path / "bad.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(UserError, match=rf"bad\.jsonl:2: {message}"):
        read_labeled(path)


def test_a_missing_field_and_a_missing_file_are_named(tmp_path: Path) -> None:
    row = labeled().to_json()
    del row["text"]
    (tmp_path / "bad.jsonl").write_text(json.dumps(row))
    with pytest.raises(UserError, match=r"bad\.jsonl:1: no 'text'"):
        read_labeled(tmp_path / "bad.jsonl")
    with pytest.raises(UserError, match=r"absent\.jsonl: no such file"):
        read_labeled(tmp_path / "absent.jsonl")


def test_spans_come_back_as_steps() -> None:
    back = LabeledSolution.from_json(labeled().to_json())
    assert back.solution.steps[1] == Step("2 + 12 = 15 – done", 11, 29)
