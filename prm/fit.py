"""Fitting a reward model to labelled steps: what is learnt from, the loss, and the loop."""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lm import processes
from lm.models import output_layer
from lm.optim import learning_rate, make_optimizer, optimizer_step
from lm.run import Run
from lm.sft import FitConfig, batch_of
from prm.formats import Format
from prm.forward import states_at
from prm.heads import split_classifier, step_logits
from prm.implicit import cumulative_rewards
from prm.layout import Row, token_id
from prm.scores import LabeledSolution

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LogitsOf = Callable[[Sequence[Row]], "torch.Tensor"]
StatesOf = Callable[[Any, Sequence[Row], Sequence[int]], "torch.Tensor"]  # of a trunk, rows and some of their indices


class Example(NamedTuple):
    """Token ids with the ends of the judged steps, the steps' targets in [0, 1], and how much each counts."""

    row: Row
    targets: list[float]
    weights: list[float]


def examples_of(
    rows: Sequence[Row],
    items: Sequence[LabeledSolution],
    *,
    max_tokens: int = sys.maxsize,
    outcome: bool = False,
    harden: float | None = None,
    origin_weights: Mapping[str, float] | None = None,
    balance: bool = False,
) -> list[Example]:
    """What the model learns from: only steps that somebody judged, cut at the last such step within ``max_tokens``.

    ``outcome`` keeps of each solution only its last step, if that was judged, or else the first wrong one. ``harden``
    makes labels above it 1 and the others 0. ``origin_weights`` says how much labels of an origin count (1 by
    default, 0 leaves them out). ``balance`` gives right and wrong the same total weight.
    """
    found = []
    for row, item in zip(rows, items, strict=True):
        judged = [
            (
                end,
                float(label) if harden is None else float(label > harden),
                (origin_weights or {}).get(origin or "", 1.0),
            )
            for end, label, origin in zip(row.ends, item.labels, item.origins, strict=True)
            if label is not None and end < max_tokens
        ]
        judged = [step for step in judged if step[2] > 0]
        if outcome:
            wrong = [step for step in judged if step[1] < 0.5][:1]
            judged = judged[-1:] if judged and judged[-1][0] == row.ends[-1] else wrong
        if judged:
            ends, targets, weights = (list(column) for column in zip(*judged, strict=True))
            found.append(Example(Row(row.ids[: ends[-1] + 1], ends, row.start), targets, weights))
    return balanced(found) if balance else found


def balanced(examples: Sequence[Example]) -> list[Example]:
    """Weights by class so that Σ w y = Σ w (1 − y), their total unchanged; as it was where one class is missing.

    −c₁ w y log p − c₀ w (1 − y) log(1 − p) is the loss of the target a / (a + b) with weight a + b, a = c₁ w y and
    b = c₀ w (1 − y).
    """
    right = sum(w * y for e in examples for w, y in zip(e.weights, e.targets, strict=True))
    total = sum(w for e in examples for w in e.weights)
    if not 0 < right < total:
        return list(examples)
    up, down = total / (2 * right), total / (2 * (total - right))
    out = []
    for e in examples:
        parts = [(up * w * y, down * w * (1 - y)) for w, y in zip(e.weights, e.targets, strict=True)]
        out.append(Example(e.row, [a / (a + b) for a, b in parts], [a + b for a, b in parts]))
    return out


def trainable_logits(
    model: "PreTrainedModel",
    form: Format,
    tokenizer: "PreTrainedTokenizerBase",
    reference: "PreTrainedModel | None" = None,
    states_of: StatesOf = states_at,
) -> LogitsOf:
    """Rows to the logits (N,) at their ends, row after row, with a gradient; read as ``prm.load`` will read them.

    ``states_of`` runs them, where there is no reference: padded, packed or as trees.
    """
    import torch

    if reference is not None:
        return lambda rows: torch.cat(cumulative_rewards(model, reference, rows, form.beta)).float()
    if form.head == "verdicts":
        output = output_layer(model)
        right, wrong = (token_id(tokenizer, text) for text in form.verdicts)

        def of_verdicts(rows: Sequence[Row]) -> torch.Tensor:
            states = states_of(model.base_model, rows, range(len(rows)))
            return step_logits(torch.nn.functional.linear(states, output.weight[[wrong, right]]), (1,))

        return of_verdicts
    return classifier_logits(*split_classifier(model), form.right, states_of)


def classifier_logits(
    trunk: "PreTrainedModel",
    head: "torch.nn.Module",
    right: Sequence[int] = (1,),
    states_of: StatesOf = states_at,
) -> LogitsOf:
    """``trainable_logits`` of a trunk and the head on it, such as a ``StepPRM`` has them."""
    return lambda rows: step_logits(head(states_of(trunk, rows, range(len(rows)))), right)


def prm_gradient(logits_of: LogitsOf, batch: Sequence[Example], micro_tokens: int) -> float:
    """Accumulate the gradient of the weighted mean cross-entropy over the steps of a batch; returns that mean."""
    total = math.fsum(w for e in batch for w in e.weights)
    loss = 0.0
    for indices, weight in processes.my_micro_batches([len(e.row.ids) for e in batch], micro_tokens):
        part_loss = weight * step_loss(logits_of, [batch[i] for i in indices]) / total
        part_loss.backward()
        loss += float(part_loss.detach())
    return processes.sum_metrics({"loss": loss})["loss"]


def step_loss(logits_of: LogitsOf, examples: Sequence[Example]) -> "torch.Tensor":
    """Σ w (−y log p − (1 − y) log(1 − p)) over the steps of some examples; p is the model's P(right)."""
    import torch

    logits = logits_of([e.row for e in examples])
    targets = torch.tensor([y for e in examples for y in e.targets], device=logits.device)
    weights = torch.tensor([w for e in examples for w in e.weights], device=logits.device)
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, weights, reduction="sum")


def fit_prm(
    run: Run,
    model: "PreTrainedModel",
    logits_of: LogitsOf,
    examples: Sequence[Example],
    config: FitConfig,
    seed: int,
    evaluate: Callable[[], Mapping[str, float]] | None = None,
    eval_every: int = 0,
) -> None:
    """Minimise the weighted mean of the steps' cross-entropy; ``evaluate`` is logged every ``eval_every`` steps."""
    optimizer = make_optimizer(model, config.optim)
    run.track(model=model, optimizer=optimizer)
    model.train()
    for step in run.steps(config.steps, save_every=config.save_every, label="PRM", show=["loss"]):
        loss = prm_gradient(logits_of, batch_of(examples, config.batch, seed, step), config.micro_tokens)
        rate = learning_rate(config.optim, step, config.steps)
        norm = optimizer_step(model, optimizer, config.optim, rate)
        measured = evaluate() if evaluate is not None and eval_every and (step + 1) % eval_every == 0 else {}
        run.log(step, loss=loss, learning_rate=rate, grad_norm=norm, **measured)
