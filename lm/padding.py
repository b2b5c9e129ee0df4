"""Ragged lists to rectangles and back: the only place in `lm` and `prm` where sequences are padded."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def pad(rows: "Sequence[Sequence[int | float]]", value: float, dtype: "torch.dtype") -> "torch.Tensor":
    """Rows of different lengths to (B, T), filled with ``value`` on the right."""
    import torch

    out = torch.full((len(rows), max(map(len, rows))), value, dtype=dtype)
    for i, row in enumerate(rows):
        out[i, : len(row)] = torch.as_tensor(row, dtype=dtype)
    return out


def by_length(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Indices in batches of like length, each at most ``tokens`` when padded (at least one row), shortest first."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if batch and (len(batch) + 1) * lengths[i] > tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
