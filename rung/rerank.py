"""``rung rerank``: candidate solutions ordered by a reward model, the best first; ``rerank`` is the same as a call."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm.config import REQUIRED, key, part
from lm.errors import UserError
from lm.models import DType
from lm.progress import progress
from lm.torch_setup import prepare_torch
from prm.loading import Reading, load_as
from prm.scorer import Scorer
from prm.scores import Aggregation, StepScores, parse_rows
from rung.score import Separator, Unscorable, as_row, score_all, solution_of, write_out
from verifiers.solution import Solution


@dataclass(frozen=True)
class RerankConfig:
    """Order the candidates of each question by the score that a process reward model gives them."""

    file: Path = key(REQUIRED, 'rows with "question" and "candidates" (texts), or a row a candidate as in `rung score`')
    out: Path | None = key(None, "where a row a question goes, its ranking best first; null: standard output")
    prm: str = key("runs/prm/model", "the process reward model: folder, hub name or symbolic")
    reading: Reading = part(Reading, "what kind of reward model it is, where its name does not say")
    aggregate: Aggregation = key("min", "how a solution's step scores become its score")
    separator: Separator = key("line", "what separates the steps of a text")
    unscorable: Unscorable = key(
        "stop", "a candidate longer than the model reads: stop, or null scores and the last place"
    )
    top: int | None = key(None, "keep only so many candidates of a question", low=1)
    prompt: str | None = key(None, "prompt with {question} in it; null uses the tokenizer's chat template")
    dtype: DType = key("float32", "precision of the model; bfloat16 for GPUs")
    micro_tokens: int = key(16384, "padded tokens a forward pass", low=1)
    threads: int | None = key(None, "CPU threads; null leaves it to torch")


def rerank(prm: Scorer, candidates: Sequence[Solution], aggregate: Aggregation = "min") -> list[tuple[int, StepScores]]:
    """(index, scores) of the candidates, best first; equal scores stay in the order given."""
    scores = prm.score(candidates)
    order = sorted(range(len(candidates)), key=lambda i: -scores[i].aggregate(aggregate))
    return [(i, scores[i]) for i in order]


def main(config: RerankConfig) -> None:
    """Write for each question {"question", "ranking": [{"index", "text", "score", "step_scores"}, ...]}."""
    groups = _groups(config)
    prepare_torch(0, config.threads)
    prm = load_as(config.reading, config.prm, config.dtype, config.micro_tokens, config.prompt)
    solutions = [solution for _, group in groups for solution in group]
    with progress("rerank", len(solutions)) as bar:
        scored = iter(score_all(prm, solutions, config.unscorable, bar.advance))
    text = ""
    for row, group in groups:
        ranking: list[dict[str, Any]] = []
        for index, solution in enumerate(group):
            s = next(scored)
            said = {"score": None, "unscorable": s} if isinstance(s, str) else as_row(s, config.aggregate)
            ranking.append({"index": index, "text": solution.text} | said)
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
