import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from lm.errors import UserError
from prm.readers import REFERENCE_ORIGIN, data_set, read_step_labels
from prm.scores import write_labeled
from verifiers.split import split_steps

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared step-label data is not beside the repository")

ROW: dict[str, Any] = {
    "id": "r-0",
    "question": "How many seconds are in 7.8 minutes?",
    "gold_answer": "468",
    "steps": ["7.8 minutes are 7 minutes\nand 0.8 minutes. ", "7 * 60 = 420", "0.8 * 60 = 46"],
    "labels": [1, 0, -1],
    "first_error": 2,
    "source": "prm800k/phase1",
    "label_type": "human_each_step",
}


def write(folder: Path, *rows: dict[str, Any], name: str = "labels.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_steps_are_joined_with_exact_spans(tmp_path: Path) -> None:
    (item,), _ = read_step_labels(write(tmp_path, ROW), purpose="train")
    text = "7.8 minutes are 7 minutes\nand 0.8 minutes.\n\n7 * 60 = 420\n\n0.8 * 60 = 46"
    assert item.solution.text == text
    assert [(s.start, s.end) for s in item.solution.steps] == [(0, 42), (44, 56), (58, 71)]
    assert all(s.text == text[s.start : s.end] for s in item.solution.steps)
    assert split_steps(text, "paragraph") == item.solution.steps
    assert item.origins == ("human_each_step",) * 3

    (item,), _ = read_step_labels(write(tmp_path, ROW), purpose="train", separator="line")
    assert item.solution.text == text.replace("\n\n", "\n")
    assert len(item.solution.steps) == 3  # though the text has four lines
    assert item.solution.text[57:] == item.solution.steps[2].text[1:]


@pytest.mark.parametrize(("neutral", "label"), [("right", 1.0), ("wrong", 0.0), ("drop", None)])
def test_what_neutral_means(tmp_path: Path, neutral: Any, label: float | None) -> None:
    (item,), report = read_step_labels(write(tmp_path, ROW), purpose="train", neutral=neutral)
    assert item.labels == (1.0, label, 0.0)
    assert item.first_error() == (1 if neutral == "wrong" else 2)
    assert report.ratings == {"right": 1, "neutral": 1, "wrong": 1}
    assert report.dropped_labels == ({"neutral": 1} if neutral == "drop" else {})
    assert f"neutral: {neutral}" in str(report)


def test_each_rating_counts_once_and_null_is_nobodys_judgement(tmp_path: Path) -> None:
    main = ROW | {"labels": [1, None, 1], "first_error": -1, "new_from": 0}
    branch = ROW | {"id": "r-1", "labels": [1, None, -1], "new_from": 2}
    empty = ROW | {"id": "r-2", "labels": [1, None, 0], "first_error": -1, "new_from": 2}
    path = write(tmp_path, main, branch, empty)
    items, report = read_step_labels(path, purpose="train", neutral="drop")
    assert [item.labels for item in items] == [(1.0, None, 1.0), (None, None, 0.0)]
    assert items[1].origins == (None, None, "human_each_step")
    assert report.ratings == {"right": 2, "not judged": 1, "wrong": 1, "neutral": 1}
    assert report.dropped_rows == {"no label left": 1}
    assert report.dropped_labels == {"repeats another row's rating": 1}
    assert (report.rows, report.solutions) == (3, 2)


def test_references_come_once_a_problem_and_needless_steps_can_be_unlabelled(tmp_path: Path) -> None:
    extra = {
        "labels": [1, 1, -1],
        "error_type": "Reached correct solution but proceeded further",
        "reference_solution": "7.8 * 60 = <<7.8*60=468>>468\n\nSo 468 seconds.",
        "source": "verify-then-generate",
    }
    path = write(tmp_path, ROW | extra, ROW | extra | {"id": "r-1", "error_type": "Unit conversion error"})
    items, report = read_step_labels(path, purpose="train", references=True, needless="drop")
    assert [item.solution.problem.id for item in items] == ["r-0/reference", "r-0", "r-1"]
    assert items[0].solution.text == "7.8 * 60 = 468\n\nSo 468 seconds."
    assert (items[0].labels, items[0].origins) == ((1.0, 1.0), (REFERENCE_ORIGIN,) * 2)
    assert [item.labels for item in items[1:]] == [(1.0, 1.0, None), (1.0, 1.0, 0.0)]
    assert report.dropped_labels == {"needless, not false": 1}


def test_nothing_is_trained_on_that_is_for_testing(tmp_path: Path) -> None:
    named = write(tmp_path, ROW, name="phase1_test.paths.jsonl")
    with pytest.raises(UserError, match="the name says test data, never train on it"):
        read_step_labels(named, purpose="train")
    assert len(read_step_labels(named, purpose="evaluate")[0]) == 1

    benchmark = write(tmp_path, ROW | {"source": "ProcessBench/gsm8k"})
    with pytest.raises(UserError, match="ProcessBench/gsm8k is a benchmark, never train on it"):
        read_step_labels(benchmark, purpose="train")

    mixed = write(tmp_path, ROW, ROW | {"id": "prmbench-prm_test_p1_0"})
    items, report = read_step_labels(mixed, purpose="train")
    assert [item.solution.problem.id for item in items] == ["r-0"]
    assert report.dropped_rows == {"id names test data": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": ["a", " ", "c"]}, r"steps\[1\] is ' '"),
        ({"steps": [], "labels": []}, "'steps' must be a list of at least one"),
        ({"labels": [1, 0]}, "'labels' must be a list of 3"),
        ({"labels": [1, 2, -1]}, "'labels' must hold only"),
        ({"labels": [True, 0, -1]}, "'labels' must hold only"),
        ({"first_error": 3}, "'first_error' is 3, but the labels say 2"),
        ({"new_from": 4}, "'new_from' is 4"),
        ({"question": None}, "'question' is None"),
        ({"label_type": 1}, "'label_type' is 1"),
    ],
)
def test_a_malformed_row_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=rf"labels\.jsonl:2: {message}"):
        read_step_labels(write(tmp_path, ROW, ROW | change), purpose="train")


