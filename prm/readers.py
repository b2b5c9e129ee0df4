"""Published step labels, and Rung's own, read as LabeledSolution: what each label means, and what was left out and why.

prm/label_formats.py knows the layouts; here are the policies: what a neutral step counts as, what is never trained on,
which rows are dropped.
"""

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar

from lm.errors import UserError
from prm.fields import identity, text
from prm.label_formats import JudgedSteps, Judgement, LeftOutError, parse
from prm.scores import LabeledSolution
from verifiers.data import DataError, names_test_data, read_rows, remove_marks
from verifiers.rows import FORMATS, Row, hub_rows
from verifiers.solution import Problem, Solution
from verifiers.split import Separator, join_steps, split_steps

T = TypeVar("T")
Purpose = Literal["train", "evaluate"]
Neutral = Literal["right", "wrong", "drop"]
Needless = Literal["wrong", "drop"]
OnBadRow = Literal["error", "skip"]

EVALUATION_ONLY = ("ProcessBench", "MR-Ben")  # benchmarks, never trained on whatever their file is called
NEEDLESS_TYPES = frozenset({"Reached correct solution but proceeded further", "redundency", "circular"})
REFERENCE_ORIGIN = "reference_solution"

_HUB_PLACE = re.compile(r"(?P<name>\w[\w.-]*(?:/\w[\w.-]*)?)(?:/(?P<config>[\w.-]+))?(?::(?P<split>[\w.-]+))?")


@dataclass(frozen=True)
class ReadReport:
    """What became of a file's rows and judgements.

    ``rows`` were read and ``solutions`` came out (a tree holds many; reference solutions included).  ``ratings`` counts
    the file's own judgements ("right", "wrong", "estimated", "neutral", "disputed", "not judged"), each once, before
    any policy and over all rows.  ``dropped_rows`` and ``dropped_labels`` (the latter of rows that were kept) count
    what was left out, by reason; ``malformed`` tells of the rows that could not be read, file, line and fault.
    ``neutral`` is the policy used, to be reported with any result.
    """

    rows: int
    solutions: int
    ratings: Mapping[str, int]
    dropped_rows: Mapping[str, int]
    dropped_labels: Mapping[str, int]
    neutral: Neutral
    malformed: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"{self.rows} rows -> {self.solutions} solutions", f"ratings: {_listed(self.ratings)}"]
        if self.ratings.get("neutral"):
            parts.append(f"neutral: {self.neutral}")
        parts += [f"dropped rows: {_listed(self.dropped_rows)}"] if self.dropped_rows else []
        parts += [f"dropped labels: {_listed(self.dropped_labels)}"] if self.dropped_labels else []
        lines = ["; ".join(parts), *(f"  malformed: {message}" for message in self.malformed[:5])]
        return "\n".join([*lines, *(["  ..."] if len(self.malformed) > 5 else [])])


