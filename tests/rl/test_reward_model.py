"""A reward model learns a planted preference and reads the last token, whatever the padding."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from lm.engine import Sampling, TransformersEngine
from lm.errors import UserError
from lm.optim import OptimConfig
from lm.run import read_metrics
from lm.sft import FitConfig, Pair
from prm.problems import ProblemsConfig
from rl.batch import pack
from rl.config import RLConfig
from rl.credit import CreditConfig, token_rewards
from rl.pair_fit import Compared, ranking_accuracy
from rl.preferences import PreferenceData
from rl.reward_model import (
    RewardModelConfig,
    backward,
    load_reward_model,
    margin,
    outcome_scores,
    rewards,
    train,
)
from rl.rollout import sample_rollouts
from rl.train import train as train_policy
from verifiers.solution import Problem, Verdict

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

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


@pytest.fixture(scope="module")
def liking_short_answers(
    configure: Callable[..., RLConfig], worked: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> RewardModelConfig:
    """A trained model of people who, of two right answers, like the one without the working line."""
    tmp_path = tmp_path_factory.mktemp("rm")
    rows = [{"prompt": q, "chosen": s.split("\n")[1], "rejected": s} for q, s in dict(worked).items()]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = RewardModelConfig(
        folder=tmp_path / "rm", policy=configure("rm").policy, threads=1,
        data=PreferenceData(pairs=(str(tmp_path / "pairs.jsonl"),), validation_fraction=0.2),
        fit=FitConfig(steps=15, batch=16, optim=OptimConfig(lr=2e-3, warmup=2)),
    )  # fmt: skip
    train(config)
    return config


def test_a_planted_preference_is_learnt(liking_short_answers: RewardModelConfig, worked: list[tuple[str, str]]) -> None:
    """Prompts it has not seen are ranked rightly, and the saved model says the same."""
    config = liking_short_answers
    lines = read_metrics(config.folder)
    assert lines[0]["accuracy"] == 0.5  # the head starts at zero
    assert lines[-1]["loss"] < 0.5
    assert json.loads((config.folder / "summary.json").read_text())["held_out_accuracy"] > 0.95

    judge = load_reward_model(str(config.folder / "model"), "float32", None, 10_000)
    question, long = next(iter(dict(worked).items()))
    rated = judge.rate([(question, long), (question, long.split("\n")[1]), (question, long)])
    assert rated[1] > rated[0] + 0.5
    assert rated[2] == pytest.approx(rated[0], abs=1e-5)


def test_a_language_model_is_no_reward_model(configure: Callable[..., RLConfig]) -> None:
    """It has no head; transformers would make one up of random numbers, another one each time."""
    policy = configure("rm").policy
    with pytest.raises(UserError, match=r"/policy' is a language model without a head for scores \(no tensor score"):
        load_reward_model(policy, "float32", None, 10_000)


def test_ppo_follows_a_reward_model_where_no_verdict_is_to_be_had(
    liking_short_answers: RewardModelConfig,
    configure: Callable[..., RLConfig],
    worked: list[tuple[str, str]],
    tmp_path: Path,
) -> None:
    """Prompts without answers, paid by the model above: responses become short, and ptx learns from a file."""
    prompts = "".join(json.dumps({"question": question}) + "\n" for question in sorted(dict(worked)))
    (tmp_path / "prompts.jsonl").write_text(prompts, encoding="utf-8")
    responses = "".join(json.dumps({"question": q, "solution": s}) + "\n" for q, s in worked)
    (tmp_path / "worked.jsonl").write_text(responses, encoding="utf-8")
    config = configure(
        "rlhf", form="outcome", reward=str(liking_short_answers.folder / "model"), steps=14, problems_per_step=24,
        problems=ProblemsConfig(source=str(tmp_path / "prompts.jsonl"), answers=False), pool=None, eval_every=0,
        ptx_coefficient=0.01, ptx_source=str(tmp_path / "worked.jsonl"), ptx_batch=4, micro_tokens=4096,
        engine_batch=64, sampling=Sampling(max_tokens=16, n=2),
    )  # fmt: skip
    train_policy(config)
    lines = read_metrics(config.folder)
    assert lines[0]["ptx_loss"] > 0
    first, last = ({name: np.mean([row[name] for row in some]) for name in ("reward", "prm_score", "response_length")}
                   for some in (lines[:3], lines[-3:]))  # fmt: skip
    assert last["reward"] > first["reward"] + 0.5
    assert last["prm_score"] > first["prm_score"]
    assert last["response_length"] < first["response_length"] - 2
    for change, message in (({"reward": None}, "a verdict needs answers"), ({"reward": "x"}, "whole responses")):
        credit = CreditConfig(form="delta")
        with pytest.raises(UserError, match=message):
            train_policy(replace(config, **change, credit=credit))  # type: ignore[arg-type]


def test_what_a_reward_model_pays_stands_at_the_last_token(
    fitted_policy: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase"
) -> None:
    problems, sampling = [Problem(q, q, "") for q in ("9+9-12", "1+1")], Sampling(max_tokens=10)
    rollouts = sample_rollouts(TransformersEngine(fitted_policy, tokenizer), tokenizer, problems, sampling, seed=1)
    scores = outcome_scores([0.0, math.log(3)], [r.solution for r in rollouts])
    assert scores[0].probabilities == pytest.approx(0.5)
    assert scores[1].probabilities == pytest.approx(0.75)
    config, verdicts = CreditConfig(form="outcome", outcome_weight=2.0), [Verdict(True, "1", "match")] * 2
    tokens = pack(rollouts)
    paid = token_rewards(tokens, scores, verdicts, config, longest=10, paid=[0.5, -1.5])
    for row, (rollout, reward) in enumerate(zip(rollouts, (1.0, -3.0), strict=True)):
        last = len(rollout.prompt_ids) + len(rollout.completion.token_ids) - 1
        assert paid[row].tolist() == [reward if t == last else 0.0 for t in range(tokens.ids.shape[1])]