def test_a_malformed_row_can_be_left_out_and_is_told_of(tmp_path: Path) -> None:
    path = write(tmp_path, ROW, ROW | {"labels": [1]}, ROW)
    path.write_text(path.read_text() + '\n{"torn\n[1]\n')
    items, report = read_step_labels(path, purpose="train", on_bad_row="skip")
    assert (len(items), report.rows, report.dropped_rows) == (2, 5, {"malformed": 3})
    assert [message.split(": ")[0].rsplit("/")[-1] for message in report.malformed] == [
        "labels.jsonl:2",
        "labels.jsonl:4",
        "labels.jsonl:5",
    ]
    assert "malformed: " in str(report)
    with pytest.raises(UserError, match=r"no labelled solution left \(1 malformed; .*labels\.jsonl:1: "):
        read_step_labels(write(tmp_path, ROW | {"steps": []}), purpose="train", on_bad_row="skip")


def test_rung_s_own_files_come_back_as_they_are(tmp_path: Path) -> None:
    (item,), _ = read_step_labels(write(tmp_path, ROW), purpose="train", neutral="drop")
    write_labeled(tmp_path / "own.jsonl", [item, item])
    again, report = read_step_labels(tmp_path / "own.jsonl", purpose="train", separator="line")
    assert again == [item, item]
    assert report.ratings == {"right": 2, "not judged": 2, "wrong": 2}


def test_json_lists_json_groups_and_parquet_hold_the_same_rows(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [ROW, ROW | {"id": "r-1"}]
    (tmp_path / "list.json").write_text(json.dumps(rows))
    (tmp_path / "groups.json").write_text(json.dumps({"a": rows[:1], "b": rows[1:]}))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    want, _ = read_step_labels(write(tmp_path, *rows), purpose="train")
    for name in ("list.json", "groups.json", "rows.parquet"):
        assert read_step_labels(tmp_path / name, purpose="train")[0] == want, name


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("owner/name", ("owner/name", None, None)),
        ("owner/name:dev", ("owner/name", None, "dev")),
        ("owner/name/main:dev", ("owner/name", "main", "dev")),
        ("gsm8k", ("gsm8k", None, None)),
        ("a/b/c.jsonl", None),
        ("../name", None),
        ("/data/name", None),
    ],
)
def test_what_is_asked_of_the_hub(source: str, place: Any) -> None:
    assert data_set(source) == place


