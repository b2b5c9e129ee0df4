"""What a run measures on problems that it does not train on."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from lm.engine import TransformersEngine
from lm.sft import encode_pairs
from prm.problems import ProblemsConfig
from rl.config import RLConfig
from rl.evaluation import HeldOut, load_held_out, measure
from verifiers.solution import Problem

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def test_held_out_problems_and_the_guard_share_no_question_with_training(
    configure: Callable[..., RLConfig], tokenizer: "PreTrainedTokenizerBase"
) -> None:
    config = configure("guarded", guard=ProblemsConfig(families=("nested",), levels=(1,)), eval_problems=5)
    held_out = load_held_out(config, tokenizer)
    assert len(held_out.problems) == len(held_out.guard) == len(held_out.worked) == 5
    assert not {p.question for p in held_out.problems} & {p.question for p in held_out.guard}
    assert load_held_out(configure("unguarded"), tokenizer).guard == []


def test_prompts_without_worked_solutions_are_guarded_by_those_of_the_guard(
    configure: Callable[..., RLConfig], tokenizer: "PreTrainedTokenizerBase", tmp_path: Path
) -> None:
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"question": f"Say {i}."}) + "\n" for i in range(40)))
    prompts = ProblemsConfig(source=str(tmp_path / "prompts.jsonl"), answers=False)
    guard = ProblemsConfig(families=("nested",), levels=(1,))
    config = configure("rlhf", problems=prompts, guard=guard, eval_problems=5)
    held_out = load_held_out(config, tokenizer)
    assert held_out.worked == load_held_out(replace(config, problems=guard), tokenizer).worked
    assert len(held_out.worked) == 5
    assert load_held_out(replace(config, guard=None), tokenizer).worked == []


def test_what_is_measured(
    configure: Callable[..., RLConfig],
    fitted_policy: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    worked: list[tuple[str, str]],
) -> None:
    engine, config = TransformersEngine(fitted_policy, tokenizer), configure("measured", micro_tokens=40)
    wrong = [Problem(q, q, "no number") for q in ("8+4-3", "1+1-2")]
    found = measure(
        engine, tokenizer, fitted_policy, HeldOut(wrong, encode_pairs(tokenizer, worked[:6]), wrong), config
    )
    assert found["eval_accuracy"] == found["guard_accuracy"] == 0

    total, count = 0.0, 0
    for prompt, response in encode_pairs(tokenizer, worked[:6]):  # one by one, from plain log-probs
        with torch.no_grad():
            logprobs = fitted_policy(torch.tensor([[*prompt, *response]])).logits[0].log_softmax(-1)
        total -= sum(float(logprobs[len(prompt) + i - 1, token]) for i, token in enumerate(response))
        count += len(response)
    assert found["val_loss"] == pytest.approx(total / count, rel=1e-5)
    assert measure(engine, tokenizer, fitted_policy, HeldOut(wrong, [], []), config) == {"eval_accuracy": 0}
