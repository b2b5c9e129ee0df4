"""prm.problems: three splits that share no question, from every kind of source, and one line where there is none."""

import json
from pathlib import Path

import pytest

from lm.errors import UserError
from prm.problems import ProblemsConfig, load_problems
from verifiers.families import split_of


def write(path: Path, questions: list[str], **extra: str) -> str:
    rows = [{"question": q, "solution": f"1+{i} = {i + 1}", "gold_answer": str(i + 1)} for i, q in enumerate(questions)]
    path.write_text("".join(json.dumps(row | extra) + "\n" for row in rows))
    return str(path)


def questions(config: ProblemsConfig, split: str, count: int | None = None, stream: int = 0) -> list[str]:
    return [e.problem.question for e in load_problems(config, split, count, stream)]  # type: ignore[arg-type]


def test_built_in_splits_share_no_question() -> None:
    config = ProblemsConfig(levels=(1, 2))
    splits = {split: questions(config, split, 150) for split in ("train", "validation", "test")}
    for split, found in splits.items():
        assert len(found) == 150
        assert len(set(found)) == 150
        assert all(split_of(q) == split for q in found)
    assert questions(config, "train", 50) == questions(config, "train", 50)
    assert questions(config, "train", 50, stream=1) != questions(config, "train", 50, stream=2)


def test_small_families_give_what_they_have_or_come_again() -> None:
    config = ProblemsConfig(families=("linear",), levels=(1,))
    there_are = questions(config, "train")
    assert len(there_are) == len(set(there_are)) < 40
    repeated = [e.problem.question for e in load_problems(config, "train", 500, repeats=True)]
    assert len(repeated) == 500
    assert set(repeated) == set(there_are)
    with pytest.raises(UserError, match=r"problems: only \d+ distinct test problems"):
        load_problems(config, "test", 500)


def test_a_file_is_split_by_question(tmp_path: Path) -> None:
    asked = [f"How many is {i // 2} and one?" for i in range(200)]  # each question twice, under two ids
    config = ProblemsConfig(source=write(tmp_path / "train.jsonl", asked), validation_fraction=0.2)
    train, validation = questions(config, "train"), questions(config, "validation")
    assert not set(train) & set(validation)
    assert sorted(train + validation) == sorted(asked)
    assert 20 <= len(validation) <= 60  # 40 expected of 200
    assert questions(config, "train", 7) == train[:7]


def test_gsm8k_rows_bring_their_solutions(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    row = {"question": "q{}", "answer": "Sold 48/2 = <<48/2=24>>24 clips.\n#### 1,024"}
    path.write_text("".join(json.dumps(row | {"question": f"q{i}"}) + "\n" for i in range(20)))
    example = load_problems(ProblemsConfig(source=str(path), validation_fraction=0.3), "train")[0]
    assert example.problem.answer == "1024"
    assert example.solution == "Sold 48/2 = 24 clips.\n#### 1024"


def test_the_test_problems_are_another_file(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", [f"a{i}" for i in range(30)])
    test = write(tmp_path / "test.jsonl", ["b0", "b1"])
    assert questions(ProblemsConfig(source=train, test_source=test), "test") == ["b0", "b1"]
    with pytest.raises(UserError, match=r"train\.jsonl' is one file: give problems\.test_source"):
        load_problems(ProblemsConfig(source=train), "test")
    leaky = write(tmp_path / "leaky.jsonl", ["b0", "a3", "a4"])
    with pytest.raises(UserError, match=r"leaky\.jsonl' has 2 questions of problems\.source"):
        load_problems(ProblemsConfig(source=train, test_source=leaky), "test")


def test_a_test_file_is_never_trained_on(tmp_path: Path) -> None:
    config = ProblemsConfig(source=write(tmp_path / "test.jsonl", [f"a{i}" for i in range(30)]))
    for split in ("train", "validation"):
        with pytest.raises(UserError, match="names a test set, never train on it"):
            load_problems(config, split)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (None, r"^problems: .*rows\.jsonl: no such file; give one data file$"),
        ("", r"^problems: .*rows\.jsonl: no rows; give a file with at least one$"),
        ('{"question": "q", "answer": ""}\n', r"^problems: .*rows\.jsonl:1: the answer in column 'answer' is ''"),
        ('{"question": "q", "answer": "so ####"}\n', r"^problems: .*rows\.jsonl:1: nothing after #### in 'answer'"),
        ('{"question": "q"}\n', r"^problems: .*rows\.jsonl:1: no column 'answer' for the answer"),
        ("{\n", r"^problems: .*rows\.jsonl:1: not JSON"),
        ('{"question": "q", "answer": "1"}\n', r"^problems: a validation fraction of 0\.05 leaves"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, rows: str | None, message: str) -> None:
    if rows is not None:
        (tmp_path / "rows.jsonl").write_text(rows)
    with pytest.raises(UserError, match=message) as error:
        load_problems(ProblemsConfig(source=str(tmp_path / "rows.jsonl")), "train")
    assert "\n" not in str(error.value)


def test_an_unknown_family_is_one_line() -> None:
    with pytest.raises(UserError, match="unknown family 'sudoku'; there are chain"):
        load_problems(ProblemsConfig(families=("sudoku",)), "train", 3)


def test_a_downloaded_data_set_has_its_own_test_split(tmp_path: Path) -> None:
    folder = tmp_path / "sums"
    folder.mkdir()
    for split, asked in (("train", [f"Q{i}" for i in range(40)]), ("test", ["T0", "T1"])):
        write(folder / f"{split}.jsonl", asked)
    card = [{"config_name": "default", "data_files": [{"split": s, "path": f"{s}.jsonl"} for s in ("train", "test")]}]
    (folder / "README.md").write_text(f"---\nconfigs: {json.dumps(card)}\n---\n")
    config = ProblemsConfig(source=str(folder), validation_fraction=0.3)
    assert questions(config, "test", None) == ["T0", "T1"]
    assert sorted(questions(config, "train") + questions(config, "validation")) == sorted(f"Q{i}" for i in range(40))
