"""prm.train: the loss by hand, learning something learnable, and reports that survive labels of one class."""

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_models import SIZES, save, solution, toy_classifier, toy_policy, toy_tokenizer
from transformers import AutoModelForTokenClassification, PreTrainedTokenizerBase

from lm.errors import UserError
from lm.lora import LoRAConfig
from lm.optim import OptimConfig
from lm.run import read_metrics
from lm.sft import FitConfig
from prm.fit import Example, balanced, examples_of, step_loss, trainable_logits
from prm.formats import FORMATS, RUNG
from prm.forward import packed_states_at, states_at
from prm.heads import split_classifier
from prm.labelled_data import StepData
from prm.layout import Row
from prm.loading import load as load_prm
from prm.metrics import first_error, first_error_f1
from prm.scorer import StepPRM
from prm.scores import LabeledSolution, judged_steps, read_labeled, write_labeled
from prm.train import PRMConfig, assess, calibrated, scorer_of, train
from verifiers.solution import Problem


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return toy_tokenizer()


def learnable(count: int, seed: int, right: float | None = None) -> list[LabeledSolution]:
    """Steps "a = a" are right and "a = b" wrong; ``right`` gives them all one label instead."""
    rng = random.Random(seed)
    items = []
    for i in range(count):
        lines, labels = [], []
        for _ in range(3):
            good = rng.random() < 0.6
            a = rng.randint(0, 9)
            lines.append(f"{a}={a if good else (a + rng.randint(1, 9)) % 10}")
            labels.append(float(good) if right is None else right)
        s = solution("\n".join(lines), Problem(f"{seed}/{i}", f"question {seed} {i}", "1"))
        items.append(LabeledSolution(s, tuple(labels), ("x",) * 3))
    return items


def config(
    folder: Path, train_items: list[LabeledSolution], test_items: list[LabeledSolution], **fit: Any
) -> PRMConfig:
    folder.mkdir(parents=True, exist_ok=True)
    write_labeled(folder / "a.jsonl", train_items)
    write_labeled(folder / "held.jsonl", test_items)
    files = {"train": (str(folder / "a.jsonl"),), "test": (str(folder / "held.jsonl"),)}
    data = StepData(**files, validation_fraction=0.2, after_error="keep")
    settings = {"steps": 240, "batch": 24, "save_every": 50, "optim": OptimConfig(lr=3e-3, warmup=5)} | fit
    return PRMConfig(folder=folder / "prm", data=data, model=SIZES, fit=FitConfig(**settings), max_tokens=64, threads=1)


def test_it_learns_and_says_how_well(tmp_path: Path) -> None:
    asked = config(tmp_path, learnable(300, 0), learnable(60, 1))
    train(asked)
    losses = [row["loss"] for row in read_metrics(asked.folder)]
    assert np.mean(losses[:5]) > 0.6
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])

    summary = json.loads((asked.folder / "summary.json").read_text())
    items = read_labeled(asked.data.test[0])
    prm = load_prm(str(asked.folder / "model"))
    held = read_labeled(asked.folder / "validation.jsonl")
    assert len(held) == 60  # a fifth of the problems
    prm.temperature = 1.0  # type: ignore[attr-defined]
    assert calibrated(prm, held) == pytest.approx((summary["temperature"], summary["threshold"]), abs=1e-3)  # type: ignore[arg-type]
    prm = load_prm(str(asked.folder / "model"))
    scores = [s.probabilities for s in prm.score([item.solution for item in items])]
    flat = [(p, y) for s, item in zip(scores, items, strict=True) for p, y in zip(s, item.labels, strict=True)]
    pairs = [(p > q) + 0.5 * (p == q) for p, y in flat if y == 1 for q, z in flat if z == 0]
    assert 0.9 < summary["auc"] == pytest.approx(np.mean(pairs))
    assert summary["brier"] == pytest.approx(np.mean([(p - y) ** 2 for p, y in flat]))
    assert summary["step_accuracy"] == np.mean([(p >= 0.5) == (y == 1) for p, y in flat])
    guesses = [next((i for i, p in enumerate(s) if p < summary["threshold"]), -1) for s in scores]
    gold = [next((i for i, y in enumerate(item.labels) if y == 0), -1) for item in items]
    wrong = [g == t for g, t in zip(guesses, gold, strict=True) if t >= 0]
    fine = [g == t for g, t in zip(guesses, gold, strict=True) if t < 0]
    a, b = np.mean(wrong), np.mean(fine)
    assert summary["first_error"]["f1"] == pytest.approx(2 * a * b / (a + b))
    assert (summary["solutions"], summary["steps"]) == (60, 180)
    assert summary["baseline"]["first_error"]["f1"] == 0.0
    assert 0 <= summary["calibration_error"] < 0.2


