"""rung.rerank: candidates in the order of their scores."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForTokenClassification

import prm
from lm.checkpoint import save_model
from lm.errors import UserError
from lm.models import ModelConfig, build_causal_lm
from lm.tokenizer import train_tokenizer
from rung.cli import main
from rung.report_data import read_lines
from rung.rerank import RerankConfig, rerank
from rung.rerank import main as rerank_file
from verifiers.solution import Problem, Solution
from verifiers.split import split_steps

CANDIDATES = ["3+4=7\n#### 7", "3+4=8\n8-1=7\n#### 7", "#### 9", "3+3=6\n#### 6"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("prm")
    tokenizer = train_tokenizer(["How many eggs? " + "\n".join(CANDIDATES)], 280)
    sizes = ModelConfig(
        hidden_size=32, layers=1, heads=2, intermediate_size=48, max_positions=64, initializer_range=0.3
    )
    config = build_causal_lm(sizes, tokenizer).config
    config.num_labels = 2
    torch.manual_seed(0)
    save_model(folder, AutoModelForTokenClassification.from_config(config))
    tokenizer.save_pretrained(folder)
    return str(folder)


def solved(question: str = "How many eggs?") -> list[Solution]:
    return [Solution(Problem("p", question, ""), text, split_steps(text)) for text in CANDIDATES]


def test_as_a_call(model: str) -> None:
    scorer = prm.load(model)
    by_hand = [s.probabilities.mean() for s in scorer.score(solved())]
    ranked = rerank(scorer, solved(), "mean")
    assert [i for i, _ in ranked] == np.argsort(by_hand)[::-1].tolist()
    assert len(set(by_hand)) == 4


@pytest.mark.parametrize("shape", ["a row a question", "a row a candidate"])
def test_files(model: str, shape: str, tmp_path: Path) -> None:
    rows: list[dict] = [{"question": "How many eggs?", "mine": 1, "candidates": CANDIDATES}]
    if shape == "a row a candidate":
        rows = [{"question": "How many eggs?", "text": text} for text in CANDIDATES]
    file = tmp_path / "candidates.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out.jsonl"
    assert main(["rerank", str(file), f"prm={model}", f"out={out}", "top=3", "threads=1"]) == 0
    [row] = read_lines(out)
    assert ("mine" in row) == (shape == "a row a question")
    assert "candidates" not in row
    expected = rerank(prm.load(model), solved())
    assert [place["index"] for place in row["ranking"]] == [i for i, _ in expected][:3]
    assert [place["text"] for place in row["ranking"]] == [CANDIDATES[i] for i, _ in expected][:3]
    assert row["ranking"][0]["score"] == pytest.approx(expected[0][1].aggregate("min"), abs=1e-5)


def test_a_candidate_that_does_not_fit(model: str, tmp_path: Path) -> None:
    file = tmp_path / "candidates.jsonl"
    file.write_text(json.dumps({"id": "q1", "question": "How?", "candidates": ["1+1=2\n" * 60, "#### 9"]}) + "\n")
    config = RerankConfig(file=file, prm=model, out=tmp_path / "out.jsonl", unscorable="stop", threads=1)
    with pytest.raises(UserError, match=r"solution 'q1, candidate 0': step \d+ ends at token \d+, the model reads 64"):
        rerank_file(config)
    rerank_file(RerankConfig(file=file, prm=model, out=tmp_path / "out.jsonl", threads=1))
    [row] = read_lines(tmp_path / "out.jsonl")
    first, last = row["ranking"]
    assert (first["index"], last["index"], last["score"]) == (1, 0, None)
    assert "the model reads 64" in last["unscorable"]


def test_what_no_row_may_lack(tmp_path: Path) -> None:
    file = tmp_path / "c.jsonl"
    file.write_text('{"question": "q", "candidates": "no list"}\n')
    with pytest.raises(UserError, match=r'c\.jsonl:1: "candidates" must be a list of texts'):
        rerank_file(RerankConfig(file=file))
