"""Log-probs, entropies and gradients against torch's own log-softmax in float64, over more rows than a chunk has."""

import pytest
import torch

from rl.chosen import CHUNK, chosen_logprobs


@pytest.mark.parametrize(("temperature", "biased"), [(1.0, False), (0.7, True)])
def test_values_and_gradients(temperature: float, biased: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    rows, width, vocabulary = CHUNK + 7, 5, 11

    def made(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).requires_grad_()

    states, weight, bias = made(rows, width), made(vocabulary, width), made(vocabulary) if biased else None
    chosen = torch.randint(vocabulary, (rows,), generator=generator)
    slopes = torch.randn(rows, generator=generator)
    inputs = [x for x in (states, weight, bias) if x is not None]
    logprobs, entropy = chosen_logprobs(states, weight, bias, chosen, temperature)
    found = torch.autograd.grad((logprobs * slopes).sum(), inputs)
    assert not entropy.requires_grad

    exact = [x.detach().double().requires_grad_() for x in inputs]
    logits = exact[0] @ exact[1].T + (exact[2] if biased else 0)
    every = torch.log_softmax(logits / temperature, -1)
    expected = every[torch.arange(rows), chosen]
    torch.testing.assert_close(logprobs.double(), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(entropy.double(), -(every.exp() * every).sum(-1), rtol=0, atol=1e-5)
    for one, other in zip(found, torch.autograd.grad((expected * slopes).sum(), exact), strict=True):
        torch.testing.assert_close(one.double(), other, rtol=0, atol=1e-5)


def test_a_frozen_head_gets_no_gradient_and_without_gradients_nothing_is_kept() -> None:
    states, weight = torch.ones(2, 3, requires_grad=True), torch.eye(3)
    logprobs, _ = chosen_logprobs(states, weight, None, torch.tensor([0, 2]), 1.0)
    logprobs.sum().backward()
    assert weight.grad is None
    torch.testing.assert_close(states.grad, torch.tensor([[2, -1, -1], [-1, -1, 2]]) / 3)
    with pytest.raises(RuntimeError):  # p has become the gradient
        logprobs.sum().backward()
    with torch.no_grad():
        logprobs, _ = chosen_logprobs(states, weight, None, torch.tensor([0, 2]), 1.0)
    assert logprobs.grad_fn is None
