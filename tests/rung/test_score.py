"""rung.score: rows in, the same rows with their step scores out."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForTokenClassification

from lm.checkpoint import save_model
from lm.errors import UserError
from lm.models import ModelConfig, build_causal_lm
from lm.tokenizer import train_tokenizer
from prm.loading import load as load_prm
from rung.cli import main
from rung.report_data import read_lines
from rung.score import ScoreConfig
from rung.score import main as score
from verifiers.solution import Problem, Solution
from verifiers.split import split_steps

LINES = ["3+4=7 eggs", "7-2=5 eggs", "#### 5"]


@pytest.fixture(scope="module")
def prm(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("prm")
    tokenizer = train_tokenizer(["How many eggs? " + "\n".join(LINES)], 280)
    sizes = ModelConfig(hidden_size=32, layers=1, heads=2, intermediate_size=48)
    sizes_2 = build_causal_lm(sizes, tokenizer).config
    sizes_2.num_labels = 2
    torch.manual_seed(0)
    save_model(folder, AutoModelForTokenClassification.from_config(sizes_2))
    tokenizer.save_pretrained(folder)
    return str(folder)


def write(path: Path, *rows: dict) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_text_and_steps_score_alike(prm: str, tmp_path: Path) -> None:
    question = "How many eggs?"
    file = write(
        tmp_path / "solutions.jsonl",
        {"id": "a", "question": question, "text": "\n".join(LINES), "mine": 7},
        {"question": question, "steps": LINES},
        {"question": question, "text": "   "},
    )
    score(ScoreConfig(file=file, out=tmp_path / "sub/out.jsonl", prm=prm, aggregate="product", threads=1))
    rows = read_lines(tmp_path / "sub/out.jsonl")
    assert (rows[0]["id"], rows[0]["mine"]) == ("a", 7)
    assert rows[0]["step_scores"] == pytest.approx(rows[1]["step_scores"], abs=1e-6)
    text = "\n".join(LINES)
    expected = load_prm(prm).score([Solution(Problem("a", question, ""), text, split_steps(text))])[0].probabilities
    assert rows[0]["step_scores"] == pytest.approx(expected.tolist(), abs=1e-5)
    assert rows[0]["score"] == pytest.approx(np.prod(expected), abs=1e-5)
    assert (rows[2]["step_scores"], rows[2]["score"]) == ([], 0.0)


def test_to_standard_output(prm: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "solutions.jsonl", {"question": "q", "steps": LINES})
    assert main(["score", f"file={file}", f"prm={prm}", "threads=1"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["score"] == min(row["step_scores"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "a"}, 'rows.jsonl:2: no "question" text; on_bad_row=skip'),
        ({"question": "q"}, 'rows.jsonl:2: neither a "text" nor a list of "steps"'),
        ({"question": "q", "steps": ["a", 1]}, 'rows.jsonl:2: "steps" must be texts, or spans of a "text"'),
        ({"question": "q", "text": "ab", "steps": [[0, 3]]}, r"rows.jsonl:2: step 0 is \[0, 3\], not"),
        ({"question": "q", "text": "\ud800"}, "rows.jsonl:2: the text holds half of a surrogate pair"),
    ],
)
def test_a_row_that_lacks_something(tmp_path: Path, row: dict, message: str) -> None:
    file = write(tmp_path / "rows.jsonl", {"question": "q", "text": "a"}, row)
    with pytest.raises(UserError, match=message):
        score(ScoreConfig(file=file))


def test_spans_are_steps_and_bad_rows_can_be_left_out(
    prm: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "3+4=7\nand 7-2=5"
    file = write(
        tmp_path / "rows.jsonl", {"question": "q", "text": text, "steps": [[0, 5], [6, 13]]}, {"question": "q"}
    )
    with file.open("a") as more:
        more.write("{not json\n\n" + json.dumps({"question": "q", "steps": ["3+4=7", "and 7-2"]}) + "\n")
    score(ScoreConfig(file=file, out=tmp_path / "out.jsonl", prm=prm, threads=1, on_bad_row="skip"))
    spans, steps = read_lines(tmp_path / "out.jsonl")
    assert len(spans["step_scores"]) == 2
    assert spans["step_scores"] == pytest.approx(steps["step_scores"], abs=1e-6)
    err = capsys.readouterr().err
    assert "2 malformed rows left out" in err
    assert "rows.jsonl:2: neither" in err
    assert "rows.jsonl:3: not JSON" in err
    with pytest.raises(UserError, match=r"no row that can be used; .*rows.jsonl:1: no \"question\""):
        score(ScoreConfig(file=write(file, {}), prm=prm, on_bad_row="skip"))


def test_what_has_no_score_says_why_and_ends_nothing(
    prm: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(
        tmp_path / "rows.jsonl",
        {"question": "q", "steps": ["a", " "]},
        {"question": "q", "text": "3+4=7\n" * 10_000},
        {"question": "q", "text": "3+4=7"},
    )
    score(ScoreConfig(file=file, out=tmp_path / "out.jsonl", prm=prm, threads=1))
    blank, long, fine = read_lines(tmp_path / "out.jsonl")
    assert (blank["score"], blank["step_scores"]) == (None, None)
    assert "step 2 is empty" in blank["unscorable"]
    assert "the model reads 512" in long["unscorable"]
    assert fine["score"] == min(fine["step_scores"])
    assert "2 of 3 solutions have no score; the first" in capsys.readouterr().err
    with pytest.raises(UserError, match="step 2 is empty"):
        score(ScoreConfig(file=file, prm=prm, unscorable="stop", threads=1))
