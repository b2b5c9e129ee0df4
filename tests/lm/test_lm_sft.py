"""The SFT loss against a plain loop in float64, its batches, and a short run."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from lm.optim import OptimConfig
from lm.run import Run, read_metrics
from lm.sft import FitConfig, Pair, batch_of, fit_lm, mean_loss, response_loss

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Fitting:
    folder: Path
    fit: FitConfig
    resume: bool = False
    overwrite: bool = False


@pytest.fixture
def pairs(tokenizer: "PreTrainedTokenizerBase", worked: list[tuple[str, str]]) -> list[Pair]:
    return [(tokenizer(f"{q}\n")["input_ids"], [*tokenizer(s)["input_ids"], tokenizer.eos_token_id]) for q, s in worked]


def plain_loss(model: "PreTrainedModel", pairs: list[Pair]) -> float:
    exact, total = copy.deepcopy(model).double(), 0.0
    for prompt, response in pairs:
        with torch.no_grad():
            logprobs = torch.log_softmax(exact(torch.tensor([[*prompt, *response]])).logits[0], -1)
        total -= sum(float(logprobs[len(prompt) + i - 1, token]) for i, token in enumerate(response))
    return total


def test_loss_is_over_response_tokens_only(tiny_policy: "PreTrainedModel", pairs: list[Pair]) -> None:
    some: list[Pair] = [*pairs[:4], ([7], [8]), ([7, 8, 9, 10, 11, 12, 13, 14, 15, 16], [2, 3])]
    assert float(response_loss(tiny_policy, some).detach()) == pytest.approx(plain_loss(tiny_policy, some), rel=1e-5)
    tokens = sum(len(r) for _, r in some)
    assert mean_loss(tiny_policy, some, 30) == pytest.approx(plain_loss(tiny_policy, some) / tokens, rel=1e-5)


def test_an_epoch_sees_every_item_once_in_an_order_of_its_own() -> None:
    items = list(range(10))
    seen = [batch_of(items, 4, seed=3, step=step) for step in range(5)]
    flat = [x for batch in seen for x in batch]
    assert sorted(flat[:10]) == sorted(flat[10:]) == items
    assert flat[:10] != flat[10:]
    assert batch_of(items, 4, seed=3, step=2) == seen[2]
    assert batch_of(items, 4, seed=4, step=2) != seen[2]


def test_a_batch_may_be_larger_than_the_data() -> None:
    batch = batch_of(["a", "b", "c"], 7, seed=0, step=0)
    assert sorted(batch[:3]) == sorted(batch[3:6]) == ["a", "b", "c"]
    assert len(batch) == 7


def fit(folder: Path, model: "PreTrainedModel", pairs: list[Pair], steps: int, micro_tokens: int) -> list[dict]:
    config = FitConfig(steps, 16, micro_tokens, save_every=0, optim=OptimConfig(lr=5e-3, warmup=2))
    fit_lm(Run.open(Fitting(folder, config), verb="sft"), model, pairs[20:], pairs[:20], config, seed=0)
    return read_metrics(folder)


def test_fitting_learns_and_micro_batches_change_nothing(
    tiny_policy: "PreTrainedModel", pairs: list[Pair], tmp_path: Path
) -> None:
    whole, cut = copy.deepcopy(tiny_policy), copy.deepcopy(tiny_policy)
    lines = fit(tmp_path / "whole", whole, pairs, 30, 16384)
    again = fit(tmp_path / "cut", cut, pairs, 30, 48)
    assert lines[0]["loss"] == pytest.approx(plain_loss(tiny_policy, b := batch_of(pairs[20:], 16, 0, 0)) / sum(
        len(r) for _, r in b
    ), rel=1e-5)  # fmt: skip
    assert lines[-1]["loss"] < 0.6 * lines[0]["loss"]
    assert [line["step"] for line in lines if "val_loss" in line] == [0, 29]
    assert lines[-1]["val_loss"] == pytest.approx(mean_loss(whole, pairs[:20], 1000), rel=1e-5)
    # the sum is taken in another order, and Adam makes the most of the last digits of small gradients
    assert [line["loss"] for line in again] == pytest.approx([line["loss"] for line in lines], rel=1e-2)
    assert [line["grad_norm"] for line in again[:1]] == pytest.approx([lines[0]["grad_norm"]], rel=1e-4)
