"""Truncated importance weights on ratios worked by hand."""

import math

import pytest
import torch

from rl.importance import importance_weights

ON = torch.tensor([[False, True, True, True], [True, True, False, False]])
LEARNER = torch.tensor([[9.0, math.log(0.5), math.log(0.3), math.log(0.9)], [math.log(0.2), math.log(0.6), 9, 9]])
ENGINE = torch.tensor([[0.0, math.log(0.25), math.log(0.1), math.log(0.9)], [math.log(0.4), math.log(0.4), 0, 0]])


def test_by_token() -> None:
    """Ratios 2, 3, 1 and ½, 1½; what stands where nothing was sampled counts for nothing."""
    weights = importance_weights(LEARNER, ENGINE, ON, level="token", cap=2.5)
    torch.testing.assert_close(weights, torch.tensor([[0, 2.0, 2.5, 1.0], [0.5, 1.5, 0, 0]]))


def test_by_sequence() -> None:
    """Products 6 and ¾."""
    weights = importance_weights(LEARNER, ENGINE, ON, level="sequence", cap=4.0)
    torch.testing.assert_close(weights, torch.tensor([[0, 4.0, 4.0, 4.0], [0.75, 0.75, 0, 0]]))


def test_a_hopeless_ratio_is_finite_and_carries_no_gradient() -> None:
    learner = torch.tensor([[0.0]], requires_grad=True)
    weight = importance_weights(learner, torch.tensor([[-1e4]]), torch.tensor([[True]]), level="token", cap=2.0)
    assert weight.item() == pytest.approx(2)
    assert not weight.requires_grad
