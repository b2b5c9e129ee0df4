"""rung label and rung eval math on replicas that Ray has placed, through a node's death and their own, to the end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lm.run import read_metrics

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PATIENCE = 420.0
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def home(
    fitted_policy: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    worked: list[tuple[str, str]],
    tmp_path: Path,
) -> Path:
    fitted_policy.save_pretrained(tmp_path / "policy")
    tokenizer.save_pretrained(tmp_path / "policy")
    rows = [{"question": q, "answer": s.split("#### ")[1]} for q, s in dict(worked).items()]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def words(verb: str, home: Path) -> list[str]:
    """Forty batches: enough to be killed in the middle of."""
    if verb == "label":
        given = ["label", "labellers=[monte_carlo]", f"problems.source={home}/sums.jsonl", "train_problems=72"]
        given += ["test_problems=8", "batch_problems=2", "rollouts=2", "problems.validation_fraction=0.2"]
    else:
        given = ["eval", "math", f"sets={{sums: {home}/sums.jsonl}}", "limit=80", "batch_problems=2", "samples=2"]
        given += ["prompt=plain", "verify_workers=0"]
    return [*given, f"policy={home}/policy", "sampling.max_tokens=20", "engine_batch=4", "threads=1"]


def start(given: Sequence[str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", "rung", *given], cwd=ROOT, start_new_session=True)


def wait_for_batches(run: "subprocess.Popen[bytes]", folder: Path, count: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while not (folder / "metrics.jsonl").exists() or len(read_metrics(folder)) < count:
        assert run.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def parts(folder: Path) -> dict[Path, int]:
    """The batches on disk, and when each was written."""
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*.jsonl")) if path.parent != folder}


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("verb", "result"), [("label", "train.monte_carlo.jsonl"), ("eval math", "results.jsonl")])
def test_a_node_dies_and_then_the_run_and_nothing_is_lost_or_done_twice(
    verb: str, result: str, home: Path, ray_cluster: Any
) -> None:
    here, there = home / "here", home / "there"
    alone = start([*words(verb, home), f"folder={here}"])
    assert alone.wait(PATIENCE) == 0

    on_replicas = [*words(verb, home), f"folder={there}", "engine.replicas=2", f"engine.cluster={ray_cluster.address}"]
    run = start(on_replicas)
    try:
        wait_for_batches(run, there, 2)
        dying = ray_cluster.list_all_nodes()[-1]  # with one of the replicas: a node has room for one
        ray_cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
        ray_cluster.remove_node(dying, allow_graceful=False)
        wait_for_batches(run, there, len(read_metrics(there)) + 3)
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    done = len(read_metrics(there))
    written = parts(there)
    assert 5 <= done < 40

    assert start([*on_replicas, "resume=true"]).wait(PATIENCE) == 0
    assert [line["step"] for line in read_metrics(there)] == list(range(40))
    assert (there / result).read_bytes() == (here / result).read_bytes()
    kept = [path for path, when in parts(there).items() if written.get(path) == when]
    assert len(kept) >= done - 1  # the batch whose checkpoint was being written may have been done again
