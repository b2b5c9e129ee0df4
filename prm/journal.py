"""Scores kept on disk as they come: a run that is killed loses the batch in flight and no more."""

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm.checkpoint import write_atomic
from lm.errors import UserError
from lm.models import DType
from lm.progress import progress
from prm.loading import Reading
from prm.scorer import Advance, Scorer, score_each
from prm.scores import StepScores
from verifiers.solution import Solution

BATCH = 512  # solutions scored between two writes


@dataclass(frozen=True)
class Journal:
    """Where a run keeps its scores until its output is whole, and whether it goes on from what another has left.

    ``settings`` is all that the scores depend on beside the solutions: scores kept under other settings are refused.
    """

    path: Path
    settings: str
    resume: bool

    def open(self, solutions: Sequence[Solution]) -> list[StepScores | str]:
        """The scores kept already, in the order of the solutions, with the file ready for those to come.

        Raises UserError where the file is of another run, or there is one that nobody has asked to go on with.
        """
        asked = self._digest(solutions)
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self.path, json.dumps({"asked": asked}) + "\n")
            return []
        if not self.resume:
            raise UserError(f"{self.path} holds scores of a run that was cut off; resume=true goes on, or delete it")
        kept = self.path.read_bytes()
        whole = kept[: kept.rfind(b"\n") + 1]  # the kill may have struck in the middle of a line
        os.truncate(self.path, len(whole))
        first, *lines = whole.decode().splitlines() or ["{}"]
        if json.loads(first).get("asked") != asked:
            raise UserError(
                f"{self.path} holds scores of other solutions, or by another model; delete it to start anew"
            )
        return [_read(row) for line in lines for row in json.loads(line)]

    def add(self, scores: "Sequence[StepScores | str]") -> None:
        """Keep the scores of a batch, in one line."""
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([_row(s) for s in scores]) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(
                f"cannot write {self.path}: {error.strerror}; mend that, then resume=true goes on"
            ) from error

    def close(self) -> None:
        """Drop it: what it held is in the output now."""
        self.path.unlink(missing_ok=True)

    def _digest(self, solutions: Sequence[Solution]) -> str:
        found = hashlib.sha256(self.settings.encode())
        for s in solutions:
            said = [s.problem.question, s.text, [[step.start, step.end] for step in s.steps]]
            found.update(json.dumps(said).encode())
        return found.hexdigest()


def score_kept(
    prm: Scorer, solutions: Sequence[Solution], journal: Journal | None, advance: Advance | None = None
) -> list[StepScores | str]:
    """``score_each`` batch by batch, each kept in the ``journal``; what that has already is not scored again."""
    if journal is None:
        return score_each(prm, solutions, advance)
    found = journal.open(solutions)
    if advance is not None:
        advance(len(found))
    for start in range(len(found), len(solutions), BATCH):
        batch = score_each(prm, solutions[start : start + BATCH], advance)
        journal.add(batch)
        found += batch
    return found


def score_all(
    prm: Scorer, solutions: Sequence[Solution], journal: Journal | None, *, some: bool = False
) -> list[StepScores | str]:
    """``score_kept`` behind a bar; says on standard error how many solutions have no score, and why the first has none.

    With ``some``, UserError where none of them has.
    """
    with progress("score", len(solutions)) as bar:
        found = score_kept(prm, solutions, journal, bar.advance)
    reasons = [score for score in found if isinstance(score, str)]
    if some and reasons and len(reasons) == len(found):
        if journal is not None:
            journal.close()
        raise UserError(f"nothing here can be scored; {reasons[0]}")
    if reasons:
        print(f"{len(reasons)} of {len(found)} solutions have no score; the first: {reasons[0]}", file=sys.stderr)
    return found


def journal_of(path: Path, reading: Reading, name: str, dtype: DType, prompt: str | None, *, resume: bool) -> Journal:
    """The journal at ``path`` of what ``prm.loading.load_as`` makes of the rest."""
    names = (name, *reading.also, *filter(None, [reading.reference]))
    files = [path for name in names for path in sorted(Path(name).glob("*.safetensors"))]
    # A folder's weights may be those of another training by the time a run is gone on with.
    weights = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return Journal(path, repr((name, reading, dtype, prompt, weights)), resume)


def _row(scores: StepScores | str) -> Any:
    if isinstance(scores, str):
        return scores
    return {"p": scores.probabilities.tolist(), "outcome": scores.outcome, "unsaid": scores.unsaid}


def _read(row: Any) -> StepScores | str:
    if isinstance(row, str):
        return row
    return StepScores(row["p"], row["outcome"], tuple(row["unsaid"]))
