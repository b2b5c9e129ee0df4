"""Published step labels (PRM800K, ProcessBench, MR-Ben, verify-then-generate, PRMBench) read as LabeledSolution.

One row a solution, in the step-label schema::

    {"id", "question", "gold_answer", "steps": [str], "labels": [1 | 0 | -1 | null], "first_error": int,
     "source", "label_type", ...}

1 is judged right, 0 neutral (PRM800K: not wrong, but no progress or unclear), -1 judged wrong, null not judged.
``first_error`` counts from 0, -1 where no step was judged wrong.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from lm.errors import UserError
from prm.scores import LabeledSolution, parse_rows
from verifiers.data import names_test_data, remove_marks
from verifiers.solution import Problem, Solution, Step
from verifiers.split import split_steps

Purpose = Literal["train", "evaluate"]
Separator = Literal["line", "paragraph"]
Neutral = Literal["right", "wrong", "drop"]
Needless = Literal["wrong", "drop"]

EVALUATION_ONLY = ("ProcessBench", "MR-Ben")  # benchmarks, never trained on whatever their file is called
NEEDLESS_TYPES = frozenset({"Reached correct solution but proceeded further", "redundency", "circular"})
REFERENCE_ORIGIN = "reference_solution"

_JOINER: Mapping[str, str] = {"line": "\n", "paragraph": "\n\n"}
_RATING_NAMES: Mapping[int | None, str] = {1: "right", 0: "neutral", -1: "wrong", None: "not judged"}


@dataclass(frozen=True)
class ReadReport:
    """What became of a file's rows and ratings.

    ``rows`` were read and ``solutions`` came out, reference solutions included.  ``ratings`` counts the file's own
    values ("right", "neutral", "wrong", "not judged"), each rating once, before any policy and over all rows.
    ``dropped_rows`` and ``dropped_labels`` (the latter of rows that were kept) count what was left out, by reason.
    ``neutral`` is the policy used, to be reported with any result.
    """

    rows: int
    solutions: int
    ratings: Mapping[str, int]
    dropped_rows: Mapping[str, int]
    dropped_labels: Mapping[str, int]
    neutral: Neutral

    def __str__(self) -> str:
        parts = [f"{self.rows} rows -> {self.solutions} solutions", f"ratings: {_listed(self.ratings)}"]
        if self.ratings.get("neutral"):
            parts.append(f"neutral: {self.neutral}")
        parts += [f"dropped rows: {_listed(self.dropped_rows)}"] if self.dropped_rows else []
        parts += [f"dropped labels: {_listed(self.dropped_labels)}"] if self.dropped_labels else []
        return "; ".join(parts)


@dataclass(frozen=True)
class _Row:
    """One row as checked: S stripped steps and their ratings; ratings before ``new_from`` repeat another row's."""

    problem: Problem
    steps: tuple[str, ...]
    ratings: tuple[int | None, ...]
    new_from: int
    label_type: str
    source: str
    error_type: str
    reference: str


def read_step_labels(
    path: str | Path,
    *,
    purpose: Purpose,
    separator: Separator = "paragraph",
    neutral: Neutral = "right",
    needless: Needless = "wrong",
    references: bool = False,
    limit: int | None = None,
) -> tuple[list[LabeledSolution], ReadReport]:
    """The labelled solutions of (the first ``limit`` rows of) a file in the step-label schema, and what was left out.

    * Steps are stripped and joined by a line break or (default) a blank line; their spans are exact either way.  Steps
      of PRM800K and ProcessBench hold line breaks, so there only "paragraph" lets ``split_steps`` find them again.
    * PRM800K's paths repeat their prefixes: labels before ``new_from`` become None, so that each rating counts once.
    * ``neutral`` says what a 0 is.  "right" is what OpenAI did (Lightman et al. 2023); "drop" leaves it unlabelled.
    * Steps after a human's first error were not judged: None.
    * ``needless="drop"`` unlabels wrong steps whose error type says not asked for rather than false (steps after the
      solution was reached; PRMBench's "redundency" and "circular").
    * ``references`` adds each problem's ``reference_solution`` once, its lines labelled right.  All solutions of
      verify-then-generate are wrong, so without these that file teaches only "wrong".
    * Rows that end with no label are dropped; so are, for ``purpose="train"``, rows whose id names test data
      (PRMBench's "prm_test" rows use MATH-500 problems).

    Labels carry the row's ``label_type`` as origin.  ``problem.id`` is the row's id, so group by question, not by id;
    ``problem.answer`` is "" where the file knows no gold answer.  PRM800K's wrong steps all stand last in their path:
    score each step from its prefix only, or a model learns where texts end.

    Raises UserError for a malformed row (file and line), and for ``purpose="train"`` with a test file or a benchmark.
    """
    if purpose == "train" and names_test_data(Path(path).name):
        raise UserError(f"{path}: the name says test data, never train on it; choose a training file")
    solutions: list[LabeledSolution] = []
    ratings: Counter[str] = Counter()
    dropped_rows: Counter[str] = Counter()
    dropped_labels: Counter[str] = Counter()
    referenced: set[str] = set()
    rows = 0
    for row in islice(parse_rows(path, _check), limit):
        rows += 1
        if purpose == "train" and row.source.startswith(EVALUATION_ONLY):
            raise UserError(f"{path}: {row.source} is a benchmark, never train on it; choose a training file")
        ratings.update(_RATING_NAMES[rating] for rating in row.ratings[row.new_from :])
        if purpose == "train" and names_test_data(row.problem.id):
            dropped_rows["id names test data"] += 1
            continue
        labels, unlabelled = _labels(row, neutral, needless)
        if references and row.reference and row.problem.question not in referenced:
            referenced.add(row.problem.question)
            solutions.append(_reference(row, separator))
        if all(label is None for label in labels):
            dropped_rows["no label left"] += 1
            continue
        dropped_labels.update(unlabelled)
        origins = tuple(None if label is None else row.label_type for label in labels)
        solutions.append(LabeledSolution(_join(row.problem, row.steps, separator), labels, origins))
    if not solutions:
        raise UserError(f"{path}: no labelled solution left ({_listed(dropped_rows)}); choose another file or policy")
    return solutions, ReadReport(rows, len(solutions), ratings, dropped_rows, dropped_labels, neutral)


