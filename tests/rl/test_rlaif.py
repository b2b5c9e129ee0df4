"""Online RLAIF against a judge behind a real server: the policy comes to answer as the judge likes, and resumes."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from chat_server import message, serving
from test_pair_judge import responses, saying, shorter

from lm.engine import Sampling
from lm.errors import UserError
from lm.lora import LoRAConfig
from lm.models import load_causal_lm, load_token_scorer, load_tokenizer
from lm.optim import OptimConfig
from lm.run import read_metrics
from prm.problems import ProblemsConfig
from rl.config import RLConfig
from rl.pair_judge import PairJudgeConfig
from rl.rlaif import RLAIFConfig, train

Make = Callable[..., RLAIFConfig]


@pytest.fixture(scope="module")
def make(
    configure: Callable[..., RLConfig], worked: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Make:
    home = tmp_path_factory.mktemp("rlaif")
    prompts = "".join(json.dumps({"question": question}) + "\n" for question in sorted(dict(worked)))
    (home / "prompts.jsonl").write_text(prompts, encoding="utf-8")

    def config(name: str, url: str = "http://localhost:1/v1", **changes: Any) -> RLAIFConfig:
        config = RLAIFConfig(
            folder=home / name, policy=configure("rlaif").policy, threads=1, steps=3, problems_per_step=8, save_every=1,
            problems=ProblemsConfig(source=str(home / "prompts.jsonl"), answers=False),
            sampling=Sampling(max_tokens=16, n=2),
            optim=OptimConfig(lr=1e-3, warmup=1, schedule="constant", weight_decay=0.0),
            judge=PairJudgeConfig(url=url, model="m", retries=0, patience=0.01, timeout=5.0),
        )  # fmt: skip
        return replace(config, **changes)

    return config


def test_the_policy_comes_to_answer_as_the_judge_likes(make: Make) -> None:
    with serving(saying(shorter)) as served:
        train(config := make("learns", served.url, steps=10, problems_per_step=16, save_every=0))
    lines = read_metrics(config.folder)
    lengths = [line["response_length"] for line in lines]
    assert np.mean(lengths[-3:]) < np.mean(lengths[:3]) - 1.5
    assert lines[0]["margin"] == pytest.approx(0, abs=1e-4)  # the reference is where the policy starts
    assert lines[0]["kl"] == pytest.approx(0, abs=1e-4)
    assert np.mean([line["kl"] for line in lines[-3:]]) > 0.05
    assert all(0 <= line["repeated_steps"] <= line["steps_per_solution"] for line in lines)
    assert all(line["decided"] + line["ties"] == line["compared"] for line in lines)
    assert lines[-1]["requests"] == len(served.requests) == 2 * sum(line["compared"] for line in lines)
    assert lines[-1]["prompt_tokens"] == 50 * len(served.requests)


def test_an_endpoint_that_dies_leaves_a_run_to_go_on_with_and_no_answer_is_paid_for_twice(make: Make) -> None:
    with serving(saying(shorter)) as served:
        train(whole := make("whole", served.url))
        asked = len(served.requests)
    alive = saying(shorter)
    with serving(lambda body, number: alive(body, number) if number < asked - 5 else 503) as served:
        with pytest.raises(UserError, match="resume when it does"):
            train(broken := make("broken", served.url))
        answered = len((broken.folder / "verdicts.jsonl").read_text().splitlines())
    with serving(alive) as served:
        train(replace(broken, resume=True, judge=replace(broken.judge, url=served.url)))
        assert len(served.requests) == asked - answered
    assert (broken.folder / "metrics.jsonl").read_bytes() == (whole.folder / "metrics.jsonl").read_bytes()


def test_a_biased_judge_teaches_nothing(make: Make) -> None:
    with serving(saying(lambda a, b: "B")) as served:
        train(config := make("biased", served.url, steps=1))
    line = read_metrics(config.folder)[0]
    assert (line["decided"], line["inconsistent"], line["first_place"]) == (0, line["compared"], 0)
    start, end = (load_causal_lm(path).state_dict() for path in (config.policy, str(config.folder / "model")))
    assert all(torch.equal(start[name], end[name]) for name in start)


@pytest.fixture(scope="module")
def scorer(make: Make, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A reward model of a moment."""
    folder = tmp_path_factory.mktemp("scorer")
    scorer: Any = load_token_scorer(make("x").policy, 1)
    torch.nn.init.normal_(scorer.score.weight, std=0.5, generator=torch.Generator().manual_seed(1))
    scorer.save_pretrained(folder)
    load_tokenizer(make("x").policy).save_pretrained(folder)
    return str(folder)


def test_a_reward_model_may_judge(make: Make, scorer: str) -> None:
    train(config := make("by-reward", reward=scorer, loss="ipo"))
    lines = read_metrics(config.folder)
    assert lines[0]["decided"] == lines[0]["compared"] > 0
    assert lines[-1]["requests"] == 0
    assert not (config.folder / "verdicts.jsonl").exists()


def test_an_adapter_is_trained_against_its_own_model_and_goes_on_bit_for_bit(make: Make, scorer: str) -> None:
    train(whole := make("adapter", reward=scorer, lora=LoRAConfig(rank=2), gradient_checkpointing=True))
    lines = read_metrics(whole.folder)
    assert lines[0]["margin"] == pytest.approx(0, abs=1e-4)
    assert lines[-1]["margin"] > 1e-3
    start, end = (load_causal_lm(path).state_dict() for path in (whole.policy, str(whole.folder / "model")))
    moved = {name for name in end if not torch.equal(start[name], end[name])}
    assert moved
    assert all("_proj" in name for name in moved)
    killed = replace(whole, folder=whole.folder.with_name("adapter-killed"), resume=True)
    shutil.copytree(whole.folder, killed.folder)
    shutil.rmtree(killed.folder / "checkpoints" / "step-000003")
    train(killed)
    assert (killed.folder / "metrics.jsonl").read_bytes() == (whole.folder / "metrics.jsonl").read_bytes()


def test_responses_that_cannot_differ_are_refused(make: Make) -> None:
    with pytest.raises(UserError, match=r"sampling\.n of 2 or more"):
        train(make("greedy", sampling=Sampling(temperature=0, n=2)))


def test_what_the_judge_is_shown_is_what_was_sampled(make: Make) -> None:
    seen: list[tuple[str, str]] = []

    def look(body: dict[str, Any], number: int) -> Any:
        seen.append(responses(body))
        return message('{"better": "tie"}')

    with serving(look) as served:
        train(make("shown", served.url, steps=1, problems_per_step=2, sampling=Sampling(max_tokens=16, n=4)))
    assert 2 <= len(seen) <= 8  # 2 prompts, 2 pairs each, 2 orders; fewer where two responses say the same
    assert {pair[::-1] for pair in seen} == set(seen)
