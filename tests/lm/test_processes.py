"""Who runs which rows: every row once whatever the number of processes, about as much for each, in equal passes where
models are in shards. What passes between real processes is in test_two_processes.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm import processes


def parts_of(count: int, lengths: list[int], tokens: int, *, sharded: bool = False) -> list[list]:
    """``my_micro_batches`` of each of ``count`` processes."""
    found = []
    for rank in range(count):
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {"LOCAL_RANK": rank, "RANK": rank, "WORLD_SIZE": count}.items():
                patch.setenv(name, str(value))
            patch.setenv("ACCELERATE_USE_FSDP", str(sharded).lower())
            found.append(list(processes.my_micro_batches(lengths, tokens)))
    return found


def test_alone_all_is_one_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")  # set by some clusters for their own use: no launcher, no LOCAL_RANK
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert (processes.count(), processes.index(), processes.is_main()) == (1, 0, True)
    assert list(processes.my_block(5)) == [0, 1, 2, 3, 4]
    assert processes.in_blocks(lambda some: [2 * x for x in some], [3, 4]) == [6, 8]
    assert processes.sum_metrics({"a": 1.5}) == {"a": 1.5}
    assert list(processes.my_micro_batches([4, 3, 7, 2], 8)) == [([3, 1], 1.0), ([0], 1.0), ([2], 1.0)]


def test_rows_are_dealt_by_length() -> None:
    assert parts_of(2, [4, 3, 7, 2], 8) == [[([3, 0], 1.0)], [([1], 1.0), ([2], 1.0)]]  # lengths 2, 4 and 3, 7


def test_in_shards_the_passes_are_equal_and_the_repeated_ones_count_nothing() -> None:
    assert parts_of(2, [4, 3, 7, 2], 8, sharded=True) == [
        [([3, 0], 1.0), ([3, 0], 0.0)],
        [([1], 1.0), ([2], 1.0)],
    ]
    assert parts_of(2, [5], 8, sharded=True) == [[([0], 1.0)], [([0], 0.0)]]


@given(st.integers(1, 5), st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(1, 90), st.booleans())
def test_every_row_is_run_once(count: int, lengths: list[int], tokens: int, sharded: bool) -> None:
    parts = parts_of(count, lengths, tokens, sharded=sharded)
    counted = [row for mine in parts for rows, weight in mine if weight == 1.0 for row in rows]
    assert sorted(counted) == list(range(len(lengths)))
    if sharded:
        assert len({len(mine) for mine in parts}) == 1
    shares = [sum(lengths[row] for rows, weight in mine if weight for row in rows) for mine in parts]
    assert max(shares) - min(shares) <= max(lengths)


@given(st.integers(1, 5), st.integers(0, 20))
def test_blocks_follow_each_other(count: int, total: int) -> None:
    found = []
    for rank in range(count):
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {"LOCAL_RANK": rank, "RANK": rank, "WORLD_SIZE": count}.items():
                patch.setenv(name, str(value))
            found.append(processes.my_block(total))
    assert [i for block in found for i in block] == list(range(total))
    assert max(map(len, found)) - min(map(len, found)) <= 1


def test_extremes_are_not_summed() -> None:
    """``gathered`` of one process is its own; the rule for names is the same for many."""
    assert processes.sum_metrics({"ratio_max": 2.0}, {"ratio_max": max}) == {"ratio_max": 2.0}
