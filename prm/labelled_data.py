"""Labelled solutions from files, split by problem, for training and testing a PRM."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lm.config import key
from lm.errors import UserError
from prm.readers import read_step_labels
from prm.scores import LabeledSolution, read_labeled
from verifiers.data import DataError, names_test_data, read_rows


@dataclass(frozen=True)
class StepData:
    """Files of labelled solutions: Rung's own (from ``rung label``) or the step-label schema of prm/readers.py."""

    train: tuple[str, ...] = key(("runs/labels/train.symbolic.jsonl",), "files to learn from")
    test: tuple[str, ...] = key(("runs/labels/test.symbolic.jsonl",), "files to report on; the first is the headline")
    validation_fraction: float = key(0.1, "share of the training problems on which the threshold is chosen", low=0.01)
    separator: Literal["paragraph", "line"] = key("paragraph", "what stands between steps that a file holds as a list")
    neutral: Literal["right", "wrong", "drop"] = key("right", "what PRM800K's neutral steps count as; OpenAI's: right")
    after_error: Literal["drop", "keep"] = key(
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
    if data.after_error == "drop":
        items = [up_to_first_error(item) for item in items]
    questions = sorted({item.solution.problem.question for item in items})
    random.Random(f"{seed}/validation").shuffle(questions)
    kept = set(questions[: max(1, int(len(questions) * data.validation_fraction))])
    train = [item for item in items if item.solution.problem.question not in kept]
    if not train:
        raise UserError(f"data.train {', '.join(data.train)}: too few problems to split into training and validation")
    held_out = [item for item in items if item.solution.problem.question in kept]
    tests = {_name(path): _read(path, data, "evaluate") for path in data.test}
    if data.after_error == "drop":
        tests = {name: [up_to_first_error(item) for item in found] for name, found in tests.items()}
    return train, held_out, tests


def up_to_first_error(item: LabeledSolution) -> LabeledSolution:
    """The labels after the first step labelled 0 become None: what follows a false step is neither right nor wrong."""
    wrong = item.first_error(threshold=1e-9)
    if wrong < 0:
        return item
    rest = (None,) * (len(item.labels) - wrong - 1)
    return LabeledSolution(item.solution, item.labels[: wrong + 1] + rest, item.origins[: wrong + 1] + rest)


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1].split(".")[0]


def _read(path: str, data: StepData, purpose: Literal["train", "evaluate"]) -> list[LabeledSolution]:
    if purpose == "train" and names_test_data(Path(path).name):
        raise UserError(f"data.train: {path}: the name says test data, never train on it; choose a training file")
    try:
        first = next(iter(read_rows(path)), None)
    except DataError as error:
        raise UserError(f"data.{'train' if purpose == 'train' else 'test'}: {error}") from error
    if first is None:
        raise UserError(f"{path} is empty: no labelled solutions in it")
    if "text" in first[1]:
        return read_labeled(path)
    items, report = read_step_labels(path, purpose=purpose, separator=data.separator, neutral=data.neutral)
    print(report)
    return items
