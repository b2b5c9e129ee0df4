"""Log-probs, entropies and values against one plain unpadded row at a time in float64."""

import copy
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from lm.engine import Completion
from rl.batch import Rollout, TokenBatch, pack
from rl.forward import action_logprobs, action_values
from verifiers.solution import Problem, Solution

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@pytest.fixture
def tokens() -> TokenBatch:
    generator = torch.Generator().manual_seed(2)
    rollouts = []
    for prompt, sampled in ((3, 5), (1, 1), (6, 2), (2, 9)):
        ids = torch.randint(2, 260, (prompt + sampled,), generator=generator).tolist()
        completion = Completion(tuple(ids[prompt:]), np.zeros(sampled, np.float32), "length")
        rollouts.append(Rollout(tuple(ids[:prompt]), completion, Solution(Problem("p", "q", "1"), "", ()), ()))
    return pack(rollouts)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_logprobs_and_entropies_are_those_of_the_full_softmax(
    tiny_policy: "PreTrainedModel", tokens: TokenBatch, temperature: float
) -> None:
    logprobs, entropy = action_logprobs(tiny_policy, tokens, temperature)
    exact = copy.deepcopy(tiny_policy).double()
    for row, rollout in enumerate(tokens.rollouts):
        first, ids = len(rollout.prompt_ids), [*rollout.prompt_ids, *rollout.completion.token_ids]
        with torch.no_grad():
            logits = exact(torch.tensor([ids])).logits[0]
        for t in range(tokens.ids.shape[1]):
            if first <= t < len(ids):
                p = (logits[t - 1] / temperature).softmax(-1)
                assert logprobs[row, t].item() == pytest.approx(float(p[ids[t]].log()), abs=1e-4)
                assert entropy[row, t].item() == pytest.approx(float(-(p * p.log()).sum()), abs=1e-4)
            else:
                assert logprobs[row, t] == entropy[row, t] == 0


def test_gradients_flow_through_logprobs_alone(tiny_policy: "PreTrainedModel", tokens: TokenBatch) -> None:
    """Against finite differences: move one weight and see the sum of log-probs move as its gradient says."""
    policy = copy.deepcopy(tiny_policy).double()
    weight = policy.model.layers[0].mlp.down_proj.weight
    logprobs, entropy = action_logprobs(policy, tokens, 1.0)
    assert not entropy.requires_grad
    logprobs.sum().backward()
    assert weight.grad is not None
    slope, sums, size = weight.grad[3, 5].item(), [], 1e-3
    for sign in (1, -1):
        with torch.no_grad():
            weight[3, 5] += sign * size
            sums.append(float(action_logprobs(policy, tokens, 1.0)[0].double().sum()))
            weight[3, 5] -= sign * size
    assert slope == pytest.approx((sums[0] - sums[1]) / (2 * size), rel=0.02, abs=1e-2)


def test_values_are_the_critics_output_one_position_before(tiny_critic: "PreTrainedModel", tokens: TokenBatch) -> None:
    values = action_values(tiny_critic, tokens)
    exact = copy.deepcopy(tiny_critic).double()
    for row, rollout in enumerate(tokens.rollouts):
        first, ids = len(rollout.prompt_ids), [*rollout.prompt_ids, *rollout.completion.token_ids]
        with torch.no_grad():
            out = exact(torch.tensor([ids])).logits[0, :, 0]
        expected = torch.zeros(tokens.ids.shape[1])
        expected[first : len(ids)] = out[first - 1 : -1].float()
        torch.testing.assert_close(values[row], expected, atol=1e-5, rtol=1e-4)
    assert values[tokens.actions].std() > 1e-3
