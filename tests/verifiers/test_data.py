import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifiers.data import DataError, Example, load_examples, names_test_data, remove_marks, split_by_problem
from verifiers.solution import Problem

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared problem data is not beside the repository")

WORKED = "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\nAltogether 1,000+24 = <<1000+24=1024>>1024."
CLEAN = "Natalia sold 48/2 = 24 clips in May.\nAltogether 1,000+24 = 1024."
LOCAL = {"id": "q-0", "question": "How many clips?", "solution": WORKED, "gold_answer": "1024"}
HUB = {"question": "How many clips?", "answer": f"{WORKED}\n#### 1,024"}


def write(folder: Path, *rows: Any, name: str = "problems.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_both_layouts_of_gsm8k_give_the_same_example(tmp_path: Path) -> None:
    (local,) = load_examples(write(tmp_path, LOCAL))
    (hub,) = load_examples(write(tmp_path, HUB, name="hub.jsonl"))
    assert local == Example(Problem("q-0", "How many clips?", "1024"), f"{CLEAN}\n#### 1024")
    assert hub == Example(Problem("hub-0", "How many clips?", "1024"), f"{CLEAN}\n#### 1024")


def test_rows_without_answers_where_none_is_needed(tmp_path: Path) -> None:
    told = {"question": "Be kind.", "solution": "I am.\n"}
    path = write(tmp_path, {"question": "Who?"}, told, LOCAL)
    with pytest.raises(DataError, match="no column 'answer'"):
        load_examples(path)
    prompt, response, worked = load_examples(path, answers=False)
    assert prompt == Example(Problem("problems-0", "Who?", ""), None)
    assert response == Example(Problem("problems-1", "Be kind.", ""), "I am.\n")
    assert worked.problem.answer == "1024"


def test_marks_are_kept_when_asked(tmp_path: Path) -> None:
    (example,) = load_examples(write(tmp_path, LOCAL), keep_marks=True)
    assert example.solution == f"{WORKED}\n#### 1024"
    assert remove_marks("a << b, <<1+1=2>>2 >> c") == "a 2 >> c"  # a mark opens at the first <<
    assert remove_marks("a <<\n>> b") == "a <<\n>> b"  # and stands within one line


def test_a_solution_that_already_ends_with_an_answer_line_gets_no_second_one(tmp_path: Path) -> None:
    (example,) = load_examples(write(tmp_path, LOCAL | {"solution": "So it is 1024.\n#### 1,024\n"}))
    assert example.solution == "So it is 1024.\n#### 1024"


def test_answers_without_solutions_other_columns_options_and_lists(tmp_path: Path) -> None:
    rows = [
        {"ask": "1 + 1?", "gold": 2},
        {"ask": "Which?", "gold": "B", "options": ["A) 1", "B) 2"]},
        {"ask": "Roots?", "gold": ["1", "-1"], "how": ["x² = 1.", "another way"]},
    ]
    path = write(tmp_path, *rows[:2])
    two = load_examples(path, question="ask", answer="gold")
    assert [e.problem.question for e in two] == ["1 + 1?", "Which?\nA) 1\nB) 2"]
    assert [(e.problem.answer, e.solution) for e in two] == [("2", None), ("B", None)]
    (three,) = load_examples(write(tmp_path, rows[2], name="more.jsonl"), question="ask", answer="gold", solution="how")
    assert (three.problem.answer, three.solution) == ("1, -1", "x² = 1.\n#### 1, -1")
    assert load_examples(path, question="ask", answer="gold", limit=1) == two[:1]


def test_every_file_format_reads_the_same(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    expected = load_examples(write(tmp_path, LOCAL))
    (tmp_path / "p.jsonl.gz").write_bytes(gzip.compress(json.dumps(LOCAL).encode()))
    (tmp_path / "p.json").write_text(json.dumps([LOCAL]))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([LOCAL]), tmp_path / "p.parquet")
    for name in ("p.jsonl.gz", "p.json", "p.parquet"):
        assert load_examples(tmp_path / name) == expected, name


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no rows"),
        ("\n\n", "no rows"),
        ('{"question": "q", "answer": "1"}\n{"question": "q"', r":2: not JSON"),
        ("[1]", r":1: a row must be an object"),
        ('{"question": "q", "answer": "1"}\n{"question": " ", "answer": "1"}', r":2: the question .* is ' '"),
        ('{"question": "q", "answer": null}', r":1: the answer .* is None"),
        ('{"question": "q", "answer": true}', r":1: the answer .* is True"),
        ('{"question": "q", "answer": "so\\n####  "}', r":1: nothing after ####"),
        ('{"prompt": "q", "target": "1"}', r"no column 'question' .* the columns are prompt, target"),
        ('{"question": "q", "target": "1"}', r"no column 'answer' .* the columns are question, target"),
        (
            '{"id": 1, "question": "q", "answer": "1"}\n{"id": 1, "question": "r", "answer": "1"}',
            ":2: id '1' stands at",
        ),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=rf"bad\.jsonl.*{message}") as caught:
        load_examples(path)
    assert "\n" not in str(caught.value)


