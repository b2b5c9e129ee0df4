"""Padding and batching by length."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lm.padding import by_length, pad


def test_rows_are_padded_on_the_right() -> None:
    out = pad([[1, 2, 3], [4], []], -1, torch.long)
    assert out.tolist() == [[1, 2, 3], [4, -1, -1], [-1, -1, -1]]
    assert out.dtype == torch.long
    assert pad([[1, 0], [1]], 0, torch.bool).tolist() == [[True, False], [True, False]]
    assert pad([[0.5]], 0, torch.float32).tolist() == [[0.5]]


@pytest.mark.parametrize(
    ("tokens", "batches"),
    [
        (6, [[3, 1], [0], [2]]),  # lengths 2, 3 | 4 | 7: padded 6, 4, 7 (alone, over the limit)
        (12, [[3, 1, 0], [2]]),
        (1, [[3], [1], [0], [2]]),
        (28, [[3, 1, 0, 2]]),
    ],
)
def test_batches_by_hand(tokens: int, batches: list[list[int]]) -> None:
    assert list(by_length([4, 3, 7, 2], tokens)) == batches


@given(lengths=st.lists(st.integers(1, 50)), tokens=st.integers(1, 200))
def test_every_row_once_and_no_batch_too_big(lengths: list[int], tokens: int) -> None:
    batches = list(by_length(lengths, tokens))
    flat = [i for batch in batches for i in batch]
    assert sorted(flat) == list(range(len(lengths)))
    assert [lengths[i] for i in flat] == sorted(lengths)
    assert all(len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= tokens for batch in batches)
