"""prm.labelled_data: two file formats, one split by question."""

import json
from pathlib import Path

import pytest
from toy_models import solution

from lm.errors import UserError
from prm.labelled_data import StepData, load_labelled, up_to_first_error
from prm.scores import LabeledSolution, write_labeled
from verifiers.solution import Problem


def ours(path: Path, questions: int = 20, each: int = 3) -> str:
    items = []
    for q in range(questions):
        for i in range(each):
            problem = Problem(f"{q}/{i}", f"question {q}", "1")
            items.append(LabeledSolution(solution(f"a{i}\n#### 1", problem), (1.0, None), ("x", None)))
    write_labeled(path, items)
    return str(path)


def published(path: Path, count: int = 12, **extra: object) -> str:
    rows = [
        {"id": f"r{i}", "question": f"question {i}", "gold_answer": "1", "label_type": "human", "source": "s"}
        | {"steps": ["a", "b", "c"], "labels": [1, 0, -1], "first_error": 2}
        | extra
        for i in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def asked(items: list[LabeledSolution]) -> set[str]:
    return {item.solution.problem.question for item in items}


def test_validation_shares_no_question_with_training(tmp_path: Path) -> None:
    data = StepData(train=(ours(tmp_path / "train.a.jsonl"),), test=(), validation_fraction=0.2)
    train, held_out, tests = load_labelled(data, seed=0)
    assert (len(asked(train)), len(asked(held_out)), tests) == (16, 4, {})
    assert not asked(train) & asked(held_out)
    assert len(train) + len(held_out) == 60
    assert asked(load_labelled(data, seed=1)[1]) != asked(held_out)


def test_both_formats_in_one_run(tmp_path: Path) -> None:
    files = (ours(tmp_path / "train.a.jsonl"), published(tmp_path / "b.jsonl"))
    tests = (published(tmp_path / "gsm8k_dev.jsonl"), ours(tmp_path / "test.symbolic.jsonl"))
    train, held_out, reports = load_labelled(StepData(train=files, test=tests, neutral="drop"), seed=0)
    assert len(train) + len(held_out) == 72
    assert {name: len(items) for name, items in reports.items()} == {"gsm8k_dev": 12, "test": 60}
    one = next(item for item in train if item.solution.text == "a\n\nb\n\nc")
    assert one.labels == (1.0, None, 0.0)


def test_a_limit_draws_from_the_whole_file(tmp_path: Path) -> None:
    path = ours(tmp_path / "train.a.jsonl", questions=40)
    train, held_out, _ = load_labelled(StepData(train=(path,), test=(), limit=30), seed=0)
    assert len(train) + len(held_out) == 30
    assert len(asked(train + held_out)) > 15  # its first thirty are ten questions


def test_what_follows_a_false_step_is_left_out(tmp_path: Path) -> None:
    problem = Problem("p", "q", "1")
    labels = {"a": (1.0, 0.0, 1.0, 0.0), "b": (None, 0.25, None, 0.0), "c": (1.0, 1.0, None, 1.0)}
    items = [LabeledSolution(solution("1\n2\n3\n4", problem), y, ("x",) * 4) for y in labels.values()]
    assert [up_to_first_error(item).labels for item in items] == [(1.0, 0.0, None, None), labels["b"], labels["c"]]
    path = tmp_path / "test.jsonl"
    write_labeled(path, items)
    train = (ours(tmp_path / "train.a.jsonl"),)
    for after_error, judged in (("drop", 2), ("keep", 4)):
        data = StepData(train=train, test=(str(path),), after_error=after_error)  # type: ignore[arg-type]
        first = load_labelled(data, seed=0)[2]["test"][0]
        assert sum(label is not None for label in first.labels) == judged


def test_test_data_is_never_trained_on(tmp_path: Path) -> None:
    for path in (ours(tmp_path / "test.symbolic.jsonl"), published(tmp_path / "phase1_test.paths.jsonl")):
        with pytest.raises(UserError, match="test data, never train on it"):
            load_labelled(StepData(train=(path,), test=()), seed=0)
    benchmark = published(tmp_path / "dev.jsonl", source="ProcessBench/gsm8k")
    with pytest.raises(UserError, match="is a benchmark, never train on it"):
        load_labelled(StepData(train=(benchmark,), test=()), seed=0)


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    torn = tmp_path / "torn.jsonl"
    torn.write_text(Path(ours(tmp_path / "train.a.jsonl", 3)).read_text() + '{"text": "x"}\n')
    for path, message in (
        (tmp_path / "nowhere.jsonl", r"^data\.train: .*nowhere\.jsonl: no such file"),
        (empty, r"^data\.train: .*empty\.jsonl: no rows"),
        (torn, r"torn\.jsonl:10: .question. is None; it must be text"),
        (Path(ours(tmp_path / "one.jsonl", questions=1)), "too few problems to split into training and validation"),
    ):
        with pytest.raises(UserError, match=message) as error:
            load_labelled(StepData(train=(str(path),), test=()), seed=0)
        assert "\n" not in str(error.value)