def test_a_data_set_s_folder_is_read_as_the_hub_s_copy_would_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "labels"
    folder.mkdir()
    for split in ("train", "test"):
        write(folder, ROW, ROW | {"id": split}, name=f"{split}.jsonl")
    items, report = read_step_labels(f"{folder}:train", purpose="train")
    assert [item.solution.problem.id for item in items] == ["r-0", "train"]
    assert report.ratings == {"right": 2, "neutral": 2, "wrong": 2}
    assert read_step_labels(folder, purpose="evaluate")[0][1].solution.problem.id == "test"
    with pytest.raises(UserError, match="test data, never train on it"):
        read_step_labels(f"{folder}:test", purpose="train")
    with pytest.raises(UserError, match=r"a/b/c\.jsonl: no such file"):
        read_step_labels("a/b/c.jsonl", purpose="train")


def test_a_file_that_leaves_nothing_says_so(tmp_path: Path) -> None:
    path = write(tmp_path, ROW | {"labels": [0, 0, 0], "first_error": -1})
    with pytest.raises(UserError, match=r"no labelled solution left \(1 no label left\)"):
        read_step_labels(path, purpose="train", neutral="drop")


# What the README beside the data says of each file.
@needs_data
@pytest.mark.parametrize(
    ("name", "rows", "ratings"),
    [
        ("prm800k/phase1_train.paths", 31_623, {"right": 17_283, "neutral": 8_806, "wrong": 16_814}),
        ("prm800k/phase1_test.paths", 3_203, {"right": 2_086, "neutral": 817, "wrong": 1_694}),
    ],
)
def test_prm800k_counts(name: str, rows: int, ratings: dict[str, int]) -> None:
    items, report = read_step_labels(SHARED / f"{name}.jsonl.gz", purpose="evaluate")
    assert report.rows == report.solutions == len(items) == rows
    assert {rating: report.ratings[rating] for rating in ratings} == ratings
    labels = [label for item in items for label in item.labels]
    assert labels.count(1.0) == ratings["right"] + ratings["neutral"]
    assert labels.count(0.0) == ratings["wrong"]


@needs_data
@pytest.mark.parametrize(
    ("name", "rows", "wrong"),
    [
        ("processbench/gsm8k_dev", 193, 101),
        ("processbench/math_dev", 516, 304),
        ("processbench/olympiadbench", 1_000, 661),
        ("mrben/math", 917, 768),
        ("vtg/gsm8k_train_errors", 797, 797),
        ("prmbench/prmbench", 6_197, 6_197 - 165),
    ],
)
def test_first_error_counts(name: str, rows: int, wrong: int) -> None:
    path = SHARED / f"{name}.jsonl.gz"
    items, report = read_step_labels(path, purpose="evaluate")
    assert report.rows == len(items) == rows
    assert sum(item.first_error() >= 0 for item in items) == wrong
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        assert [item.first_error() for item in items] == [json.loads(line)["first_error"] for line in lines]


@needs_data
def test_published_files_keep_their_caveats() -> None:
    items, _ = read_step_labels(SHARED / "processbench/gsm8k_dev.jsonl.gz", purpose="evaluate")
    for item in items:  # nothing is known after the first error
        after = item.labels[item.first_error() + 1 :] if item.first_error() >= 0 else ()
        assert all(label is None for label in after)
        assert split_steps(item.solution.text, "paragraph") == item.solution.steps

    _, report = read_step_labels(SHARED / "prmbench/prmbench.jsonl.gz", purpose="train")
    assert report.solutions == 3_190  # the README's in_prm800k_p1_train rows; the others use MATH-500 problems

    items, _ = read_step_labels(SHARED / "vtg/gsm8k_train_errors.jsonl.gz", purpose="train", references=True)
    references = [item for item in items if item.origins[0] == REFERENCE_ORIGIN]
    assert len(items) - len(references) == 797
    assert len(references) == len({item.solution.problem.question for item in items})
    assert all("<<" not in item.solution.text for item in references)
