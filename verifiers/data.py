"""Problems and their worked solutions, from a local file or a data set on the Hugging Face hub."""

import hashlib
import itertools
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from verifiers.rows import DataError, hub_rows, is_hub_copy, is_hub_name, read_rows
from verifiers.solution import Example, Problem

__all__ = ["DataError", "Example", "load_examples", "names_test_data", "read_rows", "remove_marks", "split_by_problem"]

T = TypeVar("T")

_CALCULATOR_MARK = re.compile(r"<<[^\n]*?>>")
_ANSWER_MARK = "####"
_ANSWER_LINE = re.compile(r"\n?[ \t]*####[^\n]*\s*\Z")
_GROUPED_DIGITS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_TEST_NAME = re.compile(r"(?<![a-z0-9])(?:test\d*|math[-_]?500)(?![a-z0-9])")


def load_examples(
    source: str | Path,
    *,
    split: str = "train",
    config: str | None = None,
    question: str = "question",
    answer: str | None = None,
    solution: str | None = None,
    limit: int | None = None,
    keep_marks: bool = False,
    purpose: Literal["train", "evaluate"] = "train",
    allow_test: bool = False,
    answers: bool = True,
) -> list[Example]:
    """The (first ``limit``) examples of ``source``: a local .jsonl, .jsonl.gz, .json or .parquet file, a hub name, or
    the folder of a data set that was downloaded from the hub.

    ``split`` and ``config`` choose within a hub data set (GSM8K: ``config="main"``); a local file is one split.
    ``question``, ``answer`` and ``solution`` name columns.  By default the answer is in "gold_answer" or else "answer",
    the solution in "solution" where there is one.  An answer column of the form "reasoning #### 72" (GSM8K on the hub)
    gives both.  GSM8K's calculator marks ``<<48/2=24>>`` are removed unless ``keep_marks``.  A column "options" (a list
    of choices) is appended to the question, a line each; of a list of solutions the first is taken.
    With ``answers=False`` a row may come without an answer, as instructions do: its answer is "" then.

    Raises :class:`DataError` where the source cannot be read, a column is missing, a row lacks its question or answer,
    two rows share an id, or ``purpose`` is "train" and the source, its split or a row's id names a test set, which
    ``allow_test`` overrides.
    """
    if limit is not None and limit < 1:
        raise DataError(f"limit is {limit}; give at least 1, or leave it out for all")
    named = isinstance(source, str) and is_hub_name(source)
    from_hub = named or is_hub_copy(source)
    refuse_test = purpose == "train" and not allow_test
    for name in (str(source) if named else Path(source).name, split):
        if refuse_test and names_test_data(name):
            raise DataError(f"{source}: {name!r} names a test set, never train on it (allow_test=true overrides)")
    rows = hub_rows(str(source), config, split) if from_hub else read_rows(source)
    stem = f"{Path(source).name.split('.')[0]}-{split}" if from_hub else Path(source).name.split(".")[0]

    examples: list[Example] = []
    places: dict[str, str] = {}
    for index, (where, row) in enumerate(itertools.islice(rows, limit)):
        problem_id = f"{stem}-{index}" if row.get("id") is None else str(row["id"])
        if refuse_test and names_test_data(problem_id):
            raise DataError(
                f"{where}: id {problem_id!r} names a test set, never train on it (allow_test=true overrides)"
            )
        if problem_id in places:
            raise DataError(f"{where}: id {problem_id!r} stands at {places[problem_id]} already; ids must be unique")
        places[problem_id] = where
        examples.append(_example(row, where, problem_id, (question, answer, solution), keep_marks, answers))
    return examples


def names_test_data(name: str) -> bool:
    """Whether a file's, split's or row's name has "test" (or MATH-500) as a word of its own: gsm8k/test.jsonl.gz does,
    latest.jsonl and contest.jsonl do not."""
    return bool(_TEST_NAME.search(name.lower()))


def remove_marks(text: str) -> str:
    """``text`` without GSM8K's calculator marks: "48/2 = <<48/2=24>>24 clips" is "48/2 = 24 clips"."""
    return _CALCULATOR_MARK.sub("", text)


def split_by_problem(
    items: Iterable[T], fraction: float, seed: int, *, question: Callable[[T], str]
) -> tuple[list[T], list[T]]:
    """(train, validation), the validation side holding about ``fraction`` of the problems.

    The side is a hash of ``seed`` and the question (its case, width and spacing ignored), so rows that share a question
    stay together, also across files, and adding rows moves none.  ``question`` gives an item's question.
    Raises :class:`DataError` where ``fraction`` is not strictly between 0 and 1, or a side would be empty.
    """
    if not 0 < fraction < 1:
        raise DataError(f"the validation fraction is {fraction}; give a number between 0 and 1, both excluded")
    sides: tuple[list[T], list[T]] = ([], [])
    for item in items:
        sides[_unit_hash(question(item), seed) < fraction].append(item)
    if not all(sides):
        counts = f"{len(sides[0])} training and {len(sides[1])} validation rows"
        raise DataError(f"a validation fraction of {fraction} leaves {counts}; change it, the seed, or add problems")
    return sides


def _unit_hash(question: str, seed: int) -> float:
    """A number in [0, 1) that depends on nothing but the seed and the normalised question."""
    normalised = " ".join(unicodedata.normalize("NFKC", question).casefold().split())
    digest = hashlib.blake2b(f"{seed}\n{normalised}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53  # 53 bits: exact in a float, so never rounded up to 1


def _example(
    row: Mapping[str, Any],
    where: str,
    problem_id: str,
    columns: tuple[str, str | None, str | None],
    keep_marks: bool,
    answers: bool,
) -> Example:
    question_column, answer_column, solution_column = columns
    if answer_column is None:
        answer_column = "gold_answer" if "gold_answer" in row else "answer"
    if solution_column is None and row.get("solution"):
        solution_column = "solution"

    question = _cell(row, question_column, where, "question")
    options = row.get("options")
    if isinstance(options, list) and options:
        question = "\n".join([question, *map(str, options)])

    if not answers and row.get(answer_column) is None:
        told = _cell(row, solution_column, where, "solution") if solution_column is not None else None
        return Example(Problem(problem_id, question, ""), told)

    worked, mark, gold = _cell(row, answer_column, where, "answer").rpartition(_ANSWER_MARK)
    gold = gold.strip()
    if not gold:
        raise DataError(f"{where}: nothing after {_ANSWER_MARK} in {answer_column!r}; add the answer or remove the row")
    if mark and _GROUPED_DIGITS.fullmatch(gold):
        gold = gold.replace(",", "")  # the hub writes "#### 1,000" where other copies have 1000
    if solution_column is not None:
        worked = _ANSWER_LINE.sub("", _cell(row, solution_column, where, "solution"))
    if not keep_marks:
        worked = remove_marks(worked)
    text = f"{worked.strip()}\n{_ANSWER_MARK} {gold}" if worked.strip() else None
    return Example(Problem(problem_id, question, gold), text)


def _cell(row: Mapping[str, Any], column: str, where: str, what: Literal["question", "answer", "solution"]) -> str:
    """The text of one cell: a list's items are joined by ", " (several gold answers), except that of several solutions
    the first is taken."""
    if column not in row:
        raise DataError(f"{where}: no column {column!r} for the {what}; the columns are {', '.join(row)} ({what}=NAME)")
    value = row[column]
    if isinstance(value, list):
        value = ", ".join(map(str, value)) if what == "answer" else next(iter(value), "")
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: the {what} in column {column!r} is {value!r}; fill it in or remove the row")
    return value
