"""``rung score``: P(right) of every step of the solutions in a file, for reranking and for looking."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lm.checkpoint import write_atomic
from lm.config import REQUIRED, key
from lm.errors import UserError
from lm.models import DType
from lm.progress import progress
from lm.torch_setup import prepare_torch
from prm.loading import load as load_prm
from prm.scores import Aggregation, parse_rows
from verifiers.solution import Problem, Solution, Step
from verifiers.split import split_steps


@dataclass(frozen=True)
class ScoreConfig:
    """Score the steps of solutions in a .jsonl(.gz), .json or .parquet file with a process reward model."""

    file: Path = key(REQUIRED, 'rows with "question" and "text" (cut into steps), or "question" and "steps" (a list)')
    out: Path | None = key(None, "where the rows go with step_scores and score added; null: standard output")
    prm: str = key("runs/prm/model", "the process reward model: folder or hub name")
    aggregate: Aggregation = key("min", "how a solution's step scores become its score")
    separator: Literal["line", "paragraph"] = key("line", "what separates the steps of a text")
    prompt: str | None = key(None, "prompt with {question} in it; null uses the tokenizer's chat template")
    dtype: DType = key("float32", "precision of the model; bfloat16 for GPUs")
    micro_tokens: int = key(16384, "padded tokens a forward pass", low=1)
    threads: int | None = key(None, "CPU threads; null leaves it to torch")


def main(config: ScoreConfig) -> None:
    """Write each row of the file with ``step_scores`` (S,) and ``score`` added."""
    rows = list(parse_rows(config.file, dict))
    if not rows:
        raise UserError(f"{config.file} is empty: no solutions to score")
    solutions = [_solution(row, f"{config.file}: row {i + 1}", config.separator) for i, row in enumerate(rows)]
    prepare_torch(0, config.threads)
    prm = load_prm(config.prm, config.dtype, config.micro_tokens, config.prompt)
    with progress("score", len(solutions)) as bar:
        scores = prm.score(solutions, bar.advance)
    text = ""
    for row, s in zip(rows, scores, strict=True):
        added = {"step_scores": s.probabilities.tolist(), "score": s.aggregate(config.aggregate)}
        text += json.dumps(row | added, ensure_ascii=False) + "\n"
    if config.out is None:
        print(text, end="")
    else:
        config.out.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(config.out, text)


def _solution(row: dict[str, Any], where: str, separator: Literal["line", "paragraph"]) -> Solution:
    question, text, steps = row.get("question"), row.get("text"), row.get("steps")
    if not isinstance(question, str):
        raise UserError(f'{where} has no "question" text')
    problem = Problem(str(row.get("id", where)), question, "")
    if isinstance(text, str):
        return Solution(problem, text, split_steps(text, separator))
    if not isinstance(steps, list) or not all(isinstance(s, str) and s.strip() for s in steps):
        raise UserError(f'{where} has neither a "text" nor a list of "steps" that are text')
    joined, spans = "", []
    for s in steps:
        joined += ("\n" if separator == "line" else "\n\n") if joined else ""
        spans.append(Step(s, len(joined), len(joined) + len(s)))
        joined += s
    return Solution(problem, joined, tuple(spans))
