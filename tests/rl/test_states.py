"""A prompt that is run once for its responses, against every row run by itself, in float64: states and gradients."""

import copy
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import rl.states
from lm.engine import Completion
from rl.batch import Rollout, TokenBatch, pack
from rl.states import choosing_states
from verifiers.solution import Problem, Solution

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def batch_of(*shapes: tuple[int, tuple[int, ...]]) -> TokenBatch:
    """For each (prompt length, response lengths) rows of random tokens that begin with one prompt; in mixed order."""
    generator = torch.Generator().manual_seed(4)

    def draw(n: int) -> tuple[int, ...]:
        return tuple(torch.randint(2, 260, (n,), generator=generator).tolist())

    rollouts = []
    for width, lengths in shapes:
        prompt = draw(width)
        for n in lengths:
            completion = Completion(draw(n), np.zeros(n, np.float32), "length")
            rollouts.append(Rollout(prompt, completion, Solution(Problem("p", "q", "1"), "", ()), ()))
    return pack(rollouts[::2] + rollouts[1::2])


SHARED = batch_of((7, (3, 1, 9)), (12, (5, 5)), (2, (4,)))


def plain_states(model: "PreTrainedModel", tokens: TokenBatch) -> torch.Tensor:
    rows = []
    for rollout in tokens.rollouts:
        ids = torch.tensor([[*rollout.prompt_ids, *rollout.completion.token_ids]])
        rows.append(model.base_model(input_ids=ids).last_hidden_state[0, len(rollout.prompt_ids) - 1 : -1])
    return torch.cat(rows)


def gradients(model: "PreTrainedModel", states: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    (states * torch.linspace(-1, 1, states.numel(), dtype=states.dtype).view_as(states)).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("tokens", [SHARED, batch_of((7, (3,)), (4, (6,)))], ids=["shared", "alone"])
def test_states_and_gradients_are_those_of_rows_by_themselves(
    tiny_policy: "PreTrainedModel", tokens: TokenBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = copy.deepcopy(tiny_policy).double()
    passes = []
    monkeypatch.setattr(rl.states, "_shared_states", lambda *given: passes.append(1) or real(*given))
    states = choosing_states(model, tokens)
    assert len(passes) == int(tokens is SHARED)
    expected = plain_states(model, tokens)
    torch.testing.assert_close(states, expected, rtol=0, atol=1e-10)
    one, other = gradients(model, states), gradients(model, expected)
    assert one.keys() == other.keys()
    for name in one:
        # rotary angles and norms are float32 in transformers
        torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=1e-5)


real = rl.states._shared_states


def test_prompts_are_not_shared_where_states_are_recomputed(tiny_policy: "PreTrainedModel") -> None:
    model = copy.deepcopy(tiny_policy).train()
    assert rl.states._pays(model, SHARED)
    model.gradient_checkpointing_enable()
    assert not rl.states._pays(model, SHARED)
    assert rl.states._pays(model.eval(), SHARED)
    torch.testing.assert_close(choosing_states(model.train(), SHARED), plain_states(model.eval(), SHARED))
