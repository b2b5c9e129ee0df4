"""Overlaps worked by hand, and in the published sets."""

import json
from pathlib import Path

import pytest

from rung.cli import main
from rung.contamination import Match, grams, overlaps, words
from rung.math_sets import load_set
from verifiers.data import load_examples
from verifiers.solution import Example, Problem

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def example(name: str, question: str, solution: str | None = None) -> Example:
    return Example(Problem(name, question, "1"), solution)


def test_words_and_grams() -> None:
    assert words("The $x$-axis, 1,000 \\frac{a}{b}!") == ["the", "x", "axis", "1", "000", "frac", "a", "b"]
    assert list(grams(["a", "b", "c"], 2)) == [("a", "b"), ("b", "c")]
    assert list(grams(["a"], 2)) == list(grams(["a"], 0)) == []


def test_overlaps_by_hand() -> None:
    train = [
        example("t0", "one two three four five six"),
        example("t1", "zero ONE, two three four!"),
        example("t2", "nothing in common", "yet seven eight nine ten stands here"),
    ]
    test = [
        Problem("whole", "One two three four five six", "1"),
        Problem("half", "one two three four nine ten eleven", "1"),
        Problem("short", "two three", "1"),
        Problem("clean", "one two three nine four five six", "1"),
        Problem("solved", "seven eight nine ten", "1"),
        Problem("empty", "?", "1"),
    ]
    # n = 4: "whole" has 3 of 3 (all in t0), "half" 1 of 4, "short" is 2 words of which both stand in t0
    assert overlaps(train, test, 4) == [
        Match("whole", "t0", 1.0, True),
        Match("short", "t0", 1.0, False),
        Match("half", "t0", 0.25, False),
    ]
    assert overlaps(train, test, 4, solutions=True)[2] == Match("solved", "t2", 1.0, False)
    assert overlaps(train, test, 8) == [Match("whole", "t0", 1.0, True), Match("short", "t0", 1.0, False)]


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, question in (("train", "How many legs have three cats and two birds in the end?"), ("test", "Else?")):
        rows = [{"id": f"{name}-a", "question": question, "answer": "16"}]
        rows += [
            {"id": f"{name}-b", "question": "How many legs have three cats and two birds in the  end", "answer": "1"}
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "found.json"
    paths = [str(tmp_path / "train.jsonl"), str(tmp_path / "test.jsonl")]
    assert main(["eval", "contamination", *paths, "n=5", f"out={out}"]) == 0
    told = capsys.readouterr().out
    assert "1 of 2 test problems (50.0 %) share 5 words in a row with one of\n2 training problems; 1 of them" in told
    assert json.loads(out.read_text())["matches"] == [
        {"test": "test-b", "train": "train-a", "share": 1.0, "whole": True}
    ]
    assert main(["eval", "contamination", paths[0], "some/where"]) == 2
    assert "'some/where' is no file and no benchmark; one of gsm8k" in capsys.readouterr().err


def test_gsm8ks_sets_share_little() -> None:
    if not (SHARED / "gsm8k").exists():
        pytest.skip("shared/data/gsm8k is not beside the repository")
    train = load_examples(SHARED / "gsm8k/train.jsonl.gz")
    test = load_set("gsm8k", str(SHARED / "gsm8k/test.jsonl.gz"))
    matches = overlaps(train, test, 13)
    assert not any(match.whole for match in matches)
    assert len(matches) < 0.02 * len(test)
    planted = [*train[:100], Example(test[7], None)]
    assert [match.test for match in overlaps(planted, test, 13) if match.whole] == [test[7].id]
