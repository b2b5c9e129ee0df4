"""rung eval processbench and prmbench: the numbers recomputed by hand from the scores."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_ladder import read_json
from transformers import AutoModelForTokenClassification

import prm
from lm.checkpoint import save_model
from lm.models import ModelConfig, build_causal_lm
from lm.tokenizer import train_tokenizer
from prm.readers import read_step_labels
from rung.cli import main

STEPS = ["3+4=7", "7-2=5", "so 5 eggs", "2+2=5", "9 eggs"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("prm")
    tokenizer = train_tokenizer(["How many eggs? " + "\n".join(STEPS)], 280)
    sizes = ModelConfig(hidden_size=32, layers=1, heads=2, intermediate_size=48, initializer_range=0.5)
    config = build_causal_lm(sizes, tokenizer).config
    config.num_labels = 2
    torch.manual_seed(0)
    classifier = AutoModelForTokenClassification.from_config(config)
    torch.nn.init.normal_(classifier.score.weight, std=0.5)
    save_model(folder, classifier)
    tokenizer.save_pretrained(folder)
    return str(folder)


def write(path: Path, seed: int, kind: str = "") -> str:
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(30):
        steps = [STEPS[j] for j in rng.integers(0, len(STEPS), 4)]
        first = int(rng.integers(-1, 4))
        labels = [1] * 4 if first < 0 else [1] * first + [-1] + [None if not kind else 1] * (3 - first)
        row = {"id": f"{kind}{i}", "question": f"How many eggs {i % 10}?", "gold_answer": "5", "steps": steps}
        rows.append(row | {"labels": labels, "label_type": "human_first_error", "first_error": first})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_processbench_by_hand(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [write(tmp_path / "one.jsonl", 0), write(tmp_path / "two.jsonl", 1)]
    command = [
        "eval",
        "processbench",
        f"prm={model}",
        f"files=[{','.join(files)}]",
        f"folder={tmp_path}",
        "resamples=50",
    ]
    assert main([*command, "threads=1", "threshold=0.4"]) == 0
    summary = read_json(tmp_path / "summary.json")
    scores_f1 = []
    for name, file in zip(("one", "two"), files, strict=True):
        items, _ = read_step_labels(file, purpose="evaluate", separator="paragraph")
        scores = prm.load(model).score([item.solution for item in items])
        said = [next((i for i, p in enumerate(s.probabilities) if p < 0.4), -1) for s in scores]
        gold = [next((i for i, y in enumerate(item.labels) if y == 0), -1) for item in items]
        wrong = np.mean([a == b for a, b in zip(said, gold, strict=True) if b >= 0])
        right = np.mean([a == b for a, b in zip(said, gold, strict=True) if b < 0])
        report = summary["subsets"][name]
        assert (report["error_accuracy"], report["correct_accuracy"]) == pytest.approx((wrong, right))
        scores_f1.append(2 * wrong * right / (wrong + right) if wrong + right else 0.0)
        assert report["f1"]["mean"] == pytest.approx(scores_f1[-1])
        assert report["f1"]["low"] <= report["f1"]["mean"] <= report["f1"]["high"]
    assert summary["average_f1"]["mean"] == pytest.approx(np.mean(scores_f1))  # each subset counts alike
    assert "<svg" in (tmp_path / "reliability.html").read_text()
    assert "average" in capsys.readouterr().out


def test_prmbench_by_hand(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "bench.jsonl", 2, "prmbench-circular-")
    assert main(["eval", "prmbench", f"prm={model}", f"files=[{file}]", f"folder={tmp_path}", "threads=1"]) == 0
    summary = read_json(tmp_path / "summary.json")
    items, _ = read_step_labels(file, purpose="evaluate", separator="paragraph")
    scores = prm.load(model).score([item.solution for item in items])
    pairs = [
        (p > 0.5, y == 1)
        for s, x in zip(scores, items, strict=True)
        for p, y in zip(s.probabilities, x.labels, strict=True)
    ]
    tp, fp = pairs.count((True, True)), pairs.count((True, False))
    tn, fn = pairs.count((False, False)), pairs.count((False, True))
    expected = (tp / (tp + (fp + fn) / 2) + tn / (tn + (fp + fn) / 2)) / 2
    assert summary["kinds"]["all"]["prm_score"]["mean"] == pytest.approx(expected)
    assert summary["kinds"]["circular"] == summary["kinds"]["all"]
    assert "circular" in capsys.readouterr().out
