"""rung eval processbench and prmbench: the numbers recomputed by hand from the scores."""

import json
import shutil
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
from prm.metrics import first_error, first_error_f1
from prm.readers import read_step_labels
from prm.scores import LabeledSolution
from rung.cli import main
from rung.evaluate_steps import by_length
from verifiers.solution import Problem, Solution
from verifiers.split import join_steps

STEPS = ["3+4=7", "7-2=5", "so 5 eggs", "2+2=5", "9 eggs"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("prm")
    tokenizer = train_tokenizer(["How many eggs? " + "\n".join(STEPS)], 280)
    sizes = ModelConfig(
        hidden_size=32, layers=1, heads=2, intermediate_size=48, initializer_range=0.5, max_positions=128
    )
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
    assert summary["subsets"]["one"]["coin_toss"]["calibration_error"] == 0.5
    assert summary["subsets"]["one"]["constant"]["auc"] == 0.5
    out = capsys.readouterr().out
    assert out.count("coin toss") == out.count("by length") == 3  # below each subset and the average
    assert "threshold 0.400, as given" in out


def test_the_threshold_is_the_model_s_or_tuned_on_a_subset_that_then_does_not_count(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").mkdir()
    files = [write(tmp_path / "one.jsonl", 0), write(tmp_path / "two.jsonl", 1), write(tmp_path / "other/two.jsonl", 3)]
    own = tmp_path / "own"
    shutil.copytree(model, own)
    settings = read_json(own / "config.json")
    (own / "config.json").write_text(json.dumps(settings | {"rung_prm": {"threshold": 0.45}}))

    def evaluated(name: str, *changes: str) -> dict:
        words = [f"files=[{','.join(files)}]", f"folder={tmp_path / name}", "resamples=10", "threads=1", *changes]
        assert main(["eval", "processbench", *words]) == 0
        return read_json(tmp_path / name / "summary.json")

    check = ["reading.also=[symbolic]", f"prm={own}"]
    kept = {
        "none": (evaluated("a", f"prm={model}"), 0.5),
        "its own": (evaluated("b", f"prm={own}"), 0.45),
        "the least of it and the check": (evaluated("c", *check, "reading.combine=min"), 0.45),
        "a mean is on another scale": (evaluated("d", *check), 0.5),
        "the user's": (evaluated("e", f"prm={own}", "threshold=0.4"), 0.4),
    }
    assert {name: summary["threshold"] for name, (summary, _) in kept.items()} == {n: t for n, (_, t) in kept.items()}
    assert kept["its own"][0]["averaged"] == ["one", *files[1:]]  # two files of one name are two subsets

    capsys.readouterr()
    tuned = evaluated("f", f"prm={own}", "threshold=tune:one")
    items, _ = read_step_labels(files[0], purpose="evaluate", separator="paragraph")
    scores = [s.probabilities for s in prm.load(model).score([item.solution for item in items])]
    gold = [item.first_error() for item in items]

    def f1(threshold: float) -> float:
        return first_error_f1([first_error(s, threshold) for s in scores], gold).f1

    assert tuned["subsets"]["one"]["f1"]["mean"] == f1(tuned["threshold"])
    assert f1(tuned["threshold"]) == pytest.approx(max(f1(t) for t in np.linspace(0, 1, 2001)))
    others = [tuned["subsets"][name]["f1"]["mean"] for name in files[1:]]
    assert tuned["average_f1"]["mean"] == pytest.approx(np.mean(others))
    assert "tuned on one" in capsys.readouterr().out


@pytest.mark.parametrize("threshold", ["tune:three", "best", "tune:one"])
def test_a_threshold_that_cannot_be_tuned_is_one_line(
    threshold: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "one.jsonl", 0)
    assert main(["eval", "processbench", f"prm={model}", f"files=[{file}]", f"threshold={threshold}"]) == 2
    said = capsys.readouterr().err
    assert f"threshold={threshold}" in said
    assert said.count("\n") == 1


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
    blind = summary["kinds"]["all"]["constant"]  # every step called right
    assert blind["f1"] == pytest.approx(2 * (tp + fn) / (2 * (tp + fn) + fp + tn))
    assert (blind["negative_f1"], blind["prm_score"]) == (0.0, pytest.approx(blind["f1"] / 2))
    assert summary["kinds"]["all"]["calibration_error"] == pytest.approx(summary["calibration_error"])
    out = capsys.readouterr().out
    assert "circular" in out
    assert out.count("coin toss") == 2


def lengthen(path: str, every: int) -> None:
    """Make the first step of each ``every``-th row longer than the model reads."""
    rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
    for row in rows[::every]:
        row["steps"] = ["3+4=7 " * 100, *row["steps"][1:]]
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_what_the_model_cannot_read_ends_no_evaluation(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "one.jsonl", 0)
    command = ["eval", "processbench", f"prm={model}", f"files=[{file}]", "resamples=10", "threads=1", "threshold=0.4"]
    items, _ = read_step_labels(file, purpose="evaluate", separator="paragraph")
    scores = [s.probabilities for s in prm.load(model).score([item.solution for item in items])]
    said = [next((i for i, p in enumerate(s) if p < 0.4), -1) for s in scores]
    gold = [item.first_error() for item in items]
    lengthen(file, 3)
    assert main([*command, f"folder={tmp_path / 'cut'}"]) == 0
    report = read_json(tmp_path / "cut/summary.json")["subsets"]["one"]
    assert report["unscored"] == 10
    right = [a == b and i % 3 > 0 for i, (a, b) in enumerate(zip(said, gold, strict=True)) if b < 0]
    wrong = [a == b and i % 3 > 0 for i, (a, b) in enumerate(zip(said, gold, strict=True)) if b >= 0]
    assert (report["correct_accuracy"], report["error_accuracy"]) == pytest.approx((np.mean(right), np.mean(wrong)))
    assert "10 of 30 solutions have no score; the first: solution '0': step 1 ends at" in capsys.readouterr().err

    bench = write(tmp_path / "bench.jsonl", 2, "prmbench-circular-")
    lengthen(bench, 2)
    command = ["eval", "prmbench", f"prm={model}", f"files=[{bench}]", f"folder={tmp_path / 'bench'}", "threads=1"]
    assert main([*command, "resamples=10"]) == 0
    report = read_json(tmp_path / "bench/summary.json")["kinds"]["all"]
    assert (report["solutions"], report["unscored"]) == (30, 15)
    lengthen(bench, 1)
    assert main(command) != 0
    assert "nothing here can be scored" in capsys.readouterr().err


def test_a_kind_without_errors_has_no_prm_score(tmp_path: Path) -> None:
    row = {"question": "q", "gold_answer": "5", "steps": STEPS[:2], "labels": [1, 1], "first_error": -1}
    row |= {"label_type": "synthetic_error"}
    rows = [row | {"id": f"prmbench-multi_solutions-{i}"} for i in range(3)]
    file = tmp_path / "bench.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["eval", "prmbench", "prm=symbolic", f"files=[{file}]", f"folder={tmp_path}"]) == 0
    report = read_json(tmp_path / "summary.json")["kinds"]["multi_solutions"]
    assert (report["f1"], report["negative_f1"], report["prm_score"]["mean"]) == (1.0, None, None)
    assert report["constant"]["auc"] is None  # one class


def test_a_guess_by_length_by_hand() -> None:
    """Cut at five characters, the error of the first solution is named, the second left alone and the third's short
    error missed. Of the six pairs of a right and a wrong step, four and a half are in the order of their lengths."""
    problem = Problem("p", "q", "")
    rows = [((2, 5), (1.0, 0.0)), ((3, 4), (1.0, 1.0)), ((3,), (0.0,))]
    items = []
    for lengths, labels in rows:
        text, steps = join_steps(["x" * length for length in lengths], "paragraph")
        items.append(LabeledSolution(Solution(problem, text, steps), labels, ("h",) * len(labels)))
    found = by_length(items)
    assert (found["error_accuracy"], found["correct_accuracy"]) == (0.5, 1.0)
    assert found["f1"] == pytest.approx(2 / 3)
    assert found["auc"] == pytest.approx((3 + 1 + 0.5) / 6)  # 5 is above 2, 3 and 4; 3 above 2, level with 3
