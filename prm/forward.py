"""Hidden states where steps are read: one pass a solution, alike lengths together, shared beginnings only once."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from lm.padding import by_length, pad
from prm.layout import Row

if TYPE_CHECKING:
    import torch

SHORTEST_SHARED = 8  # tokens; below that a second pass costs more than it saves


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
    shared, plain = (shared_groups(rows, keys), []) if shares(trunk, rows) else ([], list(range(len(rows))))
    grouped = {i for _, group in shared for i in group}
    plain = plain or [i for i in range(len(rows)) if i not in grouped]
    for batch in by_length([len(rows[i].ids) for i in plain], tokens):
        chosen = [plain[i] for i in batch]
        yield chosen, states_at(trunk, rows, chosen)
    for pieces in _pack(rows, shared, tokens):
        chosen = [i for _, group in pieces for i in group]
        yield chosen, _shared_states(trunk, rows, pieces)


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
        length = _common([rows[i].ids for i in group])
        if len(group) > 1 and length >= SHORTEST_SHARED:
            groups.append((length, group))
    return groups


def _common(ids: Sequence[list[int]]) -> int:
    """Length of the longest common prefix: that of the least and the greatest, in dictionary order."""
    low, high = min(ids), max(ids)
    return next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))


def _pack(rows: Sequence[Row], groups: Sequence[Group], tokens: int) -> Iterator[list[Group]]:
    """Groups of like lengths side by side, each batch at most ``tokens`` when padded; a large group is cut."""
    pieces = []
    for length, group in groups:
        for part in by_length([len(rows[i].ids) for i in group], tokens):
            pieces.append((length, [group[i] for i in part]))

    def size(piece: Group) -> int:
        return max(len(rows[i].ids) for i in piece[1])

    batch: list[Group] = []
    count = 0
    for piece in sorted(pieces, key=size):
        if batch and (count + len(piece[1])) * size(piece) > tokens:
            yield batch
            batch, count = [], 0
        batch.append(piece)
        count += len(piece[1])
    if batch:
        yield batch


def _shared_states(trunk: Any, rows: Sequence[Row], groups: Sequence[Group]) -> "torch.Tensor":
    """As ``states_at`` for the rows of ``groups``: the beginnings first, left-padded; then every row's own rest."""
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
    heads = first.last_hidden_state

    owner = [g for g, (_, group) in enumerate(groups) for _ in group]
    members = [i for _, group in groups for i in group]
    begins = [groups[g][0] for g in owner]
    rest = [rows[i].ids[b:] for i, b in zip(members, begins, strict=True)]
    tails = heads[:0, :0]
    if any(rest):
        index = torch.tensor(owner, device=device)
        cache = first.past_key_values
        cache.batch_select_indices(index)
        ids = pad(rest, 0, torch.long).to(device)
        # Padding behind a row cannot reach into it, so only what stands before the beginnings is masked.
        seen = torch.cat([mask[index], torch.ones_like(ids)], 1)
        positions = torch.tensor(begins, device=device)[:, None] + torch.arange(ids.shape[1], device=device)
        tails = trunk(
            input_ids=ids, attention_mask=seen, position_ids=positions, past_key_values=cache, use_cache=True
        ).last_hidden_state
    states = []
    for row, (i, g, begin) in enumerate(zip(members, owner, begins, strict=True)):
        ends = rows[i].ends
        early = [width - begin + end for end in ends if end < begin]
        late = [end - begin for end in ends if end >= begin]
        states += [heads[g, early], tails[row, late] if late else heads[g, :0]]
    return torch.cat(states)


def check_causal(trunk: Any) -> bool:
    """Whether the state of a token is the same whatever follows it: three tokens, the last of them changed."""
    import torch

    ids = torch.tensor([[1, 2, 3], [1, 2, 4]], device=trunk.device)
    with torch.inference_mode():
        hidden = trunk(input_ids=ids, use_cache=False).last_hidden_state
    return bool(torch.allclose(hidden[0, :2], hidden[1, :2], atol=1e-4))
