"""Hidden states where steps are read: one pass a solution, alike lengths together, shared beginnings only once."""

import copy
import itertools
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from lm.padding import by_length, pad
from prm.layout import Row

if TYPE_CHECKING:
    import torch

SHORTEST_SHARED = 8  # tokens; below that a second pass costs more than it saves
CPU_TOKENS, CPU_WASTE = 512, 0.1  # a CPU is as fast with no more at a time, so that padding would be all loss


def states_at(trunk: Any, rows: Sequence[Row], batch: Sequence[int]) -> "torch.Tensor":
    """(steps of the batch's rows, H): the trunk's last hidden states at ``ends``, row after row.

    Rows are padded on the right and the trunk is causal, so no attention mask is needed: what follows a row's end
    cannot reach into it.
    """
    import torch

    device = trunk.device
    ids = pad([rows[i].ids for i in batch], 0, torch.long).to(device)
    hidden = trunk(input_ids=ids, use_cache=False).last_hidden_state
    return gather(hidden, [rows[i].ends for i in batch])


def packed_states_at(trunk: Any, rows: Sequence[Row], batch: Sequence[int]) -> "torch.Tensor":
    """As ``states_at``, with the rows end to end in one and no padding.

    Positions begin at 0 in each row, by which transformers keeps attention within it: in FlashAttention by lengths,
    which costs nothing; elsewhere by a mask over all pairs of tokens, most of them of two rows.
    """
    import torch

    ids = torch.tensor([[token for i in batch for token in rows[i].ids]], device=trunk.device)
    positions = torch.tensor([[place for i in batch for place in range(len(rows[i].ids))]], device=trunk.device)
    hidden = trunk(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state
    begins = itertools.accumulate((len(rows[i].ids) for i in batch), initial=0)
    return gather(hidden, [[begin + end for begin, i in zip(begins, batch, strict=False) for end in rows[i].ends]])


def gather(hidden: "torch.Tensor", ends: Sequence[Sequence[int]]) -> "torch.Tensor":
    """(B, T, H) and positions of each row to (N, H), row after row."""
    import torch

    where = [(row, end) for row, places in enumerate(ends) for end in places]
    index = torch.tensor(where, dtype=torch.long, device=hidden.device).reshape(-1, 2)
    return hidden[index[:, 0], index[:, 1]]


def batched_states(
    trunk: Any, rows: Sequence[Row], keys: Sequence[str], tokens: int
) -> "Iterator[tuple[list[int], torch.Tensor]]":
    """(indices of rows, their states as ``states_at``) in batches of at most ``tokens``, covering each row once.

    Rows of one ``key`` (the problem) that begin alike are run with their common beginning computed once: its keys and
    values are copied to each of them and only the rest is run. Scores agree with the plain way to rounding.
    """
    waste = 1.0  # a GPU wants few large batches
    if trunk.device.type == "cpu":
        tokens, waste = min(tokens, CPU_TOKENS), CPU_WASTE
    shared = shared_groups(rows, keys) if shares(trunk, rows) else []
    plain = sorted(set(range(len(rows))) - {i for _, group in shared for i in group})
    for batch in by_length([len(rows[i].ids) for i in plain], tokens, waste):
        chosen = [plain[i] for i in batch]
        yield chosen, states_at(trunk, rows, chosen)
    for some in by_length([length for length, _ in shared], tokens, waste):
        yield from _shared_states(trunk, rows, [shared[g] for g in some], tokens, waste)


def shares(trunk: Any, rows: Sequence[Row]) -> bool:
    """Whether the trunk's cache keeps every token: a sliding window shorter than a row would drop the beginning."""
    window = getattr(trunk.config, "sliding_window", None)
    windowed = "sliding_attention" in (getattr(trunk.config, "layer_types", None) or ["sliding_attention"])
    longest = max((len(row.ids) for row in rows), default=0)
    return not (window and windowed and window < longest)


Group = tuple[int, list[int]]  # length of the common beginning, the rows that have it


def shared_groups(rows: Sequence[Row], keys: Sequence[str]) -> list[Group]:
    """The rows of each key with what they have in common, where that pays; shortest row first."""
    groups = []
    for _, members in groupby(sorted(range(len(rows)), key=lambda i: (keys[i], len(rows[i].ids))), lambda i: keys[i]):
        group = list(members)
        length = common_length([rows[i].ids for i in group])
        if len(group) > 1 and length >= SHORTEST_SHARED:
            groups.append((length, group))
    return groups


def common_length(ids: Sequence[list[int]]) -> int:
    """Length of the longest common prefix: that of the least and the greatest, in dictionary order."""
    low, high = min(ids), max(ids)
    return next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))


