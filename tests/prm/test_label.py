"""prm.label: the files and the summary that ``rung label`` leaves, and that an interrupted run leaves the same."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from chat_server import message, serving
from living import alive, children
from toy_models import save, solution, toy_policy, toy_tokenizer

from lm.config import to_yaml
from lm.engine import Sampling
from lm.errors import UserError
from lm.run import read_metrics
from prm.consensus import agreement, mix
from prm.judge import JudgeConfig
from prm.label import LabelConfig, label
from prm.labelled_data import up_to_first_error
from prm.problems import ProblemsConfig, load_problems
from prm.scores import LabeledSolution, read_labeled, write_labeled
from rung.cli import main
from verifiers.solution import Problem

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
    both = agreement([up_to_first_error(x) for x in symbolic], items[FILES[1]] + items[FILES[3]])
    compared = summary["symbolic_and_monte_carlo"]
    assert compared["table"] == [list(row) for row in both.table]
    assert compared["both"] == sum(map(sum, compared["table"])) <= summary["steps"]
    assert compared["table_columns"] == ["monte_carlo wrong", "monte_carlo right"]
    assert "NaN" not in (tmp_path / "labels/summary.json").read_text()  # one class only: null, which JSON has
    with pytest.raises(UserError, match=r"labels holds a run; resume=true goes on with it, overwrite=true"):
        label(asked)


def test_rollouts_of_some_problems_only(policy: str, tmp_path: Path) -> None:
    label(config(policy, tmp_path, rollout_problems=4, keep="any"))
    found = {name: read_labeled(tmp_path / name) for name in FILES}
    assert [len(found[name]) for name in FILES] == [20, 8, 8, 8]
    rolled_out = found[FILES[1]] + found[FILES[3]]
    checked = [up_to_first_error(x) for x in found[FILES[0]][:8] + found[FILES[2]]]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["solutions"] == summary["mixed"]["solutions"] == 28
    assert summary["monte_carlo"]["solutions"] == 16
    assert summary["monte_carlo"]["steps"] == sum(len(x.labels) for x in rolled_out)
    compared = summary["symbolic_and_monte_carlo"]
    assert compared["table"] == [list(row) for row in agreement(checked, rolled_out).table]


def test_one_labeller(policy: str, tmp_path: Path) -> None:
    label(config(policy, tmp_path, labellers=("symbolic",)))
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
    label(config(policy, tmp_path / "labels", problems=problems, labellers=("symbolic",)))
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


def test_a_killed_run_loses_the_batch_in_flight_and_no_more(policy: str, tmp_path: Path) -> None:
    """kill -9 in the middle of a batch, its parts half written: the batches before it are not labelled again."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    many = {"train_problems": 40, "batch_problems": 2, "labellers": ("symbolic", "omega"), "searches": 1}
    label(config(policy, whole, **many))
    (tmp_path / "broken.yaml").write_text(to_yaml(config(policy, broken, **many)))
    words = [sys.executable, "-m", "rung", "label", str(tmp_path / "broken.yaml")]
    child = subprocess.Popen(words, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (broken / "parts/00003.symbolic.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    child.kill()
    child.wait()
    kept = {path.name: path.stat().st_mtime_ns for path in (broken / "parts").iterdir() if path.name < "00002"}
    assert len(kept) == 8  # two batches: symbolic, omega, its further searches and its states
    label(config(policy, broken, resume=True, **many))
    assert {name: (broken / "parts" / name).stat().st_mtime_ns for name in kept} == kept
    for name in ("train.omega.jsonl", "train.omega_states.jsonl", "summary.json", "metrics.jsonl"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.parametrize("edited", ["solutions", "problems"])
def test_a_run_does_not_go_on_with_an_edited_file(edited: str, policy: str, tmp_path: Path) -> None:
    """A run that was cut off after its first batch; then somebody mends a row, of a batch done or of one to come."""
    file = tmp_path / "train.jsonl"
    rows = [{"question": f"{i}+1?", "answer": str(i + 1), "text": f"{i}+1={i + 1}\n\nso {i + 1}"} for i in range(30)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"problems": ProblemsConfig(source=str(file), validation_fraction=0.3)}
    given = source if edited == "problems" else {"solutions": str(file)}
    asked = config(policy, tmp_path / "labels", labellers=("symbolic",), **given)
    label(asked)
    shutil.rmtree(asked.folder / "checkpoints")
    before = {path.name: path.read_bytes() for path in asked.folder.iterdir() if path.is_file()}
    label(replace(asked, resume=True))  # the same file: it goes on, to the same labels
    assert (asked.folder / "train.symbolic.jsonl").read_bytes() == before["train.symbolic.jsonl"]
    for place in (slice(0, 1), slice(29, 30)) if edited == "solutions" else (slice(30),):  # not all problems are drawn
        changed = [*rows]
        changed[place] = [row | {"answer": "7", "text": row["text"] + "\n\n7"} for row in rows[place]]
        file.write_text("".join(json.dumps(row) + "\n" for row in changed))
        with pytest.raises(UserError, match=f"{file} has changed since the run .*; overwrite=true starts afresh"):
            label(replace(asked, resume=True))
    label(replace(asked, overwrite=True))
    assert (asked.folder / "asked.json").read_bytes() != before["asked.json"]


def test_a_file_s_solutions_judged_compared_and_mixed(tmp_path: Path) -> None:
    """No policy anywhere: human labels, the equations' own check, and a judge behind HTTP that reads them as the humans
    did, but for the second step of the third solution; the consensus leaves that one out."""
    texts = ["1 + 1 = 2\n2 + 1 = 3", "1 + 1 = 3\nso 4", "2 + 2 = 4\nso 5"]
    human = [(1.0, 1.0), (0.0, None), (1.0, 0.0)]
    items = [
        LabeledSolution(
            solution(text, Problem(f"p{i}", f"q{i}", "3")), labels, tuple(x if x is None else "human" for x in labels)
        )
        for i, (text, labels) in enumerate(zip(texts, human, strict=True))
    ]
    write_labeled(tmp_path / "mine.jsonl", [*items, items[0]])
    said = {"q0": ["right", "right"], "q1": ["wrong", "unsure"], "q2": ["right", "right"]}

    def answer(request: dict, number: int) -> dict:
        question = request["messages"][1]["content"].split("\n")[1]
        return message(json.dumps({str(i): word for i, word in enumerate(said[question], start=1)}), 100, 10)

    with serving(answer) as server:
        judge = JudgeConfig(url=server.url, model="m", patience=0.01)
        asked = LabelConfig(
            folder=tmp_path / "labels",
            policy="nowhere",
            solutions=str(tmp_path / "mine.jsonl"),
            labellers=("given", "judge", "symbolic"),
            keep="any",
            judge=judge,
            batch_problems=3,
        )
        label(asked)
        label(replace(asked, folder=tmp_path / "agreed", labellers=("given", "judge"), keep="consensus"))
    folder = tmp_path / "labels"
    given, judged, checked = (read_labeled(folder / f"train.{name}.jsonl") for name in asked.labellers)
    assert given == [*items, items[0]]
    assert [item.labels for item in judged] == [(1.0, 1.0), (0.0, None), (1.0, 1.0), (1.0, 1.0)]
    assert [item.labels for item in checked] == [(1.0, 1.0), (0.0, None), (1.0, None), (1.0, 1.0)]
    assert read_labeled(folder / "train.mixed.jsonl") == mix([given, judged, checked], "any")
    agreed = read_labeled(tmp_path / "agreed/train.mixed.jsonl")
    assert [item.solution.problem.id for item in agreed] == ["p0", "p1", "p0"]
    assert agreed[1].labels == (0.0, None)
    assert agreed[0].origins == ("human+judge",) * 2
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["judge"]["prompt_tokens"] == 400
    assert summary["given_and_judge"]["first_errors"] == 0.75
    assert summary["given_and_judge"]["table"] == [[1, 1], [0, 5]]
    assert {"given_and_symbolic", "judge_and_symbolic", "mixed"} <= set(summary)
    assert not list(folder.glob("test.*"))


@pytest.mark.slow
def test_a_judge_that_starts_its_own_server(
    vllm_python: str, vllm_model: Callable[[int], Path], tmp_path: Path
) -> None:
    """A random model held to the schema judges every step of what it can read, and its server is gone at the end."""
    texts = ["12-3\n9\n#### 9", "11-3\n#### 8", "\n".join(["12-3"] * 150)]
    rows = [{"question": "8+4-3", "answer": "9", "text": text} for text in texts]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [f"folder={tmp_path / 'labels'}", f"solutions={tmp_path / 'mine.jsonl'}", "separator=line", "threads=1"]
    words += ["labellers=[symbolic,judge]", "judge.start=true", f"judge.model={vllm_model(0)}", "judge.critique=false"]
    words += ["judge.temperature=1", "judge.max_tokens=200", f"engine.python={vllm_python}", "engine.cache_gib=0.1"]
    others = children(os.getpid())  # the server of other tests
    assert main(["label", *words]) == 0
    judged = read_labeled(tmp_path / "labels" / "train.judge.jsonl")
    assert [len(item.labels) for item in judged] == [3, 2, 150]
    summary = json.loads((tmp_path / "labels" / "summary.json").read_text())["judge"]
    assert (summary["unreadable"], summary["refused"]) == (0, 1)  # the third is longer than the model's context
    assert summary["requests"] == 3
    assert summary["judged"] == sum(label is not None for item in judged for label in item.labels)
    assert not [pid for pid in children(os.getpid()) if pid not in others and alive(pid)]


def test_omega_over_a_file_of_solutions_nobody_has_labelled(policy: str, tmp_path: Path) -> None:
    rows = [{"question": "8+4-3", "answer": "9", "text": f"12-3\n{n}\n#### {n}"} for n in (9, 8)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"question": 1}]))
    asked = config(policy, tmp_path / "labels", solutions=str(tmp_path / "mine.jsonl"), labellers=("omega",))
    asked = replace(asked, separator="line")
    with pytest.raises(UserError, match=r"mine\.jsonl:3: .*on_bad_row=skip"):
        label(asked)
    label(replace(asked, on_bad_row="skip", overwrite=True))
    right, wrong = read_labeled(tmp_path / "labels/train.omega.jsonl")
    assert (right.labels, set(right.origins)) == ((1.0,) * 3, {"omega_inferred"})
    assert len(wrong.labels) == 3
    states = [json.loads(line) for line in (tmp_path / "labels/train.omega_states.jsonl").read_text().splitlines()]
    assert [(s["prefix"], s["visits"], s["mc"]) for s in states[:1]] == [("", 1, 0.5)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labellers": ()}, "name one or more"),
        ({"labellers": ("symbolic", "symbolic")}, "each once"),
        ({"labellers": ("given",)}, "name the file as solutions="),
        ({"test_solutions": "x.jsonl"}, "name theirs as solutions="),
        ({"labellers": ("judge",)}, r"judge\.model is not set"),
        ({"labellers": ("symbolic",), "keep": "consensus"}, "name at least two"),
    ],
)
def test_what_would_fail_after_hours_fails_at_once(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        label(config("nowhere", tmp_path, **changes))
