"""GAE against hand-worked rows and a double sum over k-step advantages; whitening against NumPy."""

import numpy as np
import pytest
import torch

from rl.advantages import (
    gae,
    group_advantages,
    leave_one_out_advantages,
    masked_mean,
    returns_to_go,
    whiten,
)

JUNK = 99.0


def test_three_tokens_by_hand() -> None:
    """δ = (1 + ½·2 − 4, 2 + ½·1 − 2, 3 − 1) = (−2, ½, 2);  A = (−2 + ¼·1, ½ + ¼·2, 2) with γλ = ¼."""
    rewards, values = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[4.0, 2.0, 1.0]])
    out = gae(rewards, values, torch.ones(1, 3, dtype=torch.bool), gamma=0.5, lam=0.5)
    assert out.tolist() == [[-1.75, 1.0, 2.0]]


def test_prompt_padding_and_a_masked_token_in_the_middle_are_stepped_over() -> None:
    actions = torch.tensor([[0, 1, 1, 0, 1, 0], [1, 0, 0, 1, 0, 1], [0, 0, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0]]).bool()
    rewards, values = torch.full((4, 6), JUNK), torch.full((4, 6), JUNK)
    for row in range(2):
        rewards[row, actions[row]] = torch.tensor([1.0, 2.0, 3.0])
        values[row, actions[row]] = torch.tensor([4.0, 2.0, 1.0])
    rewards[3, 2], values[3, 2] = 1.0, 0.25
    out = gae(rewards, values, actions, gamma=0.5, lam=0.5)
    assert out.tolist() == [
        [0, -1.75, 1.0, 0, 2.0, 0],
        [-1.75, 0, 0, 1.0, 0, 2.0],
        [0] * 6,
        [0, 0, 0.75, 0, 0, 0],
    ]


def k_step_mixture(rewards: np.ndarray, values: np.ndarray, gamma: float, lam: float) -> np.ndarray:
    """A_t = (1−λ) Σ_k λ^(k−1) A_t^(k), the tail to the last k that there is (Schulman et al. 2016, eqs. 11–16)."""
    n = len(rewards)
    padded = np.append(values, 0.0)
    out = np.zeros(n)
    for t in range(n):
        longest = n - t
        for k in range(1, longest + 1):
            k_step = sum(gamma**j * rewards[t + j] for j in range(k)) + gamma**k * padded[t + k] - values[t]
            out[t] += lam ** (k - 1) * (1 - lam if k < longest else 1.0) * k_step
    return out


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.7), (1.0, 1.0), (0.97, 0.0), (0.0, 0.5)])
def test_gae_is_the_mixture_of_k_step_advantages(gamma: float, lam: float) -> None:
    generator = torch.Generator().manual_seed(4)
    rewards, values = (torch.randn(8, 15, generator=generator, dtype=torch.float64) for _ in range(2))
    actions = torch.rand(8, 15, generator=generator) < 0.7
    out = gae(rewards, values, actions, gamma=gamma, lam=lam)
    for row in range(8):
        on = actions[row]
        expected = k_step_mixture(rewards[row, on].numpy(), values[row, on].numpy(), gamma, lam)
        np.testing.assert_allclose(out[row, on].numpy(), expected, rtol=1e-12, atol=1e-12)
        assert not out[row, ~on].any()


def test_whitening_is_numpys_over_the_masked_places() -> None:
    generator = torch.Generator().manual_seed(1)
    values = 5 + 3 * torch.randn(4, 9, generator=generator, dtype=torch.float64)
    mask = torch.rand(4, 9, generator=generator) < 0.6
    x = values[mask].numpy()
    out = whiten(values, mask)
    np.testing.assert_allclose(out[mask].numpy(), (x - x.mean()) / np.sqrt(x.var(ddof=1) + 1e-8), rtol=1e-10)
    assert not out[~mask].any()
    assert masked_mean(values, mask).item() == pytest.approx(x.mean())


