"""Packing and selecting: every token at its place."""

import numpy as np
import torch

from lm.engine import Completion
from rl.batch import Experience, Rollout, pack
from verifiers.solution import Problem, Solution


def rollout(prompt: list[int], sampled: list[int]) -> Rollout:
    completion = Completion(tuple(sampled), np.zeros(len(sampled), np.float32), "length")
    return Rollout(tuple(prompt), completion, Solution(Problem("p", "q", "1"), "", ()), ())


ROLLOUTS = [rollout([1, 2], [3]), rollout([4], [5, 6, 7, 8]), rollout([9, 9], [0, 3])]


def test_pack_by_hand() -> None:
    tokens = pack(ROLLOUTS, pad_id=77)
    assert tokens.ids.tolist() == [[1, 2, 3, 77, 77], [4, 5, 6, 7, 8], [9, 9, 0, 3, 77]]
    assert tokens.attention.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]
    assert tokens.actions.int().tolist() == [[0, 0, 1, 0, 0], [0, 1, 1, 1, 1], [0, 0, 1, 1, 0]]
    assert tokens.actions.dtype == torch.bool
    assert tokens.rollouts == tuple(ROLLOUTS)


def test_selected_rows_are_cut_to_the_longest_of_them() -> None:
    tokens = pack(ROLLOUTS)
    numbers = torch.arange(15.0).view(3, 5)
    experience = Experience(tokens, numbers, numbers + 50, numbers + 100, numbers + 200, numbers + 300)
    part = experience.select([2, 0])
    assert part.tokens.ids.tolist() == [[9, 9, 0, 3], [1, 2, 3, 0]]
    assert part.tokens.rollouts == (ROLLOUTS[2], ROLLOUTS[0])
    assert part.old_logprobs.tolist() == [[10, 11, 12, 13], [0, 1, 2, 3]]
    assert part.reference_logprobs[1, 0] == 50
    assert part.old_values[0, 0] == 110
    assert part.advantages[1, 3] == 203
    assert part.returns.shape == part.tokens.actions.shape == part.tokens.attention.shape == (2, 4)


def test_micro_batches_by_hand() -> None:
    assert list(pack(ROLLOUTS).micro_batches(8)) == [[0], [2], [1]]  # 3 and 4 tokens: an eighth would be padding
    assert list(pack(ROLLOUTS).micro_batches(1)) == [[0], [2], [1]]
    group = [rollout([1, 2, 3], [4] * n) for n in (2, 5, 1)]
    batch = pack([*group, rollout([7], [8, 8])])
    assert list(batch.micro_batches(100)) == [[3, 2, 0, 1]]  # 3 tokens; 3 + 1 + 2 + 5
    assert list(batch.micro_batches(13)) == [[3], [2, 0, 1]]
    assert list(batch.micro_batches(8)) == [[3], [2, 0], [1]]  # 3 + 1 + 2, 3 + 5


def test_a_sample_of_rows_and_their_parts_by_hand() -> None:
    tokens = pack(ROLLOUTS)  # 3 + 5 + 4 tokens
    assert tokens.sample(100) == tokens.sample(12) == [0, 1, 2]
    assert tokens.sample(8) == [0, 1]
    assert tokens.sample(1) == [0]
    assert list(tokens.my_parts([], 8)) == []
    [(where, part, weight), (other, *_)] = tokens.my_parts([2, 1], 5)
    assert (where, other) == (([2], slice(4)), ([1], slice(5)))
    assert weight == 1.0
    assert part.ids.tolist() == tokens.ids[where].tolist() == [[9, 9, 0, 3]]
