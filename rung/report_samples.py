"""Sampled solutions for the report: every step with its score, the first wrong one marked, and what to filter by."""

import math
from collections import Counter
from dataclasses import dataclass

from rung.report_axes import signed
from rung.report_data import Row, arm_name, number

PER_KIND = 8  # samples shown of each arm and kind, in file order, so that nobody picked them
DEFAULT_THRESHOLD = 0.5  # what counts as a high score where the reward model brought no threshold of its own
SHOWN = 160  # about how many a page shows: with many arms fewer of each
LONGEST = 6000  # characters of one solution; a policy gone astray can write far more
UNTOLD = ("unparsable", "timeout")


@dataclass(frozen=True)
class StepView:
    """A stretch of a solution; ``score`` and ``tint`` (t0 worst to t9 best) are empty where nothing was scored."""

    text: str
    score: str
    tint: str
    first_wrong: bool


@dataclass(frozen=True)
class SampleView:
    """One solution as shown. ``kind`` is right, wrong or untold; ``flag`` is high, low or empty without scores."""

    arm: str
    kind: str
    flag: str
    score: str
    question: str
    gold: str
    predicted: str
    reason: str
    steps: list[StepView]
    cut: int


def per_kind(samples: list[Row]) -> int:
    """How many to show of each arm, kind and flag."""
    arms = len({str(row.get("arm", "?")) for row in samples}) or 1
    return max(2, min(PER_KIND, SHOWN // (4 * arms)))


def threshold_of(row: Row) -> float:
    """The score from which a sample's solution counts as high: that of its run's reward model, where it has one."""
    threshold = number(row.get("threshold"))
    return threshold if math.isfinite(threshold) else DEFAULT_THRESHOLD


def choose(samples: list[Row], most: int = PER_KIND) -> list[SampleView]:
    """The first ``most`` samples of each arm, kind and flag, in file order."""
    taken: Counter[tuple[str, str, str]] = Counter()
    shown = []
    for row in samples:
        arm, kind, score = arm_name(str(row.get("arm", "?"))), kind_of(row), lowest_score(row)
        flag = "" if math.isnan(score) else "high" if score >= threshold_of(row) else "low"
        taken[arm, kind, flag] += 1
        if taken[arm, kind, flag] <= most:
            shown.append(_view(row, arm, kind, flag, score))
    return shown


def kind_of(row: Row) -> str:
    """Right, wrong, or untold where the verifier could not read the answer in time: that is not the same as wrong."""
    if row.get("correct"):
        return "right"
    return "untold" if row.get("reason") in UNTOLD else "wrong"


def lowest_score(row: Row) -> float:
    """The solution's score, by default that of its worst step; nan where no step was scored."""
    scores = [s for step in row.get("steps") or [] if math.isfinite(s := number(step.get("score")))]
    return min(scores, default=math.nan)


def cut_into_steps(text: str, steps: list[Row]) -> list[StepView]:
    """The text as its steps and the words between them; offsets that overlap or run over are clamped."""
    views, at, marked = [], 0, False
    for step in steps:
        start, end = (int(v) if math.isfinite(v := number(step.get(key))) else at for key in ("start", "end"))
        start, end = min(max(start, at), len(text)), min(max(end, at), len(text))
        if text[at:start].strip():
            views.append(StepView(text[at:start].strip("\n"), "", "", False))
        score, first_wrong = number(step.get("score")), number(step.get("label")) == 0 and not marked
        marked = marked or first_wrong
        if end > start:
            views.append(StepView(text[start:end].strip("\n"), score_words(score), tint_of(score), first_wrong))
        at = max(end, start)
    if text[at:].strip():
        views.append(StepView(text[at:].strip("\n"), "", "", False))
    return views


def tint_of(score: float) -> str:
    """The CSS class of a score in [0, 1]: t0, ..., t9; none for nan."""
    return f"t{min(max(int(score * 10), 0), 9)}" if math.isfinite(score) else ""


def score_words(score: float) -> str:
    """Two decimals, empty for nan."""
    return signed(score, 2) if math.isfinite(score) else ""


def _view(row: Row, arm: str, kind: str, flag: str, score: float) -> SampleView:
    text = str(row.get("text", ""))
    return SampleView(
        arm=arm,
        kind=kind,
        flag=flag,
        score=score_words(score),
        question=str(row.get("question", "")),
        gold=str(row.get("gold", "")),
        predicted="" if row.get("predicted") is None else str(row["predicted"]),
        reason=str(row.get("reason", "")),
        steps=cut_into_steps(text[:LONGEST], row.get("steps") or []),
        cut=max(0, len(text) - LONGEST),
    )
