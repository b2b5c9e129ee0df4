"""The corpus of other projects' cases, where it is at hand: more than 98.5 % right and no false accept."""

import json
from pathlib import Path

import pytest

from verifiers.equal import equal
from verifiers.solution import Problem
from verifiers.verify import verify

CASES = Path(__file__).resolve().parents[2].parent / "shared" / "verifier_cases"


@pytest.mark.skipif(not CASES.exists(), reason="shared/verifier_cases is not here")
@pytest.mark.parametrize(("name", "least"), [("cases", 0.985), ("models", 0.995), ("gsm8k", 1.0)])
def test_right(name: str, least: float) -> None:
    rows = [json.loads(line) for line in (CASES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    wrong = []
    for row in rows:
        bare = row["kind"] == "answer"
        gold, prediction = row["gold"], row["prediction"]
        accepted = bool(equal(gold, prediction)) if bare else verify(Problem("p", "", gold), prediction).correct
        if accepted != row["expected"]:
            wrong.append((row["expected"], gold, prediction[-80:]))
    assert [case for case in wrong if not case[0]] == []
    assert len(rows) - len(wrong) >= least * len(rows), wrong
