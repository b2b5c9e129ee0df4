"""Solutions that begin alike as one tree of tokens: in training, what they share is run once whatever follows it.

The paths of PRM800K repeat their beginnings some eight times over; a tree of them costs what their new steps cost. Each
token sees those before it in its own solution and no others, so states and gradients are what they were, to rounding.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from lm.padding import pad
from prm.fit import Example
from prm.forward import common_length, gather
from prm.layout import Row

if TYPE_CHECKING:
    import torch


def grow(rows: Sequence[Row]) -> Row:
    """One tree of some rows, its tokens depth first; one end for each end of theirs, in their order."""
    tree, parents = list[int](), list[int]()
    ends: list[list[int]] = [[] for _ in rows]
    path, before = list[int](), list[int]()
    for place in sorted(range(len(rows)), key=lambda i: rows[i].ids):  # so that neighbours share most
        ids = rows[place].ids
        del path[common_length([before, ids]) :]
        for token in ids[len(path) :]:
            parents.append(path[-1] if path else -1)
            path.append(len(tree))
            tree.append(token)
        ends[place] = [path[end] for end in rows[place].ends]
        before = ids
    return Row(tree, [end for places in ends for end in places], 0, parents=parents)


def grown(examples: Sequence[Example], tokens: int) -> list[Example]:
    """The examples of each prompt in trees of at most ``tokens`` (a longer solution is a tree by itself)."""

    def prompt(example: Example) -> list[int]:
        return example.row.ids[: example.row.start]

    trees = []
    for _, group in groupby(sorted(examples, key=lambda e: (prompt(e), e.row.ids)), prompt):
        for some in _filled(list(group), tokens):
            targets, weights = ([x for e in some for x in getattr(e, name)] for name in ("targets", "weights"))
            trees.append(Example(grow([e.row for e in some]), targets, weights))
    return trees


def _filled(group: Sequence[Example], tokens: int) -> Iterator[list[Example]]:
    """Neighbours of a sorted group, as many as fit a tree."""
    some: list[Example] = []
    total = 0
    for example in group:
        ids = example.row.ids
        new = len(ids) - (common_length([some[-1].row.ids, ids]) if some else 0)
        if some and total + new > tokens:
            yield some
            some, total, new = [], 0, len(ids)
        some.append(example)
        total += new
    yield some


def tree_states_at(trunk: Any, rows: Sequence[Row], batch: Sequence[int]) -> "torch.Tensor":
    """(ends of the batch's trees, H): the trunk's last hidden states there, as ``states_at`` of their solutions."""
    import torch

    chosen = [rows[i] for i in batch]
    width = max(len(row.ids) for row in chosen)
    sees = torch.eye(width, dtype=torch.bool).repeat(len(chosen), 1, 1)  # padding sees itself, lest its state be nan
    for place, row in enumerate(chosen):
        sees[place, : len(row.ids), : len(row.ids)] = torch.from_numpy(ancestors(row.parents))
    mask = torch.zeros(sees.shape, dtype=trunk.dtype).masked_fill(~sees, torch.finfo(trunk.dtype).min)
    hidden = trunk(
        input_ids=pad([row.ids for row in chosen], 0, torch.long).to(trunk.device),
        position_ids=pad([depths(row.parents) for row in chosen], 0, torch.long).to(trunk.device),
        attention_mask=mask[:, None].to(trunk.device),
        use_cache=False,
    ).last_hidden_state
    return gather(hidden, [row.ends for row in chosen])


def depths(parents: Sequence[int]) -> list[int]:
    """How many tokens stand before each in its solution."""
    found: list[int] = []
    for parent in parents:
        found.append(found[parent] + 1 if parent >= 0 else 0)
    return found


def ancestors(parents: Sequence[int]) -> np.ndarray:
    """(T, T): whether token j is i or stands before it in its solution. Depth first, what follows j is one stretch."""
    last = np.arange(len(parents))
    for i in range(len(parents) - 1, 0, -1):
        if parents[i] >= 0:
            last[parents[i]] = max(last[parents[i]], last[i])
    here = np.arange(len(parents))
    return (here[None, :] <= here[:, None]) & (here[:, None] <= last[None, :])