def test_bad_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(json.dumps([LOCAL] * 99).encode())[:60])
    (tmp_path / "fake.jsonl.gz").write_text("not gzip")
    (tmp_path / "latin.jsonl").write_bytes(b'{"question": "caf\xe9"}')
    (tmp_path / "fake.parquet").write_text("not parquet")
    (tmp_path / "object.json").write_text("{}")
    (tmp_path / "table.csv").write_text("question,answer")
    for name, message in {
        "absent.jsonl": "no such file",
        "cut.jsonl.gz": "cannot be read",
        "fake.jsonl.gz": "cannot be read",
        "latin.jsonl": "not UTF-8",
        "fake.parquet": "not a readable parquet file",
        "object.json": "must hold a list",
        "table.csv": "give one of .jsonl",
        "": "a folder, not a file",
    }.items():
        with pytest.raises(DataError, match=message) as caught:
            load_examples(tmp_path / name, purpose="evaluate")
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_limit_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="limit is 0"):
        load_examples(write(tmp_path, LOCAL), limit=0)


def test_training_on_test_data_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, LOCAL, name="test.jsonl")
    with pytest.raises(DataError, match=r"'test\.jsonl' names a test set"):
        load_examples(path)
    assert len(load_examples(path, purpose="evaluate")) == len(load_examples(path, allow_test=True)) == 1
    with pytest.raises(DataError, match=r":1: id 'gsm8k-test-7' names a test set"):
        load_examples(write(tmp_path, LOCAL | {"id": "gsm8k-test-7"}))
    for split in ("test", "train+test[:10]"):  # refused before the hub is asked
        with pytest.raises(DataError, match="names a test set"):
            load_examples("openai/gsm8k", config="main", split=split)


def test_test_is_looked_for_as_a_word() -> None:
    names = [
        "test.jsonl.gz",
        "gsm8k_test.jsonl",
        "phase1_test.paths",
        "test-00000-of-00001.parquet",
        "math500",
        "MATH-500",
    ]
    assert all(map(names_test_data, names))
    assert not any(
        map(names_test_data, ["latest.jsonl", "contest-math", "attestation", "math5000", "train", "testing"])
    )


def question_of(item: tuple[str, int]) -> str:
    return item[0]


@given(st.lists(st.tuples(st.sampled_from([f"Question {i}?" for i in range(40)]), st.integers()), min_size=1))
def test_no_question_stands_on_both_sides(items: list[tuple[str, int]]) -> None:
    anchors = [(f"Anchor {i}?", i) for i in range(60)]  # so that neither side is empty
    train, validation = split_by_problem(items + anchors, 0.5, seed=3, question=question_of)
    assert not {question for question, _ in train} & {question for question, _ in validation}
    assert sorted(train + validation) == sorted(items + anchors)


def test_the_side_depends_on_seed_and_question_alone() -> None:
    items = [(f"How many is {i}?", i) for i in range(1000)]
    validation = split_by_problem(items, 0.2, seed=0, question=question_of)[1]
    assert 150 < len(validation) < 250  # binomial(1000, 0.2): mean 200, sd 12.6
    assert validation != split_by_problem(items, 0.2, seed=1, question=question_of)[1]
    fewer = split_by_problem(items[::-2], 0.2, seed=0, question=question_of)[1]
    assert set(fewer) <= set(validation)
    shouted = [(f"  HOW many\nis \uff12{str(i)[1:]}? ", i) for i in range(200, 300)]  # full-width 2
    sides = split_by_problem(shouted, 0.2, seed=0, question=question_of)
    assert {i for _, i in sides[1]} == {i for _, i in validation if 200 <= i < 300}


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(DataError, match="validation fraction is"):
        split_by_problem([("q", 0)], fraction, seed=0, question=question_of)


def test_an_empty_side_is_refused() -> None:
    with pytest.raises(DataError, match=r"leaves (1 training and 0|0 training and 1) validation rows"):
        split_by_problem([("q", 0)], 0.5, seed=0, question=question_of)


@needs_data
@pytest.mark.parametrize(
    ("name", "rows", "solved"),
    [
        ("gsm8k/train", 7_473, True),
        ("gsm8k/test", 1_319, True),
        ("math/train_answers", 7_479, False),
        ("math/math500", 500, True),
        ("problems/gsm_hard", 1_319, False),
        ("problems/multiarith", 600, False),
        ("problems/aqua_test", 254, True),
        ("problems/olympiadbench_en_text", 675, True),
    ],
)
def test_published_files(name: str, rows: int, solved: bool) -> None:
    examples = load_examples(SHARED / f"{name}.jsonl.gz", purpose="evaluate")
    assert len(examples) == rows
    assert all((example.solution is not None) == solved for example in examples)
    for example in examples:
        if example.solution is not None:
            assert example.solution.split("\n")[-1] == f"#### {example.problem.answer}"
            assert "<<" not in example.solution or not name.startswith("gsm8k")


@needs_data
def test_gsm8k_train_may_be_trained_on_and_its_neighbours_not() -> None:
    assert load_examples(SHARED / "gsm8k/train.jsonl.gz", limit=2)[1].problem.id == "gsm8k-train-1"
    for name in ("gsm8k/test", "gsm8k/model_solutions", "math/test", "math/math500"):
        with pytest.raises(DataError, match="never train on it"):
            load_examples(SHARED / f"{name}.jsonl.gz")
