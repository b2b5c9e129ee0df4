"""What is said about the steps of a solution: a model's scores, and the labels a model learns from."""

import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from lm.errors import UserError
from prm.fields import encodable
from verifiers.rows import DataError, hub_rows, read_rows
from verifiers.solution import Problem, Solution
from verifiers.split import steps_at

T = TypeVar("T")
Aggregation = Literal["min", "product", "mean", "last", "softmin"]
SOFTMIN_TEMPERATURE = 0.1  # PURE's


def softmin(values: np.ndarray, temperature: float = SOFTMIN_TEMPERATURE) -> float:
    """Σ_i w_i v_i with w = softmax(−v / T), (S,): near the least value, yet every step has a say (PURE, Cheng et al.
    2025, arXiv:2504.15275). PURE weighs rewards 2p − 1 in [−1, 1]: its T = 0.1 on them is T = 0.05 on probabilities."""
    weights = np.exp((values.min() - values) / temperature)
    return float(weights @ values / weights.sum())


_AGGREGATE: Mapping[str, Callable[[np.ndarray], float]] = {
    "min": np.min,
    "product": np.prod,
    "mean": np.mean,
    "last": lambda probabilities: probabilities[-1],
    "softmin": lambda probabilities: softmin(probabilities, SOFTMIN_TEMPERATURE / 2),
}


@dataclass(frozen=True, eq=False)
class StepScores:
    """``probabilities`` (S,), float64, read-only: P(step right | the problem and the steps before it).

    ``outcome``: the model judged the solution as a whole; every step carries that number and every rule returns it.
    ``unsaid`` are the steps that a critique gave no verdict on; they stand at 0.5.
    """

    probabilities: np.ndarray
    outcome: bool = False
    unsaid: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        probabilities = np.array(self.probabilities, dtype=np.float64)
        if probabilities.ndim != 1:
            raise ValueError(f"step probabilities must have shape (S,), not {probabilities.shape}")
        if not np.all((probabilities >= 0) & (probabilities <= 1)):  # NaN fails this too
            raise ValueError(f"step probabilities must lie in [0, 1]: {probabilities}")
        probabilities.flags.writeable = False
        object.__setattr__(self, "probabilities", probabilities)

    def aggregate(self, how: Aggregation) -> float:
        """One number in [0, 1] for the solution: "product" is P(every step right) (Lightman et al. 2023, §2.6),
        "min" the weakest step (Wang et al. 2024, Math-Shepherd), "softmin" nearly so, "mean" and "last" the plain ones.

        A solution with no steps scores 0.0 whatever the rule: it shows no reasoning, and the empty product, 1,
        would make saying nothing the best answer.
        """
        if how not in _AGGREGATE:
            raise ValueError(f"aggregation is {how!r}; use one of {', '.join(_AGGREGATE)}")
        if self.probabilities.size == 0:
            return 0.0
        return float(_AGGREGATE["last" if self.outcome else how](self.probabilities))


@dataclass(frozen=True)
class LabeledSolution:
    """A solution whose S steps carry labels.

    ``labels[i]`` in [0, 1] is how right step i is (1.0 right, 0.0 wrong, between for an estimate), None where nobody
    looked.  ``origins[i]`` says where the label came from ("human_each_step", "monte-carlo", ...).
    Raises ValueError for lengths that differ from S or labels outside [0, 1].
    """

    solution: Solution
    labels: tuple[float | None, ...]
    origins: tuple[str | None, ...]

    def __post_init__(self) -> None:
        steps = len(self.solution.steps)
        if len(self.labels) != steps or len(self.origins) != steps:
            raise ValueError(f"{steps} steps, {len(self.labels)} labels, {len(self.origins)} origins: must be equal")
        for index, label in enumerate(self.labels):
            if label is None:
                continue
            if isinstance(label, bool) or not isinstance(label, int | float) or not 0 <= label <= 1:
                raise ValueError(f"label {index} is {label!r}; a label is a number in [0, 1], or None")
        for index, origin in enumerate(self.origins):
            if origin is not None and not isinstance(origin, str):
                raise ValueError(f"origin {index} is {origin!r}; an origin is text, or None")

    def first_error(self, threshold: float = 0.5) -> int:
        """Index of the first step whose label is below ``threshold``; -1 where no step was judged wrong.

        Steps nobody looked at are skipped, so -1 does not say that every step is right.
        """
        wrong = (i for i, label in enumerate(self.labels) if label is not None and label < threshold)
        return next(wrong, -1)

    def to_json(self) -> dict[str, Any]:
        """JSON-able: id, question, answer, text, steps [[start, end], ...], labels, origins."""
        problem = self.solution.problem
        return {
            "id": problem.id,
            "question": problem.question,
            "answer": problem.answer,
            "text": self.solution.text,
            "steps": [[step.start, step.end] for step in self.solution.steps],
            "labels": list(self.labels),
            "origins": list(self.origins),
        }

    @staticmethod
    def from_json(row: Mapping[str, Any]) -> "LabeledSolution":
        """The inverse of :meth:`to_json`; ValueError names the field that is missing or malformed."""
        fields = {name: _text(row, name) for name in ("id", "question", "answer", "text")}
        text = fields.pop("text")
        solution = Solution(Problem(**fields), text, steps_at(text, _list(row, "steps")))
        return LabeledSolution(solution, tuple(_list(row, "labels")), tuple(_list(row, "origins")))


def judged_steps(scores: Sequence[StepScores], items: Sequence[LabeledSolution]) -> tuple[np.ndarray, np.ndarray]:
    """(probabilities, labels) of all judged steps, both (N,)."""
    pairs = [
        (p, y)
        for s, item in zip(scores, items, strict=True)
        for p, y in zip(s.probabilities, item.labels, strict=True)
        if y is not None
    ]
    return np.array([p for p, _ in pairs]), np.array([y for _, y in pairs])


def write_labeled(path: str | Path, items: Iterable[LabeledSolution]) -> int:
    """One JSON object a line to ``path`` (gzipped where it ends in .gz); returns how many were written."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")  # renamed when complete: a killed run leaves no half file
    count = 0
    with (
        gzip.open(partial, "wt", encoding="utf-8") if path.suffix == ".gz" else partial.open("w", encoding="utf-8") as f
    ):
        for item in items:
            f.write(json.dumps(item.to_json(), ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
    partial.replace(path)
    return count


def read_labeled(path: str | Path) -> list[LabeledSolution]:
    """What :func:`write_labeled` wrote; a UserError names the file and line of anything malformed."""
    return list(parse_rows(path, LabeledSolution.from_json))


def parse_rows(path: str | Path, parse: Callable[[Mapping[str, Any]], T], *, from_hub: bool = False) -> Iterator[T]:
    """``parse(row)`` for each row of a file, or ``from_hub`` of the train split of the data set that ``path`` names; a
    ValueError of ``parse`` becomes a UserError that names file and line."""
    try:
        for where, row in hub_rows(str(path), None, "train") if from_hub else read_rows(path):
            try:
                item = parse(row)
            except ValueError as error:
                raise UserError(f"{where}: {error}") from error
            yield item
    except DataError as error:
        raise UserError(str(error)) from error


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name!r} must be text, not {value!r}" if name in row else f"no {name!r}")
    return encodable(value, repr(name))


def _list(row: Mapping[str, Any], name: str) -> list[Any]:
    value = row.get(name)
    if not isinstance(value, list):
        raise ValueError(f"{name!r} must be a list, not {value!r}" if name in row else f"no {name!r}")
    return value
