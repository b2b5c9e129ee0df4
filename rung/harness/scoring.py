"""What the tasks' YAML names: the problems, and the measures of one problem's answers. The harness is not imported."""

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from prm.choice import answer_classes
from prm.loading import load as load_prm
from prm.scorer import Scorer, score_each
from rung.math_sets import load_set
from rung.statistics import best_of_n, majority
from verifiers.adapters import UNTOLD, lm_eval_results
from verifiers.solution import Problem, Solution
from verifiers.split import split_steps
from verifiers.verify import verify

PRM = "RUNG_PRM"  # environment variable: the folder or hub name of the process reward model that picks
greedy = lm_eval_results


def load(*, set: str = "gsm8k", source: str | None = None, **other: Any) -> dict[str, Any]:
    """{"test": the problems} of a benchmark of ``rung eval math``, from its place on the hub or from a file."""
    from datasets import Dataset

    rows = [{"id": p.id, "question": p.question, "answer": p.answer} for p in load_set(set, source)]
    return {"test": Dataset.from_list(rows)}


def samples(doc: Mapping[str, Any], results: Sequence[Sequence[str]]) -> dict[str, float]:
    """The measures of the k samples of one problem, ``results[0]``; best_of_n only where RUNG_PRM names a model."""
    problem = Problem(str(doc["id"]), doc["question"], doc["answer"])
    texts = list(results[0])
    verdicts = [verify(problem, text) for text in texts]
    right = [verdict.correct for verdict in verdicts]
    found = {
        "exact_match": float(np.mean(right)),
        "some_right": float(any(right)),
        "majority": majority(answer_classes([verdict.predicted for verdict in verdicts]), right),
        "untold": float(np.mean([verdict.reason in UNTOLD for verdict in verdicts])),
    }
    name = os.environ.get(PRM)
    if name:
        scored = score_each(_prm(name), [Solution(problem, text, split_steps(text)) for text in texts])
        found["best_of_n"] = best_of_n([0.0 if isinstance(s, str) else s.aggregate("min") for s in scored], right)
    return found


@lru_cache(maxsize=1)
def _prm(name: str) -> Scorer:
    return load_prm(name)
