"""``rung score``: P(right) of every step of the solutions in a file, for reranking and for looking."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lm.checkpoint import write_atomic
from lm.config import REQUIRED, key, part
from lm.errors import UserError
from lm.models import DType
from lm.progress import progress
from lm.torch_setup import prepare_torch
from prm.loading import Reading, load_as
from prm.scorer import report_unscored, score_each
from prm.scores import Aggregation, StepScores, parse_rows
from verifiers.solution import Problem, Solution
from verifiers.split import join_steps, split_steps

Separator = Literal["line", "paragraph"]
Unscorable = Literal["stop", "null"]


@dataclass(frozen=True)
class ScoreConfig:
    """Score the steps of solutions in a .jsonl(.gz), .json or .parquet file with a process reward model."""

    file: Path = key(REQUIRED, 'rows with "question" and "text" (cut into steps), or "question" and "steps" (a list)')
    out: Path | None = key(None, "where the rows go with step_scores and score added; null: standard output")
    prm: str = key("runs/prm/model", "the process reward model: folder, hub name or symbolic")
    reading: Reading = part(Reading, "what kind of reward model it is, where its name does not say")
    aggregate: Aggregation = key("min", "how a solution's step scores become its score")
    separator: Separator = key("line", "what separates the steps of a text")
    unscorable: Unscorable = key("null", "a solution without scores (too long, an empty step): null and why, or stop")
    prompt: str | None = key(None, "prompt with {question} in it; null uses the tokenizer's chat template")
    dtype: DType = key("float32", "precision of the model; bfloat16 for GPUs")
    micro_tokens: int = key(16384, "padded tokens a forward pass", low=1)
    threads: int | None = key(None, "CPU threads; null leaves it to torch")


def main(config: ScoreConfig) -> None:
    """Write each row of the file with ``step_scores`` (S,) and ``score`` added."""
    rows = list(parse_rows(config.file, dict))
    if not rows:
        raise UserError(f"{config.file} is empty: no solutions to score")
    solutions = [solution_of(row, f"{config.file}: row {i + 1}", config.separator) for i, row in enumerate(rows)]
    scores = score_all(solutions, config)
    lines = [
        json.dumps(row | as_row(s, config.aggregate), ensure_ascii=False) for row, s in zip(rows, scores, strict=True)
    ]
    write_out(config.out, "".join(line + "\n" for line in lines))


def score_all(solutions: Sequence[Solution], config: ScoreConfig) -> list[StepScores | str]:
    """The scores of each solution, or the reason why it has none (with ``unscorable=stop`` that is a UserError)."""
    prepare_torch(0, config.threads)
    prm = load_as(config.reading, config.prm, config.dtype, config.micro_tokens, config.prompt)
    with progress("score", len(solutions)) as bar:
        if config.unscorable == "stop":
            return list(prm.score(solutions, bar.advance))
        found = score_each(prm, solutions, bar.advance)
    report_unscored(found)
    return found


def as_row(scores: StepScores | str, aggregate: Aggregation) -> dict[str, Any]:
    """What the output says of a solution: its scores, or nulls and why it has none."""
    if isinstance(scores, str):
        return {"step_scores": None, "score": None, "unscorable": scores}
    said: dict[str, Any] = {"step_scores": scores.probabilities.tolist(), "score": scores.aggregate(aggregate)}
    return said | ({"unsaid_steps": list(scores.unsaid)} if scores.unsaid else {})


def write_out(out: Path | None, text: str) -> None:
    """To the file, whole or not at all, or to standard output."""
    if out is None:
        print(text, end="")
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(out, text)


def solution_of(row: dict[str, Any], where: str, separator: Separator) -> Solution:
    """The solution in a row: its "text" cut into steps, or its "steps" joined."""
    question, text, steps = row.get("question"), row.get("text"), row.get("steps")
    if not isinstance(question, str):
        raise UserError(f'{where} has no "question" text')
    problem = Problem(str(row.get("id", where)), question, "")
    if isinstance(text, str):
        return Solution(problem, text, split_steps(text, separator))
    if not isinstance(steps, list) or not all(isinstance(s, str) for s in steps):
        raise UserError(f'{where} has neither a "text" nor a list of "steps" that are text')
    return Solution(problem, *join_steps(steps, separator))
