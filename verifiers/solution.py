"""The data that everything else is about: a problem, a solution cut into steps, and a verdict on its answer."""

from dataclasses import dataclass
from typing import Literal

Reason = Literal["match", "mismatch", "no answer", "unparsable", "timeout"]


@dataclass(frozen=True)
class Problem:
    """A question with its gold final answer.

    ``id`` is unique within a data set; ``answer`` is the gold final answer as text (LaTeX or plain).
    """

    id: str
    question: str
    answer: str


@dataclass(frozen=True)
class Example:
    """A problem and a worked solution to it, None where the data has only answers.

    The solution's last line is "#### " and the gold answer, as in GSM8K (Cobbe et al. 2021).
    """

    problem: Problem
    solution: str | None


@dataclass(frozen=True)
class Step:
    """One reasoning step: ``text == solution.text[start:end]``; offsets count characters, ``end`` is exclusive."""

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Solution:
    """A model's (or a person's) worked answer to a problem, cut into S steps that never overlap and are in order."""

    problem: Problem
    text: str
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Verdict:
    """Whether the final answer equals the gold one.

    ``correct`` is True only for reason "match". ``predicted`` is the answer as extracted, None where there was none.
    "unparsable" and "timeout" mean "could not tell", which is not the same as wrong.
    """

    correct: bool
    predicted: str | None
    reason: Reason
