"""A reward model learns a planted preference and reads the last token, whatever the padding."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from lm.optim import OptimConfig
from lm.run import read_metrics
from lm.sft import FitConfig, Pair
from rl.config import RLConfig
from rl.pair_fit import Compared, ranking_accuracy
from rl.preferences import PreferenceData
from rl.reward_model import RewardModelConfig, backward, load_reward_model, margin, rewards, train

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PAIRS: list[Pair] = [([5, 6], [7]), ([8], [9, 10, 11, 12]), ([5], [6, 9])]


def test_the_reward_stands_at_the_last_token(tiny_critic: "PreTrainedModel") -> None:
    with torch.no_grad():
        out = rewards(tiny_critic, PAIRS)
        for row, (prompt, response) in enumerate(PAIRS):
            alone = tiny_critic(input_ids=torch.tensor([[*prompt, *response]])).logits[0, -1, 0]
            assert out[row].item() == pytest.approx(alone.item(), abs=1e-5)


def test_micro_batches_change_nothing(tiny_critic: "PreTrainedModel") -> None:
    rows = [Compared((PAIRS[0], PAIRS[1])), Compared((PAIRS[2], PAIRS[0]))]
    results = []
    for micro_tokens in (1000, 1):
        tiny_critic.zero_grad()
        metrics = backward(tiny_critic, rows, micro_tokens)
        results.append((metrics, [p.grad.clone() for p in tiny_critic.parameters() if p.grad is not None]))
    tiny_critic.zero_grad()
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-5)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-4, atol=1e-6)
    assert ranking_accuracy(rows, 1000, lambda part: margin(tiny_critic, part)) == pytest.approx(
        results[0][0]["accuracy"]
    )


def test_a_planted_preference_is_learnt(
    configure: Callable[..., RLConfig], worked: list[tuple[str, str]], tmp_path: Path
) -> None:
    """Short answers are preferred; prompts it has not seen are ranked rightly, and the saved model says the same."""
    rows = [{"prompt": q, "chosen": s.split("\n")[1], "rejected": s} for q, s in dict(worked).items()]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = RewardModelConfig(
        folder=tmp_path / "rm", policy=configure("rm").policy, threads=1,
        data=PreferenceData(pairs=(str(tmp_path / "pairs.jsonl"),), validation_fraction=0.2),
        fit=FitConfig(steps=15, batch=16, optim=OptimConfig(lr=2e-3, warmup=2)),
    )  # fmt: skip
    train(config)
    lines = read_metrics(config.folder)
    assert lines[0]["accuracy"] == 0.5  # the head starts at zero
    assert lines[-1]["loss"] < 0.5
    assert json.loads((config.folder / "summary.json").read_text())["held_out_accuracy"] > 0.95

    judge = load_reward_model(str(config.folder / "model"), "float32", None, 10_000)
    question, long = next(iter(dict(worked).items()))
    rated = judge.rate([(question, long), (question, long.split("\n")[1]), (question, long)])
    assert rated[1] > rated[0] + 0.5
    assert rated[2] == pytest.approx(rated[0], abs=1e-5)
