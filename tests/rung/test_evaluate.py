"""rung.evaluate: the summary, recomputed from the solutions by hand."""

import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_ladder import ENVIRONMENT, read_json, rung_command

from lm.config import to_yaml
from lm.engine import Sampling, TransformersEngine
from lm.errors import UserError
from lm.models import ModelConfig, load_causal_lm, load_tokenizer
from lm.optim import OptimConfig
from lm.run import read_metrics
from lm.sft import FitConfig
from prm.labelled_data import StepData
from prm.labelling import symbolic_labels
from prm.loading import Reading
from prm.loading import load as load_prm
from prm.problems import ProblemsConfig, load_problems
from prm.sample import sample_solutions
from prm.scores import write_labeled
from prm.train import PRMConfig
from prm.train import train as train_prm
from rung.evaluate import EvalConfig, evaluate
from rung.report_data import read_lines
from rung.sft import SFTConfig
from rung.sft import train as train_sft
from verifiers.equal import equal
from verifiers.solution import Problem
from verifiers.verify import verify, verify_solution

PROBLEMS = ProblemsConfig(families=("chain",), levels=(1, 2))
K = 4


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two policies that are right now and then, and a reward model of the first."""
    folder = tmp_path_factory.mktemp("runs")
    sizes = ModelConfig(hidden_size=48, layers=2, heads=2, intermediate_size=96, vocabulary=300)
    optim = OptimConfig(lr=5e-3, warmup=10)
    for name, steps in (("first", 100), ("second", 150)):
        fit = FitConfig(steps=steps, batch=32, optim=optim)
        train_sft(SFTConfig(folder=folder / name, problems=PROBLEMS, examples=300, model=sizes, fit=fit, threads=1))
    tokenizer = load_tokenizer(str(folder / "first/model"))
    engine = TransformersEngine(load_causal_lm(str(folder / "first/model")), tokenizer)
    problems = [e.problem for e in load_problems(PROBLEMS, "train", 60)]
    solved = sample_solutions(engine, tokenizer, problems, Sampling(n=2, max_tokens=24), 0)
    write_labeled(folder / "a.jsonl", [symbolic_labels(s, True) for s, _ in solved])
    data = StepData(train=(str(folder / "a.jsonl"),), test=(str(folder / "a.jsonl"),))
    start = ModelConfig(path=str(folder / "first/model"))
    fit = FitConfig(steps=30, batch=16, optim=optim)
    train_prm(PRMConfig(folder=folder / "prm", data=data, model=start, fit=fit, threads=1))
    return folder


def config(runs: Path, folder: Path) -> EvalConfig:
    return EvalConfig(
        folder=folder,
        policies={"one": str(runs / "first/model"), "two": str(runs / "second/model")},
        prm=str(runs / "prm/model"),
        problems=PROBLEMS,
        count=50,
        sampling=Sampling(n=K, max_tokens=24),
        shown=50,
        seed=3,
        threads=1,
    )


def test_the_summary_by_hand(runs: Path, tmp_path: Path) -> None:
    asked = config(runs, tmp_path / "eval")
    summary = evaluate(asked)
    assert summary == read_json(tmp_path / "eval/summary.json")
    problems = [e.problem for e in load_problems(PROBLEMS, "test", 50, stream=9)]
    prm = load_prm(str(asked.prm))
    greedy: dict[str, list[bool]] = {}
    for arm in summary["arms"]:
        path = asked.policies[arm["name"]]
        tokenizer = load_tokenizer(path)
        engine = TransformersEngine(load_causal_lm(path), tokenizer, asked.engine_batch)
        one = sample_solutions(engine, tokenizer, problems, Sampling(temperature=0, max_tokens=24), 0)
        greedy[arm["name"]] = [verify_solution(s).correct for s, _ in one]
        drawn = [s for s, _ in sample_solutions(engine, tokenizer, problems, asked.sampling, asked.seed)]
        some, most, best = [], [], []
        for p in range(50):
            group = drawn[K * p : K * p + K]
            verdicts = [verify_solution(s) for s in group]
            right = [v.correct for v in verdicts]
            some.append(any(right))
            said = [v.predicted for v in verdicts]
            votes = [sum(a is not None and b is not None and bool(equal(a, b)) for b in said) for a in said]
            leading = [r for r, n in zip(right, votes, strict=True) if n == max(votes) > 0]
            most.append(float(np.mean(leading)) if leading else 0.0)
            scores = [min(s.probabilities, default=0.0) for s in prm.score(group)]
            best.append(float(np.mean([r for r, s in zip(right, scores, strict=True) if s == max(scores)])))
        assert arm["greedy"]["mean"] == pytest.approx(np.mean(greedy[arm["name"]]))
        assert arm["pass@k"][str(K)]["mean"] == pytest.approx(np.mean(some))
        assert arm["majority@k"][str(K)]["mean"] == pytest.approx(np.mean(most))
        assert arm["best_of_n"][str(K)]["mean"] == pytest.approx(np.mean(best), abs=0.011)  # batches round scores
        assert 0 < arm["pass@k"][str(K)]["mean"] < 1
        for measured in (arm["greedy"], arm["pass@k"][str(K)]):
            assert measured["low"] <= measured["mean"] <= measured["high"]
    [pair] = summary["paired"]
    assert (pair["a"], pair["b"]) == ("two", "one")
    assert pair["mean"] == pytest.approx(np.mean(greedy["two"]) - np.mean(greedy["one"]))


def test_an_ensemble_picks_too(runs: Path, tmp_path: Path) -> None:
    """Below the exact check's veto, whatever the PRM makes of them, stand all samples with a wrong step, level at 0."""
    asked = replace(config(runs, tmp_path), policies={"one": str(runs / "first/model")}, count=12, shown=0)
    picks = {}
    for name, prm, also in (("prm", asked.prm, ()), ("veto", asked.prm, ("symbolic",)), ("exact", "symbolic", ())):
        evaluate(replace(asked, folder=tmp_path / name, prm=prm, reading=Reading(also=also, combine="min")))
        rows = read_lines(tmp_path / name / "outcomes.jsonl")
        picks[name] = [row["arms"][0]["best_of_n"][str(K)] for row in rows]
    assert picks["prm"] != picks["veto"] == picks["exact"]


