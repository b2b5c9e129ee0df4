"""The judges of steps beside a trained PRM: a prover's roll-outs, and PRIME's implicit PRM."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from lm.engine import Sampling, TransformersEngine
from lm.models import load_causal_lm, load_token_scorer, load_tokenizer
from lm.optim import OptimConfig
from lm.run import read_metrics
from lm.tokenizer import encode, prompt_text
from prm.implicit import ImplicitPRM
from prm.loading import Reading
from prm.rollouts import Roller
from rl.config import RLConfig
from rl.judge import Prover, outcome_backward, step_judge
from rl.train import train
from verifiers.solution import Problem, Solution, Verdict
from verifiers.split import split_steps

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Configure = Callable[..., RLConfig]


def solution(question: str, answer: str, text: str) -> Solution:
    return Solution(Problem(f"{question} = {answer}", question, answer), text, split_steps(text))


def test_a_prover_values_each_step_by_where_it_gets_from_there(
    fitted_policy: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase"
) -> None:
    """Greedy roll-outs from "8-0": right if the gold answer is what the prover writes next, so 1 or 0."""
    engine = TransformersEngine(fitted_policy, tokenizer)
    prompt = encode(tokenizer, [prompt_text(tokenizer, "5+3-0") + "8-0\n"])
    [completion] = engine.generate(prompt, Sampling(temperature=0, max_tokens=16), 0)
    said = tokenizer.decode(completion.token_ids, skip_special_tokens=True).split("#### ")[1].strip()
    prover = Prover(Roller(engine, tokenizer, Sampling(temperature=0, max_tokens=16, n=2)), seed=0)
    solutions = [solution("5+3-0", said, f"8-0\n#### {said}"), solution("5+3-0", "-77", "8-0\n#### -77")]
    found = [s.probabilities.tolist() for s in prover.score(solutions)]
    assert found == [[1.0, 1.0], [0.0, 1.0]]  # the last step's value is the verdict on the solution


def test_several_prms_judge_as_one(configure: Configure, tokenizer: "PreTrainedTokenizerBase") -> None:
    """An ensemble in the loop: the mean less one standard deviation of two PRMs, each asked alone here."""
    one, other = configure("one"), configure("other", prm=2)
    both = dataclasses.replace(one, reading=Reading(also=(other.prm,), combine="cautious", caution=1.0))
    solutions = [solution("5+3-1", "7", "8-1\n#### 7"), solution("9-4", "5", "9-4\n4\n#### 4")]
    reference = load_causal_lm(one.policy)
    alone = [step_judge(config, tokenizer, reference).score(solutions) for config in (one, other)]
    joint = step_judge(both, tokenizer, reference).score(solutions)
    for a, b, found in zip(*alone, joint, strict=True):
        p, q = a.probabilities, b.probabilities
        np.testing.assert_allclose(found.probabilities, np.clip((p + q) / 2 - abs(p - q) / 2, 0, 1))


def test_prime_starts_from_even_odds_and_learns_from_verdicts(
    configure: Configure, tokenizer: "PreTrainedTokenizerBase"
) -> None:
    config = configure("prime", form="implicit")
    judge = step_judge(config, tokenizer, load_causal_lm(config.policy))
    assert isinstance(judge, ImplicitPRM)
    solutions = [solution("5+3-1", "7", "8-1\n#### 7"), solution("5+3-1", "7", "8-1\n#### 6"), solution("1", "1", "")]
    verdicts = [Verdict(True, "7", "match"), Verdict(False, "6", "mismatch"), Verdict(False, None, "no answer")]
    np.testing.assert_allclose(np.concatenate([s.probabilities for s in judge.score(solutions)]), 0.5, atol=1e-6)
    optimizer = torch.optim.AdamW(judge.policy.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        losses.append(outcome_backward(judge, solutions, verdicts)["prm_loss"])
        optimizer.step()
        optimizer.zero_grad()
    assert losses[0] == pytest.approx(np.log(2), rel=1e-4)
    assert losses[-1] < losses[0] - 0.02
    right, wrong, none = (s.probabilities for s in judge.score(solutions))
    assert right[-1] > 0.5 > wrong[-1]
    assert right[0] == pytest.approx(wrong[0], abs=1e-6)  # the same first step
    assert none.size == 0


@pytest.mark.parametrize("form", ["implicit", "progress"])
def test_runs_with_either_go_on_bit_for_bit(configure: Configure, form: str) -> None:
    fast = OptimConfig(lr=1e-2, warmup=0, schedule="constant", weight_decay=0.0)
    changes = {"eval_every": 0, "prm_optim": fast} | (
        {"prover": configure("x").policy, "prover_rollouts": 2} if form == "progress" else {}
    )
    train(whole := configure(f"{form}-whole", form=form, **changes))
    halves = configure(f"{form}-halves", form=form, steps=1, **changes)
    train(halves)
    train(dataclasses.replace(halves, steps=2, resume=True))
    assert (halves.folder / "metrics.jsonl").read_bytes() == (whole.folder / "metrics.jsonl").read_bytes()
    lines = read_metrics(whole.folder)
    if form == "implicit":
        assert lines[0]["prm_score"] == pytest.approx(0.5, abs=1e-5)
        assert lines[1]["prm_score"] != pytest.approx(0.5, abs=1e-5)
        assert {"prm_loss", "prm_accuracy", "prm_grad_norm"} <= lines[0].keys()


def test_a_rollout_that_the_prm_cannot_read_scores_nothing_and_ends_nothing(configure: Configure) -> None:
    """A PRM of eight positions, which no prompt with a rollout fits: its steps earn 0 and the run says what share."""
    config = configure("short-prm", steps=1)
    prm: Any = load_token_scorer(config.prm, 2)
    prm.config.max_position_embeddings = 8
    short = config.folder.with_name("prm-short")
    prm.save_pretrained(short)
    load_tokenizer(config.prm).save_pretrained(short)
    train(dataclasses.replace(config, prm=str(short)))
    [line] = read_metrics(config.folder)
    assert line["unscored"] > 0.9
    assert line["prm_score"] < 0.1
