"""``rung score``: P(right) of every step of the solutions in a file, for reranking and for looking."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lm.checkpoint import write_atomic
from lm.config import REQUIRED, key, part
from lm.models import DType
from lm.torch_setup import prepare_torch
from prm.fields import encodable, solution_in
from prm.journal import Journal, journal_of, score_all
from prm.loading import Reading, load_as
from prm.readers import OnBadRow, read_parsed
from prm.scorer import stop_at_complaint
from prm.scores import Aggregation, StepScores
from verifiers.solution import Problem, Solution
from verifiers.split import Separator

Unscorable = Literal["stop", "null"]


@dataclass(frozen=True)
class ScoreConfig:
    """Score the steps of solutions in a .jsonl(.gz), .json or .parquet file with a process reward model."""

    file: Path = key(REQUIRED, 'rows with "question" and "text" (cut into steps), "steps" (a list), or both')
    out: Path | None = key(None, "where the rows go with step_scores and score added; null: standard output")
    prm: str = key("runs/prm/model", "the process reward model: folder, hub name or symbolic")
    reading: Reading = part(Reading, "what kind of reward model it is, where its name does not say")
    aggregate: Aggregation = key("min", "how a solution's step scores become its score")
    separator: Separator = key("line", "what separates the steps of a text")
    unscorable: Unscorable = key("null", "a solution without scores (too long, an empty step): null and why, or stop")
    on_bad_row: OnBadRow = key("error", "a malformed row ends the run, or is left out and reported")
    resume: bool = key(False, "go on with what a run that was cut off has left beside out, in OUT.scores")
    prompt: str | None = key(None, "prompt with {question} in it; null uses the tokenizer's chat template")
    dtype: DType = key("float32", "precision of the model; bfloat16 for GPUs")
    micro_tokens: int = key(16384, "padded tokens a forward pass", low=1)
    threads: int | None = key(None, "CPU threads; null leaves it to torch")


def main(config: ScoreConfig) -> None:
    """Write each row of the file with ``step_scores`` (S,) and ``score`` added."""
    rows = read_parsed(
        config.file, lambda where, row: (row, solution_of(row, where, config.separator)), config.on_bad_row
    )
    scores = scores_of([solution for _, solution in rows], config)
    lines = [
        json.dumps(dict(row) | as_row(s, config.aggregate), ensure_ascii=False)
        for (row, _), s in zip(rows, scores, strict=True)
    ]
    write_out(config, "".join(line + "\n" for line in lines))


def scores_of(solutions: Sequence[Solution], config: ScoreConfig) -> list[StepScores | str]:
    """The scores of each solution, or the reason why it has none (with ``unscorable=stop`` that is a UserError)."""
    prepare_torch(0, config.threads)
    prm = load_as(config.reading, config.prm, config.dtype, config.micro_tokens, config.prompt)
    if config.unscorable == "stop":
        stop_at_complaint(prm.measure(solutions))
    return score_all(prm, solutions, _journal(config))


def _journal(config: ScoreConfig) -> Journal | None:
    """Beside the output; standard output can keep nothing."""
    if config.out is None:
        return None
    kept = config.out.with_name(config.out.name + ".scores")
    return journal_of(kept, config.reading, config.prm, config.dtype, config.prompt, resume=config.resume)


def as_row(scores: StepScores | str, aggregate: Aggregation) -> dict[str, Any]:
    """What the output says of a solution: its scores, or nulls and why it has none."""
    if isinstance(scores, str):
        return {"step_scores": None, "score": None, "unscorable": scores}
    said: dict[str, Any] = {"step_scores": scores.probabilities.tolist(), "score": scores.aggregate(aggregate)}
    return said | ({"unsaid_steps": list(scores.unsaid)} if scores.unsaid else {})


def write_out(config: ScoreConfig, text: str) -> None:
    """To the file, whole or not at all, or to standard output."""
    journal = _journal(config)
    if config.out is None or journal is None:
        print(text, end="")
    else:
        write_atomic(config.out, text)
        journal.close()


def solution_of(row: Mapping[str, Any], where: str, separator: Separator) -> Solution:
    """The solution in a row, see ``prm.fields.solution_in``. ValueError where it holds none; ``where`` is the name of
    one without an id."""
    question = row.get("question")
    if not isinstance(question, str):
        raise ValueError('no "question" text')
    return solution_in(row, Problem(str(row.get("id", where)), encodable(question, '"question"'), ""), separator)
