"""prm.label: the files and the summary that ``rung label`` leaves, and that an interrupted run leaves the same."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy_models import save, toy_policy, toy_tokenizer

from lm.config import to_yaml
from lm.engine import Sampling
from lm.errors import UserError
from lm.run import read_metrics
from prm.label import LabelConfig, label
from prm.labelling import agreement
from prm.problems import ProblemsConfig, load_problems
from prm.scores import read_labeled

ROOT = Path(__file__).resolve().parents[2]
FILES = [f"{which}.{origin}.jsonl" for which in ("train", "test") for origin in ("symbolic", "monte_carlo")]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    tokenizer = toy_tokenizer()
    return save(toy_policy(tokenizer), tokenizer, tmp_path_factory.mktemp("policy"))


def config(policy: str, folder: Path, **changes: object) -> LabelConfig:
    settings: dict = {
        "folder": folder,
        "policy": policy,
        "problems": ProblemsConfig(families=("chain", "word"), levels=(1, 2)),
        "train_problems": 10,
        "test_problems": 4,
        "sampling": Sampling(n=2, max_tokens=16),
        "rollouts": 2,
        "batch_problems": 4,
        "threads": 1,
    }
    return LabelConfig(**settings | changes)


def test_the_files_and_the_summary(policy: str, tmp_path: Path) -> None:
    asked = config(policy, tmp_path / "labels")
    label(asked)
    items = {name: read_labeled(tmp_path / "labels" / name) for name in FILES}
    assert [len(items[name]) for name in FILES] == [20, 20, 8, 8]
    for which, split in (("train", "train"), ("test", "validation")):
        symbolic, monte_carlo = items[f"{which}.symbolic.jsonl"], items[f"{which}.monte_carlo.jsonl"]
        assert [x.solution for x in symbolic] == [x.solution for x in monte_carlo]
        problems = [e.problem for e in load_problems(asked.problems, split, 10, stream=2)]  # type: ignore[arg-type]
        assert [x.solution.problem for x in symbolic[::2]] == problems[: len(symbolic) // 2]
    summary = json.loads((tmp_path / "labels/summary.json").read_text())
    symbolic = items[FILES[0]] + items[FILES[2]]
    labels = [x for item in symbolic for x in item.labels]
    assert (summary["solutions"], summary["steps"]) == (28, len(labels))
    assert summary["symbolic"]["right"] == pytest.approx(sum(x or 0.0 for x in labels) / len(labels))
    assert summary["monte_carlo"]["rollouts"] == 2 * summary["monte_carlo"]["prefixes"]
    both = agreement(symbolic, items[FILES[1]] + items[FILES[3]])
    assert summary["agreement"]["table"] == [list(row) for row in both.table]
    assert summary["agreement"]["both"] == summary["steps"]
    assert "NaN" not in (tmp_path / "labels/summary.json").read_text()  # one class only: null, which JSON has
    with pytest.raises(UserError, match=r"labels holds a run; resume=true goes on with it, overwrite=true"):
        label(asked)


def test_rollouts_of_some_problems_only(policy: str, tmp_path: Path) -> None:
    label(config(policy, tmp_path, rollout_problems=4))
    found = {name: read_labeled(tmp_path / name) for name in FILES}
    assert [len(found[name]) for name in FILES] == [20, 8, 8, 8]
    rolled_out = found[FILES[1]] + found[FILES[3]]
    checked = found[FILES[0]][:8] + found[FILES[2]]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["solutions"] == 28
    assert summary["monte_carlo"]["solutions"] == 16
    assert summary["monte_carlo"]["steps"] == sum(len(x.labels) for x in rolled_out)
    assert summary["agreement"]["table"] == [list(row) for row in agreement(checked, rolled_out).table]


def test_without_rollouts(policy: str, tmp_path: Path) -> None:
    label(config(policy, tmp_path, rollouts=0))
    assert sorted(path.name for path in tmp_path.glob("t*.jsonl")) == [
        "test.symbolic.jsonl",
        "timing.jsonl",
        "train.symbolic.jsonl",
    ]
    assert json.loads((tmp_path / "summary.json").read_text()).keys() == {"solutions", "steps", "symbolic"}


def test_a_file_s_steps_are_judged_where_they_state_an_equation(policy: str, tmp_path: Path) -> None:
    rows = [{"question": f"What is {i} + 1?", "answer": f"{i} + 1 = {i + 1}\n#### {i + 1}"} for i in range(30)]
    source = tmp_path / "train.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    problems = ProblemsConfig(source=str(source), validation_fraction=0.3)
    label(config(policy, tmp_path / "labels", problems=problems, rollouts=0))
    summary = json.loads((tmp_path / "labels/summary.json").read_text())
    assert summary["symbolic"]["judged"] < summary["steps"]  # a random model's lines state nothing


def test_an_interrupted_run_resumes_to_the_same_bytes(policy: str, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    many = {"train_problems": 60, "batch_problems": 2, "sampling": Sampling(n=2, max_tokens=32)}
    label(config(policy, whole, **many))
    (tmp_path / "broken.yaml").write_text(to_yaml(config(policy, broken, **many)))
    words = [sys.executable, "-m", "rung", "label", str(tmp_path / "broken.yaml")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(words, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (broken / "parts/00002.monte_carlo.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    said = child.communicate(timeout=120)[1]
    assert child.returncode == 130, said
    assert "resume=true" in said.splitlines()[-1]
    assert not (broken / "summary.json").exists()
    assert 3 <= len(read_metrics(broken)) < 32

    label(config(policy, broken, resume=True, **many))
    for name in [*FILES, "summary.json", "metrics.jsonl"]:
        assert (broken / name).read_bytes() == (whole / name).read_bytes(), name
