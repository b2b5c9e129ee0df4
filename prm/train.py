"""``rung prm``: train a process reward model on labelled steps, and say how good it is on held-out ones."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lm.checkpoint import write_json
from lm.config import key, part
from lm.errors import UserError
from lm.models import ModelConfig, build_causal_lm, default_device, load_token_scorer, load_tokenizer
from lm.optim import learning_rate, make_optimizer, optimizer_step
from lm.padding import by_length
from lm.run import Run
from lm.sft import FitConfig, batch_of
from lm.tokenizer import train_tokenizer
from lm.torch_setup import prepare_torch
from prm.forward import states_at
from prm.heads import split_classifier, step_logits
from prm.labelled_data import StepData, load_labelled
from prm.layout import Row, encode_steps
from prm.metrics import (
    auc,
    best_threshold,
    calibration_error,
    constant_baseline,
    first_error,
    first_error_f1,
    reliability,
)
from prm.scorer import Scorer, StepPRM
from prm.scores import LabeledSolution, StepScores

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class PRMConfig:
    """A step classifier on the trunk of a language model, read at the last token of each step."""

    folder: Path = key(Path("runs/prm"), "the run folder; the PRM is saved in FOLDER/model")
    data: StepData = part(StepData)
    model: ModelConfig = part(ModelConfig, path="runs/sft/model")
    prompt: str | None = key(None, "prompt with {question} in it; null uses the tokenizer's chat template")
    max_tokens: int = key(1024, "longer solutions are cut at the last step that fits", low=8)
    fit: FitConfig = part(FitConfig)
    seed: int = key(0, "of the new head and the order of the data")
    threads: int | None = key(None, "CPU threads; null leaves it to torch")
    resume: bool = key(False, "go on with the run in the folder")
    overwrite: bool = key(False, "delete the run in the folder first")


def train(config: PRMConfig) -> None:
    """Train, write ``folder/model`` and ``folder/summary.json``."""
    prepare_torch(config.seed, config.threads)
    train_items, held_out, tests = load_labelled(config.data, config.seed)
    model, tokenizer = _start(config, train_items)
    model.to(default_device())  # type: ignore[arg-type]
    rows = labelled_rows(tokenizer, train_items, config.prompt, config.max_tokens)
    if not rows:
        raise UserError(
            f"data.train {', '.join(config.data.train)}: no labelled step in the first {config.max_tokens} tokens "
            "of a solution; give other labels (such as train.monte_carlo.jsonl) or raise max_tokens"
        )
    run = Run.open(config.folder, config, verb="prm", resume=config.resume, overwrite=config.overwrite)
    fit_prm(run, model, rows, config.fit, config.seed)
    trunk, head = split_classifier(model)
    prm = StepPRM(trunk, head, tokenizer, prompt=config.prompt, tokens=config.fit.micro_tokens)

    threshold = choose_threshold(prm, held_out)
    reports = {name: assess(prm, items, threshold) for name, items in tests.items()}
    first = next(iter(reports.values()), {})
    summary = first | {"tests": reports} if len(reports) > 1 else first
    write_json(config.folder / "summary.json", summary)
    for name, report in reports.items():
        f1, base = report["first_error"], report["baseline"]
        print(
            f"{name}: step AUC {report['auc']:.3f} (constant {base['auc']:.3f}), calibration error "
            f"{report['calibration_error']:.3f}, first-error F1 {100 * f1['f1']:.1f} "
            f"(constant {100 * base['first_error']['f1']:.1f}, coin toss {100 * base['mixed_first_error']['f1']:.1f}) "
            f"on {report['solutions']} solutions"
        )
    run.finish(model=(model, tokenizer))


def _start(config: PRMConfig, items: Sequence[LabeledSolution]) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """The model at ``config.model.path`` with a two-class head, or a new one with a tokenizer of its own."""
    if config.model.path is not None:
        tokenizer = load_tokenizer(config.model.path)
        return load_token_scorer(config.model.path, 2, config.model.dtype, config.model.attention), tokenizer
    from transformers import AutoModelForTokenClassification

    texts = {item.solution.problem.question: item.solution.text for item in items}
    tokenizer = train_tokenizer((f"{q}\n{t}" for q, t in texts.items()), config.model.vocabulary)
    sizes = build_causal_lm(config.model, tokenizer).config
    sizes.num_labels = 2
    sizes.classifier_dropout = 0.0
    return AutoModelForTokenClassification.from_config(sizes, dtype=sizes.dtype), tokenizer


Labeled = tuple[Row, list[float]]  # token ids with the ends of the judged steps, and their labels


def labelled_rows(
    tokenizer: "PreTrainedTokenizerBase",
    items: Sequence[LabeledSolution],
    prompt: str | None,
    max_tokens: int = sys.maxsize,
) -> list[Labeled]:
    """What the model learns from: only the steps that somebody judged, cut where the solution grows too long."""
    encoded = encode_steps(tokenizer, [item.solution for item in items], prompt)
    rows = []
    for item, row in zip(items, encoded, strict=True):
        judged = [
            (end, label)
            for end, label in zip(row.ends, item.labels, strict=True)
            if label is not None and end < max_tokens
        ]
        if judged:
            ends, labels = [end for end, _ in judged], [label for _, label in judged]
            rows.append((Row(row.ids[: ends[-1] + 1], ends, row.start), labels))
    return rows


def fit_prm(run: Run, model: "PreTrainedModel", rows: Sequence[Labeled], config: FitConfig, seed: int) -> None:
    """Minimise the cross-entropy of the (soft) labels, averaged over the judged steps of a batch."""
    optimizer = make_optimizer(model, config.optim)
    run.track(model=model, optimizer=optimizer)
    trunk, head = split_classifier(model)
    model.train()
    for step in run.steps(config.steps, save_every=config.save_every, label="PRM", show=["loss"]):
        loss = prm_gradient(trunk, head, batch_of(rows, config.batch, seed, step), config.micro_tokens)
        rate = learning_rate(config.optim, step, config.steps)
        norm = optimizer_step(model, optimizer, config.optim, rate)
        run.log(step, loss=loss, learning_rate=rate, grad_norm=norm)


def prm_gradient(
    trunk: "PreTrainedModel", head: "torch.nn.Module", batch: Sequence[Labeled], micro_tokens: int
) -> float:
    """Accumulate the gradient of the mean cross-entropy over the judged steps of a batch; returns that mean."""
    judged = sum(len(labels) for _, labels in batch)
    loss = 0.0
    for indices in by_length([len(row.ids) for row, _ in batch], micro_tokens):
        part_loss = step_loss(trunk, head, [batch[i] for i in indices]) / judged
        part_loss.backward()
        loss += float(part_loss.detach())
    return loss


def step_loss(trunk: "PreTrainedModel", head: "torch.nn.Module", rows: Sequence[Labeled]) -> "torch.Tensor":
    """Sum of −y log p − (1 − y) log(1 − p) over the judged steps of some rows; p is the model's P(right)."""
    import torch

    states = states_at(trunk, [row for row, _ in rows], range(len(rows)))
    logits = step_logits(head(states), right=(1,))
    labels = torch.tensor([y for _, labels in rows for y in labels], device=logits.device)
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="sum")


