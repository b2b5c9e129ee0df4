"""prm.journal: what a killed run had scored is not scored again, and nothing else is taken for it."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from lm.errors import UserError
from prm.journal import BATCH, Journal, journal_of, score_kept
from prm.loading import Reading
from prm.scorer import Advance
from prm.scores import StepScores
from rung.cli import main
from verifiers.solution import Problem, Solution
from verifiers.split import split_steps

ROOT = Path(__file__).resolve().parents[2]


class Counting:
    """Scores a solution by its length, remembers how many it was asked for, and breaks down when told to."""

    def __init__(self, breaks_after: int = 10**9) -> None:
        self.scored, self.breaks_after = 0, breaks_after

    def score(self, solutions: Sequence[Solution], advance: Advance | None = None) -> list[StepScores]:
        self.scored += len(solutions)
        if self.scored > self.breaks_after:
            raise KeyboardInterrupt
        return [StepScores(np.array([1 / (3 + len(s.text))]), unsaid=(0,)) for s in solutions]

    def measure(self, solutions: Sequence[Solution]) -> list[int | str]:
        return ["too odd" if s.text == "x" * 7 else 1 for s in solutions]


def solutions(count: int, question: str = "q") -> list[Solution]:
    texts = ["x" * (1 + i) for i in range(count)]
    return [Solution(Problem(str(i), question, ""), text, split_steps(text)) for i, text in enumerate(texts)]


def values(found: Sequence[StepScores | str]) -> list[object]:
    return [s if isinstance(s, str) else (s.probabilities.tolist(), s.outcome, s.unsaid) for s in found]


def test_a_run_that_was_cut_off_goes_on_at_its_last_whole_batch(tmp_path: Path) -> None:
    asked, whole = solutions(3 * BATCH), values(score_kept(Counting(), solutions(3 * BATCH), None))
    assert whole[6] == "too odd"
    path = tmp_path / "new" / "out.scores"
    with pytest.raises(KeyboardInterrupt):
        score_kept(Counting(2 * BATCH), asked, Journal(path, "s", False))
    with path.open("a") as file:  # as if the kill had struck while the third was written
        file.write('[{"p": [0.5')
    again, told = Counting(), list[int]()
    assert values(score_kept(again, asked, Journal(path, "s", True), told.append)) == whole
    assert again.scored == BATCH
    assert told[0] == 2 * BATCH
    assert values(score_kept(none := Counting(), asked, Journal(path, "s", True))) == whole  # cut off before its output
    assert none.scored == 0


def test_only_what_it_was_asked_for_is_taken_from_it(tmp_path: Path) -> None:
    path = tmp_path / "out.scores"
    score_kept(Counting(), solutions(3), Journal(path, "s", True))
    with pytest.raises(UserError, match="a run that was cut off; resume=true goes on, or delete it"):
        score_kept(Counting(), solutions(3), Journal(path, "s", False))
    for other, settings in ((solutions(4), "s"), (solutions(3, "r"), "s"), (solutions(3), "t")):
        with pytest.raises(UserError, match="other solutions, or by another model"):
            score_kept(Counting(), other, Journal(path, settings, True))
    moved = [Solution(s.problem, s.text, ()) for s in solutions(3)]
    with pytest.raises(UserError, match="other solutions"):
        score_kept(Counting(), moved, Journal(path, "s", True))


def test_a_model_that_was_trained_anew_is_another_one(tmp_path: Path) -> None:
    (tmp_path / "prm").mkdir()
    weights = tmp_path / "prm" / "model.safetensors"
    settings = []
    for text in ("a", "bc"):
        weights.write_text(text)
        settings.append(journal_of(tmp_path, Reading(), str(weights.parent), "float32", None, resume=True).settings)
    assert settings[0] != settings[1]


def test_rung_score_survives_kill_9(tmp_path: Path) -> None:
    file, out, kept = tmp_path / "in.jsonl", tmp_path / "out.jsonl", tmp_path / "out.jsonl.scores"
    rows = [
        {"question": "?", "text": f"{i}+{i}={2 * i}\n{i}*2={2 * i + i % 2}\n{i}-1={i - 1}"} for i in range(8 * BATCH)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["score", f"file={file}", "prm=symbolic", "threads=1"]
    with subprocess.Popen([sys.executable, "-m", "rung", *words, f"out={out}"], cwd=ROOT, stderr=-3) as process:
        while not (kept.exists() and kept.read_bytes().count(b"\n") > 1):
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    assert not out.exists()
    assert 1 < kept.read_bytes().count(b"\n") < 9
    assert main([*words, f"out={out}"]) == 2  # it says that there is something to go on with
    assert main([*words, f"out={out}", "resume=true"]) == 0
    assert main([*words, f"out={tmp_path / 'whole.jsonl'}"]) == 0
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert not kept.exists()
