"""DPO, IPO and KTO learn a planted preference; their losses are those of plain log-probs, pair by pair."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import pytest
import torch

from lm.lora import LoRAConfig
from lm.models import load_causal_lm
from lm.optim import OptimConfig
from lm.run import read_metrics
from lm.sft import FitConfig
from rl.config import RLConfig
from rl.dpo import DPOConfig, PreferenceLoss, backward, response_logprobs, train, with_reference
from rl.losses import dpo_loss
from rl.preferences import Preference, PreferenceData, encode_preferences

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LOSSES: list[tuple[Literal["dpo", "ipo", "kto"], float]] = [("dpo", 0.5), ("ipo", 0.5), ("kto", 0.5)]


@pytest.fixture(scope="module")
def make(
    configure: Callable[..., RLConfig], worked: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., DPOConfig]:
    """People who, of two right answers, like the one without the working line."""
    home = tmp_path_factory.mktemp("dpo")
    rows = [{"prompt": q, "chosen": s.split("\n")[1], "rejected": s} for q, s in dict(worked).items()]
    (home / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def config(name: str, **changes: Any) -> DPOConfig:
        fit = FitConfig(steps=12, batch=16, save_every=5, optim=OptimConfig(lr=1e-3, warmup=2))
        return dataclasses.replace(
            DPOConfig(
                folder=home / name, policy=configure("dpo").policy, threads=1, fit=fit,
                data=PreferenceData(pairs=(str(home / "pairs.jsonl"),), validation_fraction=0.2),
            ),
            **changes,
        )  # fmt: skip

    return config


@pytest.mark.parametrize(("loss", "beta"), LOSSES)
def test_a_planted_preference_is_learnt(make: Callable[..., DPOConfig], loss: Any, beta: float) -> None:
    train(config := make(loss, loss=loss, beta=beta))
    lines = read_metrics(config.folder)
    assert lines[0]["margin" if loss != "kto" else "kl"] == pytest.approx(0, abs=1e-5)  # as the reference is
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert lines[-1]["chosen_log_ratio"] > lines[-1]["rejected_log_ratio"] + 1
    summary = json.loads((config.folder / "summary.json").read_text())
    assert summary["held_out_accuracy"] > 0.95
    assert summary["held_out_pairs"] == pytest.approx(0.25 * summary["pairs"], abs=1)


@pytest.mark.parametrize("rank", [0, 2])
def test_a_killed_run_goes_on_bit_for_bit(make: Callable[..., DPOConfig], rank: int) -> None:
    fit = FitConfig(steps=3, batch=8, save_every=2)
    train(whole := make(f"whole{rank}", fit=fit, lora=LoRAConfig(rank=rank), gradient_checkpointing=rank > 0))
    killed = dataclasses.replace(whole, folder=whole.folder.with_name(f"killed{rank}"), resume=True)
    shutil.copytree(whole.folder, killed.folder)
    shutil.rmtree(killed.folder / "checkpoints" / "step-000003")
    train(killed)
    assert (killed.folder / "metrics.jsonl").read_bytes() == (whole.folder / "metrics.jsonl").read_bytes()


def test_micro_batches_and_plain_log_probs(
    make: Callable[..., DPOConfig], fitted_policy: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase",
    worked: list[tuple[str, str]],
) -> None:  # fmt: skip
    pairs = [Preference(q, s, s[::-1], q) for q, s in worked[:6]]
    chosen, rejected = encode_preferences(tokenizer, pairs, None)
    policy = load_causal_lm(make("x").policy)
    with torch.no_grad():
        for weight in policy.parameters():
            weight.mul_(1.01)
    rows = with_reference(fitted_policy, chosen, rejected, 10_000)
    plain = []
    for model in (policy, fitted_policy):
        for side in (chosen, rejected):
            sums = []
            for prompt, response in side:
                with torch.no_grad():
                    logits = model(torch.tensor([[*prompt, *response]])).logits[0].log_softmax(-1)
                places = range(len(prompt) - 1, len(prompt) + len(response) - 1)
                sums.append(sum(float(logits[t, token]) for t, token in zip(places, response, strict=True)))
            plain.append(torch.tensor(sums))
    torch.testing.assert_close(response_logprobs(policy, chosen).detach(), plain[0], rtol=1e-4, atol=1e-4)
    told_apart, _ = dpo_loss(plain[0] - plain[2], plain[1] - plain[3], beta=0.1)
    nll = -sum(float(total) / len(response) for total, (_, response) in zip(plain[0], chosen, strict=True)) / 6
    expected = told_apart.item() + 0.5 * nll
    gradients = []
    for micro_tokens in (10_000, 60):
        policy.zero_grad()
        config = PreferenceLoss(beta=0.1, nll_weight=0.5)
        metrics = backward(policy, rows, config, micro_tokens)
        assert metrics["loss"] == pytest.approx(expected, rel=1e-3)
        assert metrics["chosen_nll"] == pytest.approx(nll, rel=1e-3)
        gradients.append([p.grad.clone() for p in policy.parameters() if p.grad is not None])
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)


def test_the_nll_of_the_chosen_keeps_it_from_falling_with_the_rejected(make: Callable[..., DPOConfig]) -> None:
    """DPO alone tells apart two responses that share their end by pushing both down; RPO pushes the chosen up."""
    ends = {}
    for weight in (0.0, 1.0):
        train(config := make(f"nll{weight}", nll_weight=weight))
        ends[weight] = read_metrics(config.folder)[-1]
    assert ends[1.0]["chosen_log_ratio"] > ends[0.0]["chosen_log_ratio"]
    assert ends[1.0]["chosen_log_ratio"] > 0 > ends[1.0]["rejected_log_ratio"]
    assert "chosen_nll" not in ends[0.0]


def test_mismatched_responses_are_those_of_the_next_pair(
    fitted_policy: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase"
) -> None:
    pairs = [Preference(q, a, "no", q) for q, a in (("1+1", "2"), ("2+2", "4"), ("3+3", "6"))]
    chosen, rejected = encode_preferences(tokenizer, pairs, None)
    rows = with_reference(fitted_policy, chosen, rejected, 1)
    assert [row.sides[2] for row in rows] == [(chosen[i][0], chosen[(i + 1) % 3][1]) for i in range(3)]
    alone = response_logprobs(fitted_policy, [rows[1].sides[2]]).item()
    assert rows[1].reference[2] == pytest.approx(alone, abs=1e-4)