def choose_threshold(prm: Scorer, items: Sequence[LabeledSolution]) -> float:
    """The probability below which a step is called wrong: the one with the best first-error F1 on validation rows."""
    scores = prm.score([item.solution for item in items])
    return best_threshold([s.probabilities for s in scores], [item.first_error() for item in items])


def assess(prm: Scorer, items: Sequence[LabeledSolution], threshold: float) -> dict:
    """Every number of a PRM on labelled solutions, beside what a constant guess earns on the same."""
    scores = prm.score([item.solution for item in items])
    probabilities, labels = judged_steps(scores, items)
    gold = [item.first_error() for item in items]
    predicted = [first_error(s.probabilities, threshold) for s in scores]
    return {
        "solutions": len(items),
        "steps": len(labels),
        "threshold": threshold,
        "auc": auc(probabilities, labels),
        "calibration_error": calibration_error(probabilities, labels),
        "first_error": asdict(first_error_f1(predicted, gold)),
        "baseline": asdict(constant_baseline(labels, gold)),
        "reliability": [asdict(row) for row in reliability(probabilities, labels)],
    }


def judged_steps(scores: Sequence[StepScores], items: Sequence[LabeledSolution]) -> tuple[np.ndarray, np.ndarray]:
    """(probabilities, labels) of all judged steps, both (N,)."""
    pairs = [
        (p, y)
        for s, item in zip(scores, items, strict=True)
        for p, y in zip(s.probabilities, item.labels, strict=True)
        if y is not None
    ]
    return np.array([p for p, _ in pairs]), np.array([y for _, y in pairs])
