"""rung verify: rows in, verdicts, a summary and the disagreements out."""

import json
from pathlib import Path

import pytest

from lm.errors import UserError
from rung.cli import main
from rung.report_data import read_lines
from rung.verify import VerifyConfig
from rung.verify import main as verify

ROWS = [
    {"id": "a", "answer": "1/2", "text": "So it is \\boxed{0.5}.", "correct": True, "mine": 7},
    {"id": "b", "answer": 72, "text": "Answer: 71", "correct": False},
    {"id": "c", "answer": "#### 72", "text": "Answer: 72", "correct": False},  # a wrong label
    {"id": "d", "answer": ["1", "2"], "text": "\\boxed{2, 1}", "correct": True},
    {"id": "e", "answer": "5", "text": None, "correct": True},  # nothing was answered
    {"id": "f", "answer": "5", "text": "\\boxed{\\strange}"},
]


def write(path: Path, *rows: dict) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("workers", [0, 1])
def test_verdicts_summary_and_disagreements(workers: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "answers.jsonl", *ROWS)
    assert main(["verify", str(file), f"out={tmp_path}/sub/verdicts.jsonl", f"workers={workers}", "timeout=10"]) == 0
    rows = read_lines(tmp_path / "sub/verdicts.jsonl")
    assert rows[0] == ROWS[0] | {"verdict": {"correct": True, "predicted": "0.5", "reason": "match"}}
    assert [row["verdict"]["reason"] for row in rows] == [
        "match", "mismatch", "match", "match", "no answer", "unparsable"
    ]  # fmt: skip
    out, err = capsys.readouterr()
    told = " ".join(out.split())
    assert (
        "right 3 of 6 (50.00%), wrong 1 of 6 (16.67%), could not tell 2 of 6 (33.33%) (1 no answer, 1 unparsable)"
        in (told)
    )
    assert "agrees with 3 of 5 (60.00%) of the labels: 1 false accepts, 1 false rejects" in told
    table = [line.split("│")[1:4] for line in out.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in row] for row in table] == [["c", "wrong", "match"], ["e", "right", "no answer"]]
    assert "verify 6/6" in err


def test_rows_go_to_standard_output_and_the_summary_beside_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verify(VerifyConfig(file=write(tmp_path / "answers.jsonl", ROWS[0])))
    out, err = capsys.readouterr()
    assert json.loads(out)["verdict"]["correct"] is True
    assert "right 1 of 1" in err


def test_rules_policy_kinds_columns_and_options_are_the_users(tmp_path: Path) -> None:
    rows = [
        {"key": "1, 2", "solution": "\\boxed{9}. The answer is 2, 1."},
        {"key": "1, 2", "solution": "2, 1", "kind": "answer"},
        {"key": "B", "solution": "the answer is 7", "question": "Which?", "options": ["A) 5", "B) 7"]},
        {"key": "7", "solution": ["First", "The answer is 7."]},
    ]
    file = write(tmp_path / "answers.jsonl", *rows)
    for ordered, reason in (("true", "mismatch"), ("false", "match")):
        command = ["rules=[the answer is]", f"policy.ordered_lists={ordered}", f"out={tmp_path}/out.jsonl"]
        assert main(["verify", f"file={file}", "gold=key", "text=solution", *command]) == 0
        reasons = [row["verdict"]["reason"] for row in read_lines(tmp_path / "out.jsonl")]
        assert reasons == [reason, reason, "match", "match"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "5"}, "row 1 has no column gold or gold_answer or .*; its columns are text"),
        ({"gold": None, "text": "5"}, "the gold answer is None"),
        ({"gold": "5"}, "no column text or response"),
        ({"gold": "5", "text": {}}, "the text is '{}', expected text"),
        ({"gold": "5", "text": "5", "expected": "yes"}, "the label is 'yes', expected true or false"),
    ],
)
def test_a_bad_row_is_named(row: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        verify(VerifyConfig(file=write(tmp_path / "answers.jsonl", row)))


def test_a_data_file_is_a_config_to_a_verb_that_reads_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "answers.jsonl", ROWS[0])
    assert main(["sft", str(file)]) == 2
    assert "rung sft: " in capsys.readouterr().err
