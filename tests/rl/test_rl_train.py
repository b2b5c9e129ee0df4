"""PPO end to end on a tiny policy: repeatable to the byte, resumable, blind to the PRM in its baseline form."""

import copy
import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from lm.engine import Sampling, TransformersEngine
from lm.errors import UserError
from lm.lora import LoRAConfig
from lm.models import load_causal_lm, load_token_scorer
from lm.run import read_metrics
from rl.batch import Experience, pack
from rl.config import RLConfig
from rl.credit import CreditConfig
from rl.evaluation import greedy_accuracy
from rl.learn import backward, minibatches
from rl.rollout import sample_rollouts
from rl.train import train
from verifiers.solution import Problem

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Configure = Callable[..., RLConfig]


@pytest.fixture(scope="module")
def finished(configure: Configure) -> Path:
    """An uninterrupted run of three steps."""
    config = configure("whole", steps=3)
    train(config)
    return config.folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_causal_lm(str(folder / "model")).state_dict())


def same_weights(left: Path, right: Path) -> bool:
    one, other = weights(left), weights(right)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_writes_what_happened(finished: Path, fitted_policy: "PreTrainedModel") -> None:
    lines = read_metrics(finished)
    assert [line["step"] for line in lines] == [0, 1, 2]
    assert not any("nonfinite" in line for line in lines)
    assert 0 < lines[0]["ratio_min"] < 1 < lines[0]["ratio_max"]
    assert lines[0]["val_loss"] > 0  # the families' worked solutions, which the policy has never seen
    assert sum(count for _, count, _ in lines[0]["reward_by_steps"]) == 12
    assert sum(n * mean for _, n, mean in lines[0]["reward_by_length"]) == pytest.approx(12 * lines[0]["reward"])
    assert not {"no_signal", "guard_accuracy"} & lines[0].keys()  # PPO compares no rollouts; there is no guard
    assert lines[0]["kl"] == pytest.approx(0, abs=1e-5)  # the reference is where the policy starts
    assert abs(lines[2]["kl"]) > 1e-4
    assert lines[0]["sampled_tokens"] == pytest.approx(12 * lines[0]["response_length"])
    assert lines[2]["sampled_tokens"] == pytest.approx(12 * sum(line["response_length"] for line in lines))
    start, end = dict(fitted_policy.state_dict()), weights(finished)
    assert any(not torch.equal(start[name], end[name]) for name in end)
    critic: Any = load_token_scorer(str(finished / "critic"), 1)
    assert critic.score.weight.abs().max() > 0  # the head starts at zero and has learnt


def test_the_learner_gives_the_sampled_tokens_the_engine_s_log_probs(finished: Path) -> None:
    assert all(0 <= line["logprob_gap"] < 1e-4 for line in read_metrics(finished))


def test_a_token_budget_ends_the_run_with_an_evaluation(configure: Configure) -> None:
    train(config := configure("budget", steps=50, token_budget=150, eval_every=49))
    lines = read_metrics(config.folder)
    assert 2 <= len(lines) < 50
    assert lines[-2]["sampled_tokens"] < 150 <= lines[-1]["sampled_tokens"]
    assert [i for i, line in enumerate(lines) if "eval_accuracy" in line] == [0, len(lines) - 1]
    assert f"step-{len(lines):06d}" in {path.name for path in (config.folder / "checkpoints").iterdir()}

    written, learnt = (config.folder / "metrics.jsonl").read_bytes(), weights(config.folder)
    shutil.rmtree(config.folder / "model")  # a kill between the last checkpoint and the export
    train(dataclasses.replace(config, resume=True))
    assert (config.folder / "metrics.jsonl").read_bytes() == written  # no further step
    assert all(torch.equal(value, learnt[name]) for name, value in weights(config.folder).items())


def test_the_same_seed_writes_the_same_bytes(configure: Configure, finished: Path) -> None:
    train(again := configure("again", steps=3))
    assert (again.folder / "metrics.jsonl").read_bytes() == (finished / "metrics.jsonl").read_bytes()
    assert same_weights(again.folder, finished)


def test_another_seed_is_another_run(configure: Configure, finished: Path) -> None:
    train(other := configure("other", steps=1, seed=1))
    assert read_metrics(other.folder)[0] != read_metrics(finished)[0]