def test_the_outcomes_of_problems_are_what_the_summary_is_the_mean_of(runs: Path, tmp_path: Path) -> None:
    asked = config(runs, tmp_path / "eval")
    summary, rows = evaluate(asked), read_lines(tmp_path / "eval/outcomes.jsonl")
    assert [row["question"] for row in rows] == [
        e.problem.question for e in load_problems(PROBLEMS, "test", 50, stream=9)
    ]
    for place, arm in enumerate(summary["arms"]):
        earned = [row["arms"][place] for row in rows]
        assert {row["name"] for row in earned} == {arm["name"]}
        assert np.mean([row["greedy"] for row in earned]) == pytest.approx(arm["greedy"]["mean"])
        for metric in ("pass@k", "majority@k", "best_of_n"):
            assert np.mean([row[metric][str(K)] for row in earned]) == pytest.approx(arm[metric][str(K)]["mean"])


def test_the_samples_say_what_the_summary_counts(runs: Path, tmp_path: Path) -> None:
    summary = evaluate(config(runs, tmp_path / "eval"))
    rows = read_lines(tmp_path / "eval/samples.jsonl")
    assert len(rows) == 100
    for arm in summary["arms"]:
        own = [row for row in rows if row["arm"] == arm["name"]]
        judged = [verify(Problem(r["id"], r["question"], r["gold"]), r["text"]).correct for r in own]
        assert judged == [row["correct"] for row in own]
        assert arm["greedy"]["mean"] == pytest.approx(np.mean(judged))
    for row in rows:
        assert all(0 <= step["score"] <= 1 and step["label"] in (0.0, 1.0) for step in row["steps"])
        assert [row["text"][s["start"] : s["end"]] for s in row["steps"]] == [
            line.strip() for line in row["text"].split("\n") if line.strip()
        ]


def test_without_a_reward_model(runs: Path, tmp_path: Path) -> None:
    asked = replace(config(runs, tmp_path / "eval"), prm=None, count=5, shown=2)
    summary = evaluate(asked)
    assert all("best_of_n" not in arm for arm in summary["arms"])
    rows = read_lines(tmp_path / "eval/samples.jsonl")
    assert {step["score"] for row in rows for step in row["steps"]} <= {None}
    assert evaluate(replace(asked, folder=tmp_path / "again")) == summary


def test_no_policy_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="policies is empty"):
        evaluate(EvalConfig(folder=tmp_path, policies={}))


def test_batches_change_nothing_but_rounding(runs: Path, tmp_path: Path) -> None:
    asked = replace(config(runs, tmp_path / "whole"), prm=None, count=12, shown=7)
    summary = evaluate(asked)
    cut = replace(asked, folder=tmp_path / "cut", batch_problems=5)
    assert evaluate(cut) == summary
    assert read_lines(cut.folder / "samples.jsonl") == read_lines(asked.folder / "samples.jsonl")
    assert [row["arm"] for row in read_lines(cut.folder / "samples.jsonl")] == ["one"] * 7 + ["two"] * 7
    assert [(row["policy"], row["problems"]) for row in read_metrics(cut.folder)] == [
        (name, count) for name in ("one", "two") for count in (5, 5, 2)
    ]
    with pytest.raises(UserError, match="holds a run; resume=true goes on with it"):
        evaluate(cut)
    with pytest.raises(UserError, match="another config: seed"):
        evaluate(replace(cut, resume=True, seed=4))


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_to_the_same_bytes(runs: Path, tmp_path: Path) -> None:
    """Killed (SIGKILL) once it has written some batches of its first policy; resumed, it redoes none of them."""
    asked = replace(config(runs, tmp_path / "whole"), batch_problems=4)
    evaluate(asked)
    killed = replace(asked, folder=tmp_path / "killed")
    (tmp_path / "eval.yaml").write_text(to_yaml(killed))
    command = rung_command("eval", str(tmp_path / "eval.yaml"))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT) as process:
        until = time.monotonic() + 120
        while not (killed.folder / "parts/00002.outcomes.jsonl").exists():
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.002)
        process.kill()
    assert not (killed.folder / "summary.json").exists()
    written = {path: path.stat().st_mtime_ns for path in (killed.folder / "parts").glob("0000[01]*")}
    assert len(written) == 4
    evaluate(replace(killed, resume=True))
    for name in ("summary.json", "outcomes.jsonl", "samples.jsonl", "metrics.jsonl"):
        assert (killed.folder / name).read_bytes() == (asked.folder / name).read_bytes()
    assert written == {path: path.stat().st_mtime_ns for path in written}
