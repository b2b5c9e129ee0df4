"""Labelled solutions from files, split by problem, for training and testing a PRM."""

import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lm.config import key
from lm.errors import UserError
from prm.readers import read_step_labels
from prm.scores import LabeledSolution
from verifiers.split import Separator

AfterError = Literal["drop", "keep"]


@dataclass(frozen=True)
class StepData:
    """Labelled solutions: Rung's own (from ``rung label``) or published ones, in any layout of docs/labels.md."""

    train: tuple[str, ...] = key(
        ("runs/labels/train.symbolic.jsonl",),
        "files or hub data sets (owner/name[/configuration][:split]) to learn from",
    )
    test: tuple[str, ...] = key(("runs/labels/test.symbolic.jsonl",), "files to report on; the first is the headline")
    validation_fraction: float = key(0.1, "share of the training problems on which the threshold is chosen", low=0.01)
    separator: Separator = key("paragraph", "what stands between steps that a file holds as a list")
    neutral: Literal["right", "wrong", "drop"] = key("right", "what PRM800K's neutral steps count as; OpenAI's: right")
    needless: Literal["wrong", "drop"] = key(
        "wrong", "what true steps that nobody asked for count as, where told apart"
    )
    references: bool = key(False, "also learn from the reference solutions that a file brings, as right throughout")
    on_bad_row: Literal["error", "skip"] = key("error", "a malformed row ends the run, or is left out and reported")
    after_error: AfterError = key(
        "drop", "labels after the first wrong step: drop, as PRM800K's labellers stopped there; or keep them"
    )
    limit: int | None = key(None, "at most so many solutions of each training file, drawn at random", low=2)


def load_labelled(
    data: StepData, seed: int
) -> tuple[list[LabeledSolution], list[LabeledSolution], dict[str, list[LabeledSolution]]]:
    """(training, validation, {file: test}) solutions; training and validation share no question."""
    items: list[LabeledSolution] = []
    for path in data.train:
        found = _read(path, data, "train")
        if data.limit is not None and data.limit < len(found):
            # Not the first ones: a file may hold its solutions problem by problem.
            found = random.Random(f"{seed}/limit").sample(found, data.limit)
        items += found
    items = after_errors(items, data.after_error)
    questions = sorted({item.solution.problem.question for item in items})
    random.Random(f"{seed}/validation").shuffle(questions)
    kept = set(questions[: max(1, int(len(questions) * data.validation_fraction))])
    train = [item for item in items if item.solution.problem.question not in kept]
    if not train:
        raise UserError(f"data.train {', '.join(data.train)}: too few problems to split into training and validation")
    held_out = [item for item in items if item.solution.problem.question in kept]
    named = zip(short_names(data.test), data.test, strict=True)
    tests = {name: found for name, path in named if (found := _labelled(_read(path, data, "evaluate"), path))}
    if data.test and not tests:
        raise UserError(f"data.test {', '.join(data.test)}: no labelled solution to test on; give other labels")
    return train, held_out, {name: after_errors(found, data.after_error) for name, found in tests.items()}


def _labelled(items: list[LabeledSolution], path: str) -> list[LabeledSolution]:
    """Those of which some step was judged. A labeller that could tell nothing leaves its test out, not the others."""
    found = [item for item in items if any(label is not None for label in item.labels)]
    if not found:
        print(f"{path}: no labelled step, nothing to report", file=sys.stderr)
    return found


def after_errors(items: Sequence[LabeledSolution], after_error: AfterError) -> list[LabeledSolution]:
    """``items`` with the labels after their first wrong steps dropped or kept."""
    return [up_to_first_error(item) for item in items] if after_error == "drop" else list(items)


def up_to_first_error(item: LabeledSolution) -> LabeledSolution:
    """The labels after the first step labelled 0 become None: what follows a false step is neither right nor wrong."""
    wrong = item.first_error(threshold=1e-9)
    if wrong < 0:
        return item
    rest = (None,) * (len(item.labels) - wrong - 1)
    return LabeledSolution(item.solution, item.labels[: wrong + 1] + rest, item.origins[: wrong + 1] + rest)


def short_names(sources: Sequence[str]) -> list[str]:
    """What each file or data set is called in a report: the beginning of its last part, or all of it where two agree.

    ["a/math_dev.jsonl.gz", "gsm8k.jsonl"] are "math_dev" and "gsm8k".
    """
    short = [source.rsplit("/", 1)[-1].split(".")[0] for source in sources]
    return [name if short.count(name) == 1 else source for name, source in zip(short, sources, strict=True)]


def _read(source: str, data: StepData, purpose: Literal["train", "evaluate"]) -> list[LabeledSolution]:
    try:
        items, report = read_step_labels(
            source,
            purpose=purpose,
            separator=data.separator,
            neutral=data.neutral,
            needless=data.needless,
            references=data.references and purpose == "train",
            on_bad_row=data.on_bad_row,
            keep_unlabelled=purpose == "evaluate",
        )
    except UserError as error:
        raise UserError(f"data.{'train' if purpose == 'train' else 'test'}: {error}") from error
    print(f"{source}: {report}", file=sys.stderr)
    return items
