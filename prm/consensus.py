"""Several labellers of the same solutions: how far they agree, and one labelling made of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from prm.labelling import MONTE_CARLO
from prm.metrics import auc
from prm.omega import INFERRED, OMEGA
from prm.scores import LabeledSolution

Keep = Literal["any", "agreeing_steps", "consensus"]

# A share of roll-outs above 0 says that the answer can be reached (Wang et al. 2024, eq. 3); other labels are
# probabilities, and a step is right where it is likelier right than wrong.
_REACHABLE = frozenset({MONTE_CARLO, OMEGA, INFERRED})


def is_right(label: float, origin: str | None) -> bool:
    """The label as a verdict, by the rule of where it came from."""
    return label > 0 if origin in _REACHABLE else label >= 0.5


def verdicts(item: LabeledSolution) -> tuple[bool | None, ...]:
    """(S,) right, wrong, or None where nobody looked."""
    pairs = zip(item.labels, item.origins, strict=True)
    return tuple(None if label is None else is_right(label, origin) for label, origin in pairs)


def first_wrong(item: LabeledSolution) -> int:
    """Index of the first step judged wrong, -1 where none was."""
    return next((i for i, right in enumerate(verdicts(item)) if right is False), -1)


@dataclass(frozen=True)
class Agreement:
    """How two labellers compare on the steps that both judged. ``table[i][j]``: first said i, second said j (0, 1).

    ``first_errors`` is the share of the solutions that both judged in which they find the same first error, or none.
    """

    both: int
    agree: float
    kappa: float
    auc: float
    table: tuple[tuple[int, int], tuple[int, int]]
    first_errors: float


def agreement(first: Sequence[LabeledSolution], second: Sequence[LabeledSolution]) -> Agreement:
    """Compare two labellings of the same solutions, as verdicts for table and kappa.

    ``kappa`` is Cohen's (1960); ``auc`` ranks the steps by the second's labels against the first's verdicts. Numbers
    that need both classes, or any step at all, are nan without.
    """
    table = np.zeros((2, 2), dtype=int)
    scores: list[float] = []
    right: list[bool] = []
    same = [first_wrong(x) == first_wrong(y) for x, y in zip(first, second, strict=True) if _judged(x) and _judged(y)]
    for x, y in zip(first, second, strict=True):
        for a, b, score in zip(verdicts(x), verdicts(y), y.labels, strict=True):
            if a is not None and b is not None and score is not None:
                table[int(a), int(b)] += 1
                right.append(a)
                scores.append(score)
    total = max(1, len(right))
    observed = float(table.trace() / total)
    expected = float((table.sum(0) * table.sum(1)).sum() / total**2)
    kappa = (observed - expected) / (1 - expected) if expected < 1 else float("nan")
    (a00, a01), (a10, a11) = table.tolist()
    found = sum(same) / len(same) if same else float("nan")
    return Agreement(len(right), observed, kappa, auc(scores, right), ((a00, a01), (a10, a11)), found)


def mix(labellings: Sequence[Sequence[LabeledSolution]], keep: Keep) -> list[LabeledSolution]:
    """One labelling of several (lists of the same solutions, the most trusted first); none where it leaves no label.

    * "any": each step has the label of the first labeller that judged it.
    * "agreeing_steps": a step keeps the first labeller's label where at least two judged it and all say the same.
    * "consensus": a solution is kept where all labellers judged it and find the same first error, or none: 1 before it,
      0 on it, None after it, as Qwen2.5-Math-PRM kept the solutions on which Monte Carlo and a judge agree (Zhang et
      al. 2025).
    """
    mixed = [_MIX[keep](items) for items in zip(*labellings, strict=True)]
    return [item for item in mixed if item is not None and _judged(item)]


def _judged(item: LabeledSolution) -> bool:
    return any(label is not None for label in item.labels)


def _first_to_judge(items: Sequence[LabeledSolution]) -> LabeledSolution:
    labels: list[float | None] = []
    origins: list[str | None] = []
    for step in range(len(items[0].labels)):
        by = next((item for item in items if item.labels[step] is not None), items[0])
        labels.append(by.labels[step])
        origins.append(by.origins[step])
    return LabeledSolution(items[0].solution, tuple(labels), tuple(origins))


def _where_all_agree(items: Sequence[LabeledSolution]) -> LabeledSolution:
    said = list(zip(*map(verdicts, items), strict=True))
    labels: list[float | None] = []
    origins: list[str | None] = []
    for step, verdict in enumerate(said):
        by = [item for item, right in zip(items, verdict, strict=True) if right is not None]
        agree = len(by) > 1 and len({right for right in verdict if right is not None}) == 1
        labels.append(by[0].labels[step] if agree else None)
        origins.append("+".join(str(item.origins[step]) for item in by) if agree else None)
    return LabeledSolution(items[0].solution, tuple(labels), tuple(origins))


def _same_first_error(items: Sequence[LabeledSolution]) -> LabeledSolution | None:
    errors = {first_wrong(item) for item in items}
    if len(errors) > 1 or not all(map(_judged, items)):
        return None
    (error,) = errors
    labels: list[float | None] = []
    origins: list[str | None] = []
    for step in range(len(items[0].labels)):
        by = [item.origins[step] for item in items if item.labels[step] is not None]
        known = bool(by) and (error < 0 or step <= error)
        labels.append(float(step != error) if known else None)
        origins.append("+".join(map(str, by)) if known else None)
    return LabeledSolution(items[0].solution, tuple(labels), tuple(origins))


_MIX = {"any": _first_to_judge, "agreeing_steps": _where_all_agree, "consensus": _same_first_error}
