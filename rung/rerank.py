"""``rung rerank``: candidate solutions ordered by a reward model, the best first; ``rerank`` is the same as a call."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm.config import REQUIRED, key
from lm.errors import UserError
from prm.scorer import Scorer
from prm.scores import Aggregation, StepScores, parse_rows
from rung.score import ScoreConfig, Unscorable, as_row, score_all, solution_of, write_out
from verifiers.solution import Solution


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
    scored = iter(score_all([solution for _, group in groups for solution in group], config))
    text = ""
    for row, group in groups:
        ranking: list[dict[str, Any]] = []
        for index, solution in enumerate(group):
            ranking.append({"index": index, "text": solution.text} | as_row(next(scored), config.aggregate))
        ranking.sort(key=lambda place: (place["score"] is None, -(place["score"] or 0.0)))
        text += json.dumps(row | {"ranking": ranking[: config.top]}, ensure_ascii=False) + "\n"
    write_out(config.out, text)


def _groups(config: RerankConfig) -> list[tuple[dict[str, Any], list[Solution]]]:
    """(what the output repeats of a question, its candidates), in the order of the file."""
    groups: list[tuple[dict[str, Any], list[Solution]]] = []
    by_question: dict[str, list[Solution]] = {}
    for number, row in enumerate(parse_rows(config.file, dict), 1):
        where = f"{config.file}: row {number}"
        candidates = row.get("candidates")
        if candidates is None:
            solution = solution_of(row, where, config.separator)
            question = solution.problem.question
            if question not in by_question:
                by_question[question] = []
                groups.append(({"question": question}, by_question[question]))
            by_question[question].append(solution)
            continue
        if not isinstance(candidates, list) or not all(isinstance(c, str) for c in candidates):
            raise UserError(f'{where}: "candidates" must be a list of texts')
        rest = {name: value for name, value in row.items() if name != "candidates"}
        solved = [
            solution_of(
                {**rest, "steps": None, "text": c, "id": f"{row.get('id', where)}, candidate {i}"},
                where,
                config.separator,
            )
            for i, c in enumerate(candidates)
        ]
        groups.append((rest, solved))
    if not groups:
        raise UserError(f"{config.file} is empty: no candidates to rank")
    return groups