def read_step_labels(
    source: str | Path,
    *,
    purpose: Purpose,
    separator: Separator = "paragraph",
    neutral: Neutral = "right",
    needless: Needless = "wrong",
    references: bool = False,
    on_bad_row: OnBadRow = "error",
    keep_unlabelled: bool = False,
    limit: int | None = None,
) -> tuple[list[LabeledSolution], ReadReport]:
    """The labelled solutions of (the first ``limit`` rows of) a source, and what was left out.

    ``source`` is a .jsonl(.gz), .json or .parquet file, or a hub data set as "owner/name", "owner/name:split" or
    "owner/name/configuration:split", or "folder:split" of a copy (without a split: train or test, by ``purpose``).  The
    rows may be in any layout of prm/label_formats.py, or what ``write_labeled`` wrote, which comes back as it was; or
    have a "question" and a "text" without labels, cut into steps at ``separator``.

    * Steps are stripped and joined by a line break or (default) a blank line; their spans are exact either way.  Steps
      of PRM800K and ProcessBench hold line breaks, so there only "paragraph" lets ``split_steps`` find them again.
    * Paths through a tree (PRM800K, MATH-APS) repeat their beginnings: there each judgement counts in one path.
    * ``neutral`` says what a 0 is.  "right" is what OpenAI did (Lightman et al. 2023); "drop" leaves it unlabelled.
    * Steps after a human's first error were not judged: None.  So are steps whose labellers disagree.
    * ``needless="drop"`` unlabels wrong steps whose error type says not asked for rather than false (steps after the
      solution was reached; PRMBench's "redundency" and "circular").
    * ``references`` adds each problem's ``reference_solution`` once, its lines labelled right.  All solutions of
      verify-then-generate are wrong, so without these that file teaches only "wrong".
    * Rows that end with no label are dropped, unless ``keep_unlabelled``; so are, for ``purpose="train"``, rows whose
      id names test data (PRMBench's "prm_test" rows use MATH-500 problems).
    * ``on_bad_row`` says what a malformed row is: an end, or a line in the report.

    Labels carry the layout's origin.  ``problem.id`` is the row's id, so group by question, not by id;
    ``problem.answer`` is "" where the file knows no gold answer.  PRM800K's wrong steps all stand last in their path:
    score each step from its prefix only, or a model learns where texts end.

    Raises UserError for a malformed row (file and line), and for ``purpose="train"`` with test data or a benchmark.
    """
    counts = _Counts()
    solutions: list[LabeledSolution] = []
    referenced: set[str] = set()

    def bad(error: ValueError) -> None:
        if on_bad_row == "error":
            raise UserError(f"{error}; on_bad_row=skip leaves such rows out") from error
        counts.malformed.append(str(error))

    for found in islice(_parsed(_rows(source, purpose, bad), separator, bad), limit):
        counts.rows += 1
        if isinstance(found, str):
            counts.dropped_rows[found] += 1
            continue
        for item in found:
            dropped: Counter[str] = Counter()
            if isinstance(item, JudgedSteps):
                if purpose == "train" and item.source.startswith(EVALUATION_ONLY):
                    raise UserError(f"{source}: {item.source} is a benchmark, never train on it; choose another file")
                counts.ratings.update(map(_rating, item.judgements[item.new_from :]))
                if references and item.reference and item.problem.question not in referenced:
                    referenced.add(item.problem.question)
                    solutions.append(_reference(item, separator))
                if purpose == "train" and names_test_data(item.problem.id):
                    counts.dropped_rows["id names test data"] += 1
                    continue
                item, dropped = _labelled(item, separator, neutral, needless)
            else:
                counts.ratings.update(map(_rating, item.labels))
            if not keep_unlabelled and all(label is None for label in item.labels):
                counts.dropped_rows["no label left"] += 1
                continue
            counts.dropped_labels.update(dropped)
            solutions.append(item)
    report = counts.report(len(solutions), neutral)
    if not solutions:
        why = "; ".join([_listed(report.dropped_rows), *report.malformed[:1]])
        raise UserError(f"{source}: no labelled solution left ({why}); choose another file or policy")
    return solutions, report


def read_parsed(path: str | Path, parse: Callable[[str, Mapping[str, Any]], T], on_bad_row: OnBadRow) -> list[T]:
    """``parse(where, row)`` of each row of a file, ``where`` being its file and line.

    A row that is not JSON, or for which ``parse`` raises ValueError, is the end (UserError with file and line), or is
    left out and told on standard error. UserError where no row is left.
    """
    found: list[T] = []
    malformed: list[str] = []

    def bad(error: ValueError) -> None:
        if on_bad_row == "error":
            raise UserError(f"{error}; on_bad_row=skip leaves such rows out") from error
        malformed.append(str(error))

    try:
        for where, row in read_rows(path, bad):
            try:
                found.append(parse(where, row))
            except ValueError as error:
                bad(ValueError(f"{where}: {error}"))
    except DataError as error:
        raise UserError(str(error)) from error
    if not found:
        raise UserError(f"{path}: no row that can be used; {malformed[0]}")
    if malformed:
        print(f"{path}: {len(malformed)} malformed rows left out", *malformed[:5], sep="\n  ", file=sys.stderr)
    return found


class _Counts:
    """What has become of the rows so far."""

    def __init__(self) -> None:
        self.rows = 0
        self.ratings: Counter[str] = Counter()
        self.dropped_rows: Counter[str] = Counter()
        self.dropped_labels: Counter[str] = Counter()
        self.malformed: list[str] = []

    def report(self, solutions: int, neutral: Neutral) -> ReadReport:
        bad = {"malformed": len(self.malformed)} if self.malformed else {}
        return ReadReport(
            self.rows + len(self.malformed),
            solutions,
            dict(self.ratings),
            dict(self.dropped_rows) | bad,
            dict(self.dropped_labels),
            neutral,
            tuple(self.malformed),
        )


