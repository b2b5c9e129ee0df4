"""``rung rerank``: candidate solutions ordered by a reward model, the best first; ``rerank`` is the same as a call."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lm.config import REQUIRED, key
from prm.readers import read_parsed
from prm.scorer import Scorer
from prm.scores import Aggregation, StepScores
from rung.score import ScoreConfig, Unscorable, as_row, scores_of, solution_of, write_out
from verifiers.solution import Solution
from verifiers.split import Separator


@dataclass(frozen=True)
class RerankConfig(ScoreConfig):
    """Order the candidates of each question by the score that a process reward model gives them."""

    file: Path = key(REQUIRED, 'rows with "question" and "candidates" (texts), or a row a candidate as in `rung score`')
    out: Path | None = key(None, "where a row a question goes, its ranking best first; null: standard output")
    unscorable: Unscorable = key("null", "a candidate that has no score: null, why, and the last place; or stop")
    top: int | None = key(None, "keep only so many candidates of a question", low=1)


def rerank(prm: Scorer, candidates: Sequence[Solution], aggregate: Aggregation = "min") -> list[tuple[int, StepScores]]:
    """(index, scores) of the candidates, best first; equal scores stay in the order given."""
    scores = prm.score(candidates)
    order = sorted(range(len(candidates)), key=lambda i: -scores[i].aggregate(aggregate))
    return [(i, scores[i]) for i in order]


def main(config: RerankConfig) -> None:
    """Write for each question {"question", "ranking": [{"index", "text", "score", "step_scores"}, ...]}."""
    groups = _groups(config)
    scored = iter(scores_of([solution for _, group in groups for solution in group], config))
    text = ""
    for row, group in groups:
        ranking: list[dict[str, Any]] = []
        for index, solution in enumerate(group):
            ranking.append({"index": index, "text": solution.text} | as_row(next(scored), config.aggregate))
        ranking.sort(key=lambda place: (place["score"] is None, -(place["score"] or 0.0)))
        text += json.dumps(row | {"ranking": ranking[: config.top]}, ensure_ascii=False) + "\n"
    write_out(config, text)


def _groups(config: RerankConfig) -> list[tuple[dict[str, Any], list[Solution]]]:
    """(what the output repeats of a question, its candidates), in the order of the file."""
    groups: list[tuple[dict[str, Any], list[Solution]]] = []
    by_question: dict[str, list[Solution]] = {}
    for rest, candidates in read_parsed(config.file, partial(_candidates, config.separator), config.on_bad_row):
        if rest is not None:
            groups.append((rest, candidates))
            continue
        question = candidates[0].problem.question
        if question not in by_question:
            by_question[question] = []
            groups.append(({"question": question}, by_question[question]))
        by_question[question] += candidates
    return groups


def _candidates(
    separator: Separator, where: str, row: Mapping[str, Any]
) -> tuple[dict[str, Any] | None, list[Solution]]:
    """A row's candidates and its other columns, None where the row is itself one of the candidates."""
    candidates = row.get("candidates")
    if candidates is None:
        return None, [solution_of(row, where, separator)]
    if not isinstance(candidates, list) or not all(isinstance(c, str) for c in candidates):
        raise ValueError('"candidates" must be a list of texts')
    rest = {name: value for name, value in row.items() if name != "candidates"}
    own = [
        rest | {"steps": None, "text": text, "id": f"{row.get('id', where)}, candidate {i}"}
        for i, text in enumerate(candidates)
    ]
    return rest, [solution_of(candidate, where, separator) for candidate in own]