def test_a_run_killed_before_a_checkpoint_resumes_as_if_nothing_had_happened(
    configure: Configure, finished: Path
) -> None:
    """What a power cut leaves: step 2 logged (and a torn line after it), its checkpoint not yet written."""
    config = configure("killed", steps=3, resume=True)
    shutil.copytree(finished, config.folder)
    shutil.rmtree(config.folder / "checkpoints" / "step-000003")
    shutil.rmtree(config.folder / "model")
    with (config.folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "accu')
    train(config)
    assert (config.folder / "metrics.jsonl").read_bytes() == (finished / "metrics.jsonl").read_bytes()
    assert same_weights(config.folder, finished)


def test_a_run_goes_on_with_more_steps(configure: Configure, finished: Path) -> None:
    train(configure("short", steps=1))
    train(longer := configure("short", steps=3, resume=True))
    assert (longer.folder / "metrics.jsonl").read_bytes() == (finished / "metrics.jsonl").read_bytes()
    assert same_weights(longer.folder, finished)


@pytest.mark.parametrize("trunk", ["separate", "shared"])
def test_an_adapter_is_trained_against_its_own_model_and_resumes_bit_for_bit(
    configure: Configure, fitted_policy: "PreTrainedModel", trunk: Any
) -> None:
    adapter = {"lora": LoRAConfig(rank=2), "critic_trunk": trunk, "gradient_checkpointing": trunk == "shared"}
    train(whole := configure(f"lora-{trunk}", steps=3, **adapter))
    lines = read_metrics(whole.folder)
    assert lines[0]["kl"] == pytest.approx(0, abs=1e-5)
    assert abs(lines[2]["kl"]) > 1e-4
    start, end = dict(fitted_policy.state_dict()), weights(whole.folder)
    assert {name for name in end if torch.equal(start[name], end[name])} >= {"model.embed_tokens.weight"}
    assert (whole.folder / "model" / "adapter" / "adapter_model.safetensors").is_file()
    killed = configure(f"lora-{trunk}-killed", steps=3, resume=True, **adapter)
    shutil.copytree(whole.folder, killed.folder)
    shutil.rmtree(killed.folder / "checkpoints" / "step-000003")
    train(killed)
    assert (killed.folder / "metrics.jsonl").read_bytes() == (whole.folder / "metrics.jsonl").read_bytes()
    assert same_weights(killed.folder, whole.folder)


def test_the_same_numbers_with_gradient_checkpointing(configure: Configure, finished: Path) -> None:
    train(config := configure("checkpointed", steps=2, gradient_checkpointing=True))
    for line, plain in zip(read_metrics(config.folder), read_metrics(finished), strict=False):
        assert line["policy_loss"] == pytest.approx(plain["policy_loss"], abs=1e-5)
        assert line["grad_norm"] == pytest.approx(plain["grad_norm"], rel=1e-3)


def test_the_outcome_baseline_uses_no_step_score(configure: Configure, finished: Path) -> None:
    runs = [configure(f"outcome{prm}", form="outcome", prm=prm, steps=2) for prm in (1, 2)]
    for config in runs:
        train(config)
    one, other = (read_metrics(config.folder) for config in runs)
    assert [line.pop("prm_score") for line in one] != [line.pop("prm_score") for line in other]
    for line in (*one, *other):
        line.pop("prm_auc", None)
    assert one == other
    assert same_weights(runs[0].folder, runs[1].folder)

    train(process := configure("process2", prm=2, steps=2))  # while with process rewards the PRM matters
    assert not np.allclose(read_metrics(process.folder)[0]["reward"], read_metrics(finished)[0]["reward"])


def test_greedy_policies_are_refused(configure: Configure) -> None:
    with pytest.raises(UserError, match=r"sampling\.temperature is 0"):
        train(configure("greedy", sampling=Sampling(temperature=0)))


def test_rewards_are_followed(configure: Configure) -> None:
    """Paid only for giving an answer at all, a policy that gives one half the time comes to give one nearly always."""
    credit = CreditConfig(form="outcome", outcome_weight=0.0, no_answer=-1.0)
    config = configure(
        "learns", sampling=Sampling(temperature=1.7, max_tokens=16, n=2), credit=credit, steps=20,
        problems_per_step=32, pool=200, eval_every=0, save_every=0, engine_batch=64, micro_tokens=4096,
    )  # fmt: skip
    train(config)
    shares = [line["no_answer"] + line["truncated"] for line in read_metrics(config.folder)]
    assert np.mean(shares[:4]) > 0.3
    assert np.mean(shares[-4:]) < 0.6 * np.mean(shares[:4])


@pytest.fixture
def experience(fitted_policy: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> Experience:
    problems = [Problem(q, q, "1") for q in ("9+9-12", "1+1", "8+4-3", "5+5")]
    sampling, engine = Sampling(max_tokens=10, n=2), TransformersEngine(fitted_policy, tokenizer)
    tokens = pack(sample_rollouts(engine, tokenizer, problems, sampling, seed=1))
    generator = torch.Generator().manual_seed(0)
    noise = [torch.randn(tokens.ids.shape, generator=generator) * tokens.actions for _ in range(5)]
    return Experience(tokens, noise[0] - 2, noise[4], *noise[1:4])


def test_minibatches_cover_the_rollouts_once_a_pass(experience: Experience) -> None:
    def rows(seed: int, step: int, count: int = 3) -> list[list[tuple[int, ...]]]:
        parts = minibatches(experience, count, 2, seed, step)
        return [[r.prompt_ids + r.completion.token_ids for r in part.tokens.rollouts] for part in parts]

    parts = rows(0, 0)
    assert [len(part) for part in parts] == [3, 3, 2, 3, 3, 2]
    first, second = (sorted(row for part in half for row in part) for half in (parts[:3], parts[3:]))
    assert first == second == sorted(r.prompt_ids + r.completion.token_ids for r in experience.tokens.rollouts)
    assert parts[:3] != parts[3:]
    assert rows(0, 0) == parts
    assert rows(0, 1) != parts
    assert rows(1, 0) != parts
    assert [len(part) for part in rows(0, 0, count=20)] == [1] * 16


def test_micro_batches_and_seeing_all_twice_change_no_gradient(
    fitted_policy: "PreTrainedModel", tiny_critic: "PreTrainedModel", configure: Configure, experience: Experience
) -> None:
    results = []
    twice = experience.select([*range(8), *range(8)])  # losses are means over the tokens of a minibatch
    for batch, micro_tokens in ((experience, 10_000), (experience, 20), (twice, 10_000)):
        policy, critic = copy.deepcopy(fitted_policy), copy.deepcopy(tiny_critic)
        metrics = backward(policy, critic, batch, configure("none", micro_tokens=micro_tokens, value_clip=0.2), 0.0)
        gradients = [p.grad for model in (policy, critic) for p in model.parameters()]
        assert all(g is not None and g.abs().max() > 0 for g in gradients)
        results.append((metrics, gradients))
    whole, whole_gradients = results[0]
    sums = {"policy_loss", "value_loss", "clip_fraction", "value_clip_fraction", "approximate_kl"}
    assert set(whole) == sums | {"ratio_min", "ratio_max"}
    for metrics, gradients in results[1:]:
        assert whole == pytest.approx(metrics, rel=1e-4, abs=1e-6)
        torch.testing.assert_close(whole_gradients, gradients, rtol=1e-3, atol=1e-4)


def test_greedy_accuracy_is_the_share_of_right_answers(
    fitted_policy: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase"
) -> None:
    """Ask for what the policy says: gold answers read off its own greedy text make 2 of 3 right."""
    engine = TransformersEngine(fitted_policy, tokenizer)
    questions = ["8+4-3", "1+1-2", "9+9-12", "2+3-1", "6+0-3", "7+5-5", "3+3-3", "4+1-2"]
    asked = [Problem(q, q, "") for q in questions]
    texts = [
        r.solution.text
        for r in sample_rollouts(engine, tokenizer, asked, Sampling(0, max_tokens=16), 0)
        if r.completion.finish == "stop" and "#### " in r.solution.text
    ]
    said = {q: t.split("#### ")[1].split("\n")[0] for q, t in zip(questions, texts, strict=False)}
    assert len(texts) == len(questions), "the fitted policy answers in the format"
    gold = [Problem(q, q, answer if i else "-77") for i, (q, answer) in enumerate(list(said.items())[:3])]
    assert greedy_accuracy(engine, tokenizer, gold, 16) == pytest.approx(2 / 3)