def _rows(source: str | Path, purpose: Purpose, bad: Callable[[DataError], None]) -> Iterator[Row]:
    """Each row of a file or data set with its place; a UserError where there is none to be had."""
    place = data_set(source)
    names = (Path(source).name,) if place is None else (Path(place[0]).name, place[2] or "")
    if purpose == "train" and any(map(names_test_data, names)):
        raise UserError(f"{source}: the name says test data, never train on it; choose a training file")
    try:
        if place is None:
            yield from read_rows(source, bad)
        else:
            name, config, split = place
            yield from hub_rows(name, config, split or ("train" if purpose == "train" else "test"))
    except DataError as error:
        raise UserError(str(error)) from error


def data_set(source: str | Path) -> tuple[str, str | None, str | None] | None:
    """(name, configuration, split) of what ``datasets`` loads, from the hub or a folder; None for a file."""
    folder, _, split = str(source).partition(":")
    if Path(folder).is_dir():
        return folder, None, split or None
    found = None if str(source).endswith(FORMATS) or Path(source).exists() else _HUB_PLACE.fullmatch(str(source))
    return found and (found["name"], found["config"], found["split"])


def _parsed(
    rows: Iterator[Row], separator: Separator, bad: Callable[[ValueError], None]
) -> Iterator[list[JudgedSteps] | list[LabeledSolution] | str]:
    """The solutions of each row, or why it is not for use."""
    for where, row in rows:
        try:
            found = _own(row, Path(where).name, separator) if "text" in row else parse(row, Path(where).name)
        except LeftOutError as reason:
            yield str(reason)
        except ValueError as error:
            bad(ValueError(f"{where}: {error}"))
        else:
            yield found


def _own(row: Mapping[str, Any], name: str, separator: Separator) -> list[LabeledSolution]:
    """A row of Rung's own, or a text nobody has labelled."""
    if "labels" in row:
        return [LabeledSolution.from_json(row)]
    answer = "gold_answer" if "gold_answer" in row else "answer"
    problem = Problem(identity(row, "id", name), text(row, "question"), text(row, answer, ""))
    words = text(row, "text")
    steps = split_steps(words, separator)
    nobody = (None,) * len(steps)
    return [LabeledSolution(Solution(problem, words, steps), nobody, nobody)]


def _rating(judgement: Judgement) -> str:
    if judgement is None or isinstance(judgement, str):
        return judgement or "not judged"
    return "right" if judgement == 1 else "wrong" if judgement == 0 else "estimated"


def _labelled(
    item: JudgedSteps, separator: Separator, neutral: Neutral, needless: Needless
) -> tuple[LabeledSolution, Counter[str]]:
    """The solution with its S labels under the policies, and how many judged steps were left unlabelled, by reason."""
    labels: list[float | None] = []
    unlabelled: Counter[str] = Counter()
    for index, judgement in enumerate(item.judgements):
        reason = None
        if judgement is not None and index < item.new_from:
            reason = "repeats another row's rating"
        elif judgement == "disputed":
            reason = "labellers disagree"
        elif judgement == "neutral" and neutral == "drop":
            reason = "neutral"
        elif judgement == 0 and needless == "drop" and item.error_type in NEEDLESS_TYPES:
            reason = "needless, not false"
        unlabelled.update([reason] if reason else [])
        if judgement is None or reason is not None:
            labels.append(None)
        elif isinstance(judgement, str):
            labels.append(float(neutral == "right"))
        else:
            labels.append(judgement)
    origins = tuple(None if label is None else item.origin for label in labels)
    solution = Solution(item.problem, *join_steps(item.steps, separator))
    return LabeledSolution(solution, tuple(labels), origins), unlabelled


def _reference(item: JudgedSteps, separator: Separator) -> LabeledSolution:
    problem = Problem(f"{item.problem.id}/reference", item.problem.question, item.problem.answer)
    steps = tuple(step.text for step in split_steps(remove_marks(item.reference), "line"))
    solution, count = Solution(problem, *join_steps(steps, separator)), len(steps)
    return LabeledSolution(solution, (1.0,) * count, (REFERENCE_ORIGIN,) * count)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"
