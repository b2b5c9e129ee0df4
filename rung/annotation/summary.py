"""How far the annotators agree, and how each of them differs from the others."""

import math
from collections.abc import Sequence
from itertools import combinations
from statistics import median
from typing import Any

import numpy as np

from rung.annotation.agreement import (
    category_counts,
    fleiss_kappa,
    krippendorff_alpha,
    leniency,
    pairwise_kappas,
)
from rung.annotation.store import Answer

VALUES = (-1, 0, 1)


def summarize(answers: Sequence[Answer]) -> dict[str, Any]:
    """JSON-able: for "steps" and "ranking" what people agree on; per annotator how much, how fast, how kindly.

    The units are steps (right, neutral, wrong), and in rankings pairs of solutions (better, tied, worse).
    What cannot be told is null.
    """
    annotators = sorted({answer.annotator for answer in answers})
    steps = ratings_matrix(annotators, [a for a in answers if a.ratings is not None], step_units)
    pairs = ratings_matrix(annotators, [a for a in answers if a.ranking is not None], pair_units)
    kindness, kappas = leniency(steps), pairwise_kappas(steps)
    return {
        "steps": agreement(steps),
        "ranking": agreement(pairs),
        "annotators": [
            {
                "name": name,
                "tasks": sum(a.annotator == name for a in answers),
                "seconds": round(median(a.seconds for a in answers if a.annotator == name), 1),
                "right": int((steps[i] == 1).sum()),
                "neutral": int((steps[i] == 0).sum()),
                "wrong": int((steps[i] == -1).sum()),
                "leniency": _number(kindness[i].mean),
                "leniency_low": _number(kindness[i].low),
                "leniency_high": _number(kindness[i].high),
                "shared": kindness[i].units,
            }
            for i, name in enumerate(annotators)
        ],
        "pairs": [
            {"a": annotators[i], "b": annotators[j], "kappa": _number(kappa), "steps": shared}
            for (i, j), (kappa, shared) in kappas.items()
        ],
    }


def agreement(ratings: np.ndarray) -> dict[str, Any]:
    """The coefficients over all annotators, (R, U) ratings in {-1, 0, 1}, nan where not judged."""
    judged = (~np.isnan(ratings)).sum(0)
    counts = category_counts(ratings, VALUES)
    alike = [len(set(unit[~np.isnan(unit)])) == 1 for unit in ratings[:, judged >= 2].T]
    return {
        "units": int((judged >= 1).sum()),
        "shared": int((judged >= 2).sum()),
        "unanimous": _number(float(np.mean(alike)) if alike else math.nan),
        "alpha_nominal": _number(krippendorff_alpha(ratings, "nominal")),
        "alpha_ordinal": _number(krippendorff_alpha(ratings, "ordinal")),
        "fleiss": _number(fleiss_kappa(counts)),
        "fleiss_units": len(counts),
    }


def ratings_matrix(annotators: Sequence[str], answers: Sequence[Answer], units: Any) -> np.ndarray:
    """(R, U): what each annotator said of each unit that ``units(answer)`` names, nan for nothing."""
    said = [(annotators.index(answer.annotator), units(answer)) for answer in answers]
    columns = {unit: column for column, unit in enumerate(dict.fromkeys(u for _, given in said for u in given))}
    ratings = np.full((len(annotators), len(columns)), math.nan)
    for row, given in said:
        for unit, value in given.items():
            ratings[row, columns[unit]] = value
    return ratings


def step_units(answer: Answer) -> dict[tuple[str, int], int]:
    """(task, step) to its rating, for the steps that were judged."""
    return {(answer.task.id, i): r for i, r in enumerate(answer.ratings or ()) if r is not None}


def pair_units(answer: Answer) -> dict[tuple[str, int, int], int]:
    """(task, i, j) for i < j, to 1 where candidate i stands above j, 0 where they share a place, -1 below."""
    place = {index: rank for rank, indices in enumerate(answer.ranking or ()) for index in indices}
    return {
        (answer.task.id, i, j): (place[j] > place[i]) - (place[j] < place[i]) for i, j in combinations(sorted(place), 2)
    }


def _number(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
