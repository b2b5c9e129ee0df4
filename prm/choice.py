"""Choosing one solution from a pool of candidates that a PRM has scored."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

from verifiers.equal import equal

Choice = Literal["best", "majority", "weighted"]


def choose(answers: Sequence[str | None], scores: Sequence[float], how: Choice) -> int:
    """The index of the candidate to give; both inputs (n,), n > 0; an answer is None where there is none.

    "best" has the highest score (best-of-n, Cobbe et al. 2021). "majority" and "weighted" first choose an answer, equal
    answers being those that the verifier calls equal: the one with the most candidates (self-consistency, Wang et al.
    2023, arXiv:2203.11171), or the greatest sum of scores (Li et al. 2023, DiVeRSe; Math-Shepherd, eq. 8); then the
    highest score among its candidates. Of equals the first; without any answer, "best".
    """
    classes = answer_classes(answers)
    weights: defaultdict[int, float] = defaultdict(float)
    for known, score in zip(classes, scores, strict=True):
        if known is not None:
            weights[known] += score if how == "weighted" else 1.0
    candidates = range(len(answers))
    if how != "best" and weights:
        chosen = max(weights, key=lambda known: weights[known])
        candidates = [i for i in candidates if classes[i] == chosen]  # type: ignore[assignment]
    return max(candidates, key=lambda i: scores[i])


def answer_classes(answers: Sequence[str | None]) -> list[int | None]:
    """A key for each answer, equal where the verifier calls the answers equal; None where there is no answer."""
    classes: list[str] = []
    keys: list[int | None] = []
    for answer in answers:
        if answer is None:
            keys.append(None)
            continue
        known = next((i for i, other in enumerate(classes) if answer == other or equal(answer, other)), None)
        if known is None:
            known = len(classes)
            classes.append(answer)
        keys.append(known)
    return keys