def test_whitening_nothing_one_or_all_alike() -> None:
    values = torch.tensor([[3.0, 5.0, 7.0]])
    assert whiten(values, torch.tensor([[False, False, False]])).tolist() == [[0, 0, 0]]
    assert whiten(values, torch.tensor([[False, True, False]])).tolist() == [[0, 0, 0]]
    assert whiten(torch.full((1, 3), 2.0), torch.ones(1, 3, dtype=torch.bool)).tolist() == [[0, 0, 0]]
    assert masked_mean(values, torch.zeros(1, 3, dtype=torch.bool)).item() == 0
    by_hand = whiten(values, torch.ones(1, 3, dtype=torch.bool))  # mean 5, variance (4 + 0 + 4)/2 = 4
    torch.testing.assert_close(by_hand, torch.tensor([[-1.0, 0.0, 1.0]]))


# Two rollouts of one problem: rewards 1, 2 on two actions, and 1 on one.
REWARDS = torch.tensor([[0.0, 1.0, 2.0], [0.0, 1.0, JUNK]])
ON = torch.tensor([[False, True, True], [False, True, False]])


def test_returns_to_go_by_hand() -> None:
    assert returns_to_go(REWARDS, ON, gamma=1.0).tolist() == [[0, 3, 2], [0, 1, 0]]
    assert returns_to_go(REWARDS, ON, gamma=0.5).tolist() == [[0, 2, 2], [0, 1, 0]]


def test_group_and_leave_one_out_by_hand() -> None:
    """Returns (3, 2) and (1): levels 5/2 and 1, b = 7/4; centred (5/4, 1/4), −3/4; s² = ½(25 + 1)/16 + 9/16 = 11/8."""
    returns = returns_to_go(REWARDS, ON, gamma=1.0)
    centred = group_advantages(returns, ON, 2, scale="none")
    assert centred.tolist() == [[0, 1.25, 0.25], [0, -0.75, 0]]
    scaled = group_advantages(returns, ON, 2, scale="std", epsilon=0.0)
    torch.testing.assert_close(scaled, centred / 1.375**0.5)
    assert leave_one_out_advantages(returns, ON, 2).tolist() == [[0, 3 - 1, 2 - 1], [0, 1 - 2.5, 0]]


def test_a_group_without_a_signal_stays_still_and_groups_do_not_mix() -> None:
    rewards = torch.tensor([[1.0], [1.0], [5.0], [7.0]])
    out = group_advantages(rewards, torch.ones(4, 1, dtype=torch.bool), 2, scale="std", epsilon=1e-12)
    torch.testing.assert_close(out[:, 0], torch.tensor([0.0, 0.0, -(0.5**0.5), 0.5**0.5]))


def test_equal_totals_earned_at_different_steps_stay_bounded() -> None:
    """Shaping that sums to nothing: R = 0 for all, yet the returns differ; by the spread of R they would explode."""
    returns = torch.tensor([[0.0, 1.0], [0.0, -1.0]])
    out = group_advantages(returns, torch.ones(2, 2, dtype=torch.bool), 2, scale="std", epsilon=0.0)
    assert out.tolist() == [[0, 1], [0, -1]]


def test_what_is_left_to_earn_falls_along_a_solution_and_late_tokens_are_not_blamed_for_it() -> None:
    """Two alike rollouts that earn 1 by each of three tokens: returns 3, 2, 1 around b = 2, so A sums to 0."""
    on = torch.ones(2, 3, dtype=torch.bool)
    returns = returns_to_go(torch.ones(2, 3), on, gamma=1.0)
    assert group_advantages(returns, on, 2, scale="none").tolist() == [[1, 0, -1]] * 2
    assert leave_one_out_advantages(returns, on, 2).tolist() == [[1, 0, -1]] * 2


def test_biased_whitening_is_numpys() -> None:
    values = torch.tensor([[3.0, 5.0, 7.0]], dtype=torch.float64)
    out = whiten(values, torch.ones(1, 3, dtype=torch.bool), unbiased=False)
    np.testing.assert_allclose(out.numpy(), [[-2 / (8 / 3) ** 0.5, 0, 2 / (8 / 3) ** 0.5]], rtol=1e-8)
