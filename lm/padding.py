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


def by_length(lengths: Sequence[int], tokens: int, waste: float = 1.0) -> Iterator[list[int]]:
    """Indices in batches of like length, each at most ``tokens`` when padded (at least one row), shortest first.

    ``waste`` is the greatest share of a batch that may be padding.
    """
    batch: list[int] = []
    total = 0
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        padded = (len(batch) + 1) * lengths[i]
        if batch and (padded > tokens or padded - total - lengths[i] > waste * padded):
            yield batch
            batch, total = [], 0
        batch.append(i)
        total += lengths[i]
    if batch:
        yield batch