def _shared_states(
    trunk: Any, rows: Sequence[Row], groups: Sequence[Group], tokens: int, waste: float
) -> "Iterator[tuple[list[int], torch.Tensor]]":
    """As ``batched_states`` for the rows of ``groups``: first the beginnings, left-padded, then what each has left."""
    import torch

    device = trunk.device
    width = max(length for length, _ in groups)
    begun = torch.zeros((len(groups), width), dtype=torch.long, device=device)
    mask = torch.zeros_like(begun)
    for g, (length, group) in enumerate(groups):
        begun[g, width - length :] = torch.tensor(rows[group[0]].ids[:length], device=device)
        mask[g, width - length :] = 1
    places = (mask.cumsum(1) - 1).clamp(min=0)
    first = trunk(input_ids=begun, attention_mask=mask, position_ids=places, use_cache=True)
    members = [(i, g) for g, (_, group) in enumerate(groups) for i in group]
    left = [len(rows[i].ids) - groups[g][0] for i, g in members]
    run = sum(left) / (sum(left) + width * len(left))  # of a batch's tokens; the others lie in its cache
    budget = tokens if device.type == "cpu" else int(tokens * run)  # time is short on a CPU, memory on a GPU
    for batch in by_length(left, budget, waste):
        chosen = [members[b] for b in batch]
        heads, begins = first.last_hidden_state, [groups[g][0] for _, g in chosen]
        tails = heads[:, :0]
        if left[batch[-1]]:
            owners = torch.tensor([g for _, g in chosen], device=device)
            cache = copy.copy(first.past_key_values)  # selecting and appending put new tensors in a layer's place
            cache.layers = [copy.copy(layer) for layer in cache.layers]
            cache.batch_select_indices(owners)
            ids = pad([rows[i].ids[begin:] for (i, _), begin in zip(chosen, begins, strict=True)], 0, torch.long)
            ids = ids.to(device)
            tails = trunk(
                input_ids=ids,
                # Padding behind a row cannot reach into it, so only what stands before the beginnings is masked.
                attention_mask=torch.cat([mask[owners], torch.ones_like(ids)], 1),
                position_ids=torch.tensor(begins, device=device)[:, None] + torch.arange(ids.shape[1], device=device),
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state
        states = []
        for place, ((i, g), begin) in enumerate(zip(chosen, begins, strict=True)):
            early = [width - begin + end for end in rows[i].ends if end < begin]
            late = [end - begin for end in rows[i].ends if end >= begin]
            states += [heads[g, early], tails[place, late] if late else heads[g, :0]]
        yield [i for i, _ in chosen], torch.cat(states)


def check_causal(trunk: Any) -> bool:
    """Whether the state of a token is the same whatever follows it: three tokens, the last of them changed."""
    import torch

    ids = torch.tensor([[1, 2, 3], [1, 2, 4]], device=trunk.device)
    with torch.inference_mode():
        hidden = trunk(input_ids=ids, use_cache=False).last_hidden_state
    return bool(torch.allclose(hidden[0, :2], hidden[1, :2], atol=1e-4))