def _labels(row: _Row, neutral: Neutral, needless: Needless) -> tuple[tuple[float | None, ...], Counter[str]]:
    """The row's S labels under the two policies, and how many judged steps were left unlabelled, by reason."""
    labels: list[float | None] = []
    unlabelled: Counter[str] = Counter()
    for index, rating in enumerate(row.ratings):
        reason = None
        if rating is not None and index < row.new_from:
            reason = "repeats another row's rating"
        elif rating == 0 and neutral == "drop":
            reason = "neutral"
        elif rating == -1 and needless == "drop" and row.error_type in NEEDLESS_TYPES:
            reason = "needless, not false"
        if rating is None or reason is not None:
            labels.append(None)
            unlabelled.update([reason] if reason else [])
        else:
            labels.append(float(rating == 1 or (rating == 0 and neutral == "right")))
    return tuple(labels), unlabelled


def _join(problem: Problem, steps: tuple[str, ...], separator: Separator) -> Solution:
    """The steps joined into one text, each with its exact span."""
    joiner, spans, start = _JOINER[separator], [], 0
    for text in steps:
        spans.append(Step(text, start, start + len(text)))
        start += len(text) + len(joiner)
    return Solution(problem, joiner.join(steps), tuple(spans))


def _reference(row: _Row, separator: Separator) -> LabeledSolution:
    problem = Problem(f"{row.problem.id}/reference", row.problem.question, row.problem.answer)
    steps = tuple(step.text for step in split_steps(remove_marks(row.reference), "line"))
    count = len(steps)
    return LabeledSolution(_join(problem, steps, separator), (1.0,) * count, (REFERENCE_ORIGIN,) * count)


def _check(row: Mapping[str, Any]) -> _Row:
    """The row with every field checked; ValueError names the field that is missing, malformed or contradictory."""
    steps = _strings(row, "steps")
    ratings = row.get("labels")
    if not isinstance(ratings, list) or len(ratings) != len(steps):
        raise ValueError(f"'labels' must be a list of {len(steps)}, one a step")
    if any(rating not in (1, 0, -1, None) or isinstance(rating, bool | float) for rating in ratings):
        raise ValueError(f"'labels' must hold only 1, 0, -1 and null: {ratings}")
    first_error = ratings.index(-1) if -1 in ratings else -1
    if row.get("first_error", first_error) != first_error:
        raise ValueError(f"'first_error' is {row['first_error']!r}, but the labels say {first_error} (counted from 0)")
    new_from = row.get("new_from", 0)
    if not isinstance(new_from, int) or not 0 <= new_from <= len(steps):
        raise ValueError(f"'new_from' is {new_from!r}; it must be a step's index")
    return _Row(
        problem=Problem(_string(row, "id"), _string(row, "question"), _string(row, "gold_answer", "")),
        steps=tuple(steps),
        ratings=tuple(ratings),
        new_from=new_from,
        label_type=_string(row, "label_type"),
        source=_string(row, "source", ""),
        error_type=_string(row, "error_type", ""),
        reference=_string(row, "reference_solution", ""),
    )


def _strings(row: Mapping[str, Any], name: str) -> list[str]:
    values = row.get(name)
    if not isinstance(values, list) or not values:
        raise ValueError(f"{name!r} must be a list of at least one text")
    for index, value in enumerate(values):
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{name}[{index}] is {value!r}; a step must be text that is not blank")
    return [value.strip() for value in values]


def _string(row: Mapping[str, Any], name: str, absent: str | None = None) -> str:
    """The text of a field; ``absent`` (where given) stands for a field that is missing or null."""
    value = row.get(name)
    if value is None and absent is not None:
        return absent
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name!r} is {value!r}; it must be text")
    return value


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"
