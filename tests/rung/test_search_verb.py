"""rung search end to end with tiny models, and with the exact check as the guide."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lm.checkpoint import save_model
from rung.cli import main
from verifiers.solution import Problem
from verifiers.verify import verify

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@pytest.fixture
def given(
    fitted_policy: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    worked: list[tuple[str, str]],
    tmp_path: Path,
) -> list[str]:
    """Settings for six problems, a tiny policy and the exact check."""
    save_model(tmp_path / "policy", fitted_policy)
    tokenizer.save_pretrained(tmp_path / "policy")
    for name, rows in (("train", [("another", "#### 1")]), ("test", worked[:6])):
        lines = [json.dumps({"question": q, "answer": s.rpartition(" ")[2]}) + "\n" for q, s in rows]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    given = [f"policy={tmp_path}/policy", "prm=symbolic", f"problems.source={tmp_path}/train.jsonl", "threads=1"]
    return [*given, f"problems.test_source={tmp_path}/test.jsonl", "sampling.max_tokens=24", "search.n=8"]


def test_rows_say_what_was_found_and_what_it_took(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {}
    for batch, strategy in ((6, "best_of_n"), (6, "beam_search"), (4, "beam_search")):
        folder = tmp_path / f"{strategy}-{batch}"
        words = [f"folder={folder}", f"search.strategy={strategy}", f"batch_problems={batch}"]
        assert main(["search", *given, *words]) == 0
        found[strategy, batch] = [json.loads(line) for line in (folder / "found.jsonl").read_text().splitlines()]
        summary = json.loads((folder / "summary.json").read_text())
        rows_found = found[strategy, batch]
        assert summary["right"]["mean"] == pytest.approx(sum(row["correct"] for row in rows_found) / 6)
        assert summary["finished"] == pytest.approx(sum(row["end"] == "finished" for row in rows_found) / 6)
        assert summary["tokens"]["sampled"] == pytest.approx(sum(row["cost"]["sampled"] for row in rows_found) / 6)
        told = capsys.readouterr().out
        assert told.startswith(f"{strategy}: {100 * summary['right']['mean']:.1f} % [")
        for row in rows_found:
            verdict = verify(Problem("", row["question"], row["gold"]), row["text"])
            assert (row["correct"], row["reason"]) == (verdict.correct, verdict.reason)
            assert 0 <= row["score"] <= 1
    assert found["beam_search", 4] == found["beam_search", 6]  # what is searched beside a problem changes nothing
    assert all(row["candidates"] == 8 for row in found["best_of_n", 6])
    assert main(["search", *given, f"folder={tmp_path}/x", "search.strategy=dvts", "search.n=6"]) == 2
    assert "n=6 is no multiple of width=8" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_search_goes_on_to_the_same_bytes(given: list[str], tmp_path: Path) -> None:
    """A search is killed (SIGKILL) once it has written some batches; resumed, it redoes none of them."""
    given = [*given, "search.strategy=beam_search", "batch_problems=1"]
    assert main(["search", *given, f"folder={tmp_path}/whole"]) == 0
    killed = tmp_path / "killed"
    command = [sys.executable, "-m", "rung", "search", *given, f"folder={killed}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) as process:
        until = time.monotonic() + 120
        while not (killed / "parts" / "00001.found.jsonl").exists():
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.002)
        process.kill()
    written = {path.name: path.stat().st_mtime_ns for path in (killed / "parts").iterdir()}
    assert not (killed / "summary.json").exists()
    assert main(["search", *given, f"folder={killed}", "resume=true"]) == 0
    for name in ("found.jsonl", "summary.json", "metrics.jsonl"):
        assert (killed / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert (killed / "parts" / "00000.found.jsonl").stat().st_mtime_ns == written["00000.found.jsonl"]
    assert main(["search", *given, f"folder={killed}", "resume=true", "seed=5"]) == 2