def test_starting_from_a_language_model(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    name = save(toy_policy(tokenizer), tokenizer, tmp_path / "policy")
    asked = config(tmp_path, learnable(40, 0), learnable(10, 1), steps=3)
    asked = replace(asked, model=replace(SIZES, path=name, dtype="bfloat16"))
    train(asked)
    saved = AutoModelForTokenClassification.from_pretrained(asked.folder / "model")
    assert (saved.config.num_labels, saved.dtype) == (2, torch.bfloat16)
    with pytest.raises(UserError, match="holds a run"):
        train(asked)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_labels_of_one_class_are_reported_as_they_are(tmp_path: Path, value: float) -> None:
    """All-wrong Monte Carlo labels of a policy that never solves anything: no AUC, no F1, no crash."""
    train(asked := config(tmp_path, learnable(40, 0, value), learnable(10, 1, value), steps=3))
    text = (asked.folder / "summary.json").read_text()
    summary = json.loads(text)
    assert "NaN" not in text
    assert summary["auc"] is None
    assert summary["first_error"]["f1"] is None
    assert summary["threshold"] == 0.5
    assert summary["calibration_error"] is not None


def test_two_test_files_are_reported_by_name(tmp_path: Path) -> None:
    asked = config(tmp_path, learnable(40, 0), learnable(10, 1), steps=2)
    write_labeled(tmp_path / "other.jsonl", learnable(7, 2))
    asked = replace(asked, data=replace(asked.data, test=(*asked.data.test, str(tmp_path / "other.jsonl"))))
    train(asked)
    summary = json.loads((asked.folder / "summary.json").read_text())
    assert {name: report["solutions"] for name, report in summary["tests"].items()} == {"held": 10, "other": 7}
    assert summary["auc"] == summary["tests"]["held"]["auc"]


def test_a_solution_that_is_longer_than_the_model_reads_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "\n".join(["12-3"] * 2000)
    problem = learnable(1, 3)[0].solution.problem
    long = LabeledSolution(solution(text, problem), (1.0,) * 2000, ("human",) * 2000)
    asked = config(tmp_path, learnable(40, 0), [*learnable(10, 1), long], steps=2)
    train(asked)
    assert json.loads((asked.folder / "summary.json").read_text())["solutions"] == 10
    assert "held: 1 of 11 solutions left out; the first: solution" in capsys.readouterr().err


def test_nothing_labelled_is_one_line(tmp_path: Path) -> None:
    blank = [LabeledSolution(item.solution, (None,) * 3, (None,) * 3) for item in learnable(30, 0)]
    with pytest.raises(UserError, match=r"a\.jsonl: no labelled solution left \(30 no label left\)"):
        train(config(tmp_path, blank, blank, steps=2))
    asked = config(tmp_path, learnable(30, 0), learnable(5, 1), steps=2)
    with pytest.raises(UserError, match=r"a\.jsonl: no labelled step in the first 8 tokens"):
        train(replace(asked, max_tokens=8))


def test_the_loss_by_hand(tokenizer: PreTrainedTokenizerBase) -> None:
    model = toy_classifier(tokenizer)
    with torch.no_grad():
        model.score.weight.zero_()
        model.score.bias.copy_(torch.tensor([0.0, math.log(3.0)]))  # P(right) = 3/4 everywhere
        rows = [Example(Row([5, 6, 7], [1, 2], 1), [1.0, 0.25], [1.0, 1.0]), Example(Row([5, 6], [1], 1), [0.0], [2.0])]
        loss = float(step_loss(trainable_logits(model, FORMATS[RUNG], tokenizer), rows))
    good, bad = -math.log(0.75), -math.log(0.25)
    assert loss == pytest.approx(good + (0.25 * good + 0.75 * bad) + 2 * bad, rel=1e-5)


def test_the_gradient_is_that_of_the_logistic_loss(tokenizer: PreTrainedTokenizerBase) -> None:
    """d loss / d bias = (Σ(y − p), Σ(p − y)) over the judged steps."""
    model = toy_classifier(tokenizer, seed=3)
    rows = [Example(Row([5, 6, 7, 8], [1, 3], 1), [1.0, 0.5], [1.0, 1.0]), Example(Row([9, 6], [1], 1), [0.0], [1.0])]
    step_loss(trainable_logits(model, FORMATS[RUNG], tokenizer), rows).backward()
    probabilities = []
    for row, *_ in rows:
        with torch.no_grad():
            logits = model(torch.tensor([row.ids])).logits[0, row.ends].double()
        probabilities += logits.softmax(-1)[:, 1].tolist()
    expected = sum(p - y for p, y in zip(probabilities, [1.0, 0.5, 0.0], strict=True))
    assert model.score.bias.grad.tolist() == pytest.approx([-expected, expected], abs=1e-5)


@pytest.mark.parametrize("head", ["classes", "verdicts"])
def test_packed_solutions_do_not_see_each_other(head: str, tokenizer: PreTrainedTokenizerBase) -> None:
    model = toy_classifier(tokenizer) if head == "classes" else toy_policy(tokenizer)
    form = FORMATS[RUNG if head == "classes" else "rung-verdicts"]
    rng = random.Random(0)
    examples = []
    for length in (9, 3, 14, 1):
        ids = [rng.randrange(5, 250) for _ in range(length)]
        ends = sorted({length // 2, length - 1})
        examples.append(Example(Row(ids, ends, 0), [rng.random() for _ in ends], [1.0] * len(ends)))
    found = []
    for packed in (False, True):
        logits_of = trainable_logits(model, form, tokenizer, states_of=packed_states_at if packed else states_at)
        model.zero_grad()
        loss = step_loss(logits_of, examples)
        loss.backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        found.append((logits_of([e.row for e in examples]).detach(), loss.detach(), gradients))
    torch.testing.assert_close(found[1], found[0], atol=1e-5, rtol=1e-5)


def test_packing_by_config_gives_the_same_losses(tmp_path: Path) -> None:
    losses = []
    for name, packing in (("padded", False), ("packed", True)):
        asked = config(tmp_path / name, learnable(30, 0), learnable(10, 1), steps=4)
        train(replace(asked, packing=packing))
        losses.append([row["loss"] for row in read_metrics(asked.folder)])
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)


def test_paths_as_trees_give_the_same_losses(tmp_path: Path) -> None:
    """The beginnings of ten solutions, each rated at its end; a batch is all that is learnt from, so ten trees."""
    paths, losses = [], []
    for item in learnable(11, 0):
        lines = item.solution.text.split("\n")
        for k in (1, 2, 3):
            labels = (*[None] * (k - 1), item.labels[k - 1])
            part = solution("\n".join(lines[:k]), item.solution.problem)
            paths.append(LabeledSolution(part, labels, tuple(None if y is None else "x" for y in labels)))
    for name, tokens, batch in (("each", 0, 30), ("trees", 64, 10)):
        asked = config(tmp_path / name, paths, learnable(5, 1), steps=4, batch=batch)
        train(replace(asked, tree_tokens=tokens, data=replace(asked.data, validation_fraction=0.05)))
        losses.append([row["loss"] for row in read_metrics(asked.folder)])
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)


@pytest.mark.parametrize("change", [{"packing": True}, {"head": "implicit"}])
def test_what_cannot_be_a_tree_is_one_line(change: dict, tmp_path: Path) -> None:
    asked = config(tmp_path, learnable(5, 0), learnable(5, 1))
    with pytest.raises(UserError, match="tree_tokens needs attention sdpa or eager"):
        train(replace(asked, tree_tokens=100, **change))


def test_unlabelled_steps_count_nowhere(tokenizer: PreTrainedTokenizerBase) -> None:
    prm = StepPRM(*split_classifier(toy_classifier(tokenizer)), tokenizer)
    items = learnable(10, 0)
    mixed = [LabeledSolution(x.solution, (x.labels[0], None, x.labels[2]), ("x", None, "x")) for x in items]
    scores = prm.score([item.solution for item in items])
    probabilities, labels = judged_steps(scores, mixed)
    assert labels.tolist() == [y for item in items for y in (item.labels[0], item.labels[2])]
    assert probabilities.tolist() == [p for s in scores for p in (s.probabilities[0], s.probabilities[2])]
    assert assess(prm, mixed, 0.5)["steps"] == 20


def test_the_threshold_is_the_best_on_the_rows_it_is_chosen_on(tokenizer: PreTrainedTokenizerBase) -> None:
    prm = StepPRM(*split_classifier(toy_classifier(tokenizer, 1)), tokenizer)
    items = learnable(30, 4)
    scores = [s.probabilities for s in prm.score([item.solution for item in items])]
    gold = [item.first_error() for item in items]

    def f1(threshold: float) -> float:
        return first_error_f1([first_error(s, threshold) for s in scores], gold).f1

    assert f1(calibrated(prm, items, warm=False)[1]) >= max(f1(t) for t in np.linspace(0, 1, 1001))


# --- heads, weights and what is saved ---------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["value", "verdicts", "outcome", "implicit"])
def test_every_head_learns_and_loads_as_it_was_trained(
    head: str, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    start = save(toy_policy(tokenizer), tokenizer, tmp_path / "policy")
    asked = config(tmp_path, learnable(60, 0), learnable(12, 1), steps=25)
    asked = replace(asked, head=head, model=replace(SIZES, path=start), beta=0.5, eval_every=10)  # type: ignore[arg-type]
    train(asked)
    rows = read_metrics(asked.folder)
    assert np.mean([r["loss"] for r in rows[-5:]]) < np.mean([r["loss"] for r in rows[:5]])
    assert ["val_auc" in row for row in rows] == [(i + 1) % 10 == 0 for i in range(25)]
    assert rows[9]["val_f1_low"] <= rows[9]["val_f1"] <= rows[9]["val_f1_high"]
    summary = json.loads((asked.folder / "summary.json").read_text())
    items = read_labeled(asked.data.test[0])
    prm = load_prm(str(asked.folder / "model"))
    found = assess(prm, items, summary["threshold"])
    assert found["auc"] == pytest.approx(summary["auc"], abs=1e-6)
    assert found["calibration_error"] == pytest.approx(summary["calibration_error"], abs=1e-4)


@pytest.mark.parametrize("head", ["classes", "implicit"])
def test_an_adapter_learns_and_its_merged_export_scores_the_same(
    head: str, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    start = save(toy_policy(tokenizer), tokenizer, tmp_path / "policy")
    asked = config(tmp_path, learnable(60, 0), learnable(12, 1), steps=25, optim=OptimConfig(lr=1e-2, warmup=5))
    asked = replace(asked, head=head, model=replace(SIZES, path=start), lora=LoRAConfig(rank=4), beta=0.5)  # type: ignore[arg-type]
    train(asked)
    rows = read_metrics(asked.folder)
    assert np.mean([r["loss"] for r in rows[-5:]]) < np.mean([r["loss"] for r in rows[:5]])
    summary = json.loads((asked.folder / "summary.json").read_text())
    prm = load_prm(str(asked.folder / "model"))
    found = assess(prm, read_labeled(asked.data.test[0]), summary["threshold"])
    assert found["auc"] == pytest.approx(summary["auc"], abs=1e-6)
    assert found["calibration_error"] == pytest.approx(summary["calibration_error"], abs=1e-4)


def test_the_same_numbers_with_gradient_checkpointing(tmp_path: Path) -> None:
    losses = []
    for name, on in (("plain", False), ("checkpointed", True)):
        asked = config(tmp_path / name, learnable(30, 0), learnable(10, 1), steps=4)
        train(replace(asked, gradient_checkpointing=on))
        losses.append([row["loss"] for row in read_metrics(asked.folder)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_what_is_learnt_from() -> None:
    [item] = learnable(1, 0)
    row = Row(list(range(12)), [3, 6, 9], 1)

    def only(labels: tuple, origins: tuple = ("x", "x", "y"), **options: Any) -> list[Example]:
        return examples_of([row], [LabeledSolution(item.solution, labels, origins)], max_tokens=20, **options)

    assert only((1.0, None, 0.25)) == [Example(Row(list(range(10)), [3, 9], 1), [1.0, 0.25], [1.0, 1.0])]
    assert only((1.0, 0.5, 0.25), harden=0.0)[0].targets == [1.0, 1.0, 1.0]
    assert only((1.0, 0.5, 0.25), harden=0.5)[0].targets == [1.0, 0.0, 0.0]
    assert only((1.0, 0.5, 0.25), origin_weights={"y": 0.0}) == [
        Example(Row(list(range(7)), [3, 6], 1), [1.0, 0.5], [1.0, 1.0])
    ]
    assert only((1.0, 0.5, 0.25), origin_weights={"y": 3.0})[0].weights == [1.0, 1.0, 3.0]
    assert only((1.0, 1.0, 0.75), outcome=True) == [Example(Row(list(range(10)), [9], 1), [0.75], [1.0])]
    assert only((1.0, 0.0, None), outcome=True) == [Example(Row(list(range(7)), [6], 1), [0.0], [1.0])]
    assert only((1.0, 1.0, None), outcome=True) == []  # nobody said how it ended
    assert only((None, None, None)) == []


def test_balanced_classes_weigh_the_same() -> None:
    row = Row([1, 2, 3], [0, 1, 2], 0)
    examples = [Example(row, [1.0, 1.0, 0.25], [1.0, 2.0, 1.0]), Example(row, [1.0, 1.0, 1.0], [1.0, 1.0, 1.0])]
    flat = [(w, y) for e in balanced(examples) for w, y in zip(e.weights, e.targets, strict=True)]
    right, wrong = sum(w * y for w, y in flat), sum(w * (1 - y) for w, y in flat)
    assert right == pytest.approx(wrong)
    assert right + wrong == pytest.approx(7.0)
    assert balanced(examples[1:]) == examples[1:]  # one class only: nothing to balance


def test_calibration_is_saved_with_the_model(tmp_path: Path) -> None:
    asked = config(tmp_path, learnable(300, 0), learnable(60, 1), steps=120)
    train(asked)
    summary = json.loads((asked.folder / "summary.json").read_text())
    assert summary["temperature"] != 1.0
    saved = json.loads((asked.folder / "model/config.json").read_text())["rung_prm"]
    kept = {name: summary[name] for name in ("temperature", "threshold")}
    assert saved == {"format": "rung", "prompt": None} | kept
    model = AutoModelForTokenClassification.from_pretrained(asked.folder / "model")
    tokenizer = load_prm(str(asked.folder / "model")).tokenizer  # type: ignore[attr-defined]
    items = read_labeled(asked.data.test[0])
    plain = scorer_of(model, tokenizer, FORMATS[RUNG]).score([item.solution for item in items])
    warm = load_prm(str(asked.folder / "model")).score([item.solution for item in items])
    for a, b in zip(plain, warm, strict=True):
        odds = np.log(a.probabilities / (1 - a.probabilities)) / summary["temperature"]
        np.testing.assert_allclose(b.probabilities, 1 / (1 + np.exp(-odds)), atol=1e-4)
