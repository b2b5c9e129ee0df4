"""rung eval math with real tiny models: what the rows say, what the summary makes of them, a run that was killed."""

import json
import shutil
from collections import defaultdict
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForTokenClassification

from lm.checkpoint import save_model
from lm.config import load
from lm.engine import Sampling
from lm.errors import UserError
from lm.run import read_metrics
from prm.loading import load as load_prm
from rung.evaluate_math import MathConfig, evaluate_math, main
from rung.math_prompts import PROMPTS, find_prompt
from rung.math_sets import SETS
from rung.math_summary import table
from verifiers.solution import Problem, Solution
from verifiers.split import split_steps
from verifiers.verify import verify

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

K = 4


@pytest.fixture(scope="module")
def config(
    fitted_policy: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    worked: list[tuple[str, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> MathConfig:
    folder = tmp_path_factory.mktemp("math")
    save_model(folder / "policy", fitted_policy)
    scorer_config = fitted_policy.config.__class__(**fitted_policy.config.to_dict() | {"num_labels": 2})
    torch.manual_seed(0)
    scorer: Any = AutoModelForTokenClassification.from_config(scorer_config)
    torch.nn.init.normal_(scorer.score.weight, std=2.0)
    save_model(folder / "prm", scorer)
    for name in ("policy", "prm"):
        tokenizer.save_pretrained(folder / name)
    for name, rows in (("sums", worked[:10]), ("more", worked[10:17])):
        lines = [json.dumps({"question": q, "answer": s.rpartition(" ")[2]}) + "\n" for q, s in rows]
        (folder / f"{name}.jsonl").write_text("".join(lines))
    return MathConfig(
        policy=str(folder / "policy"),
        prm=str(folder / "prm"),
        sets={"sums": str(folder / "sums.jsonl"), "gsm8k": str(folder / "more.jsonl")},
        prompt="plain",
        samples=K,
        sampling=Sampling(max_tokens=24),
        batch_problems=4,
        verify_workers=0,
        seed=2,
        threads=1,
    )


def results(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def done(config: MathConfig, tmp_path_factory: pytest.TempPathFactory) -> MathConfig:
    asked = replace(config, folder=tmp_path_factory.mktemp("done") / "run")
    evaluate_math(asked)
    return asked


def test_every_row_can_be_traced(done: MathConfig, tokenizer: "PreTrainedTokenizerBase") -> None:
    rows = results(done.folder)
    assert len(rows) == 17 * (1 + K)
    assert len({(row["set"], row["id"], row["sample"]) for row in rows}) == len(rows)
    prm = load_prm(str(done.prm))
    for row in rows:
        problem = Problem(row["id"], row["question"], row["gold"])
        verdict = verify(problem, row["text"])
        assert (verdict.correct, verdict.predicted, verdict.reason) == (row["correct"], row["predicted"], row["reason"])
        assert row["prompt_tokens"] == len(tokenizer(row["question"] + "\n")["input_ids"])
        assert row["finish"] in ("stop", "length")
        assert (row["tokens"] == 24) >= (row["finish"] == "length")
        assert ("score" in row) == (row["sample"] >= 0)
    drawn = [row for row in rows if row["sample"] >= 0]
    [scores] = [prm.score([Solution(Problem("", r["question"], ""), r["text"], split_steps(r["text"])) for r in drawn])]
    for row, scored in zip(drawn, scores, strict=True):
        assert row["score"] == pytest.approx(scored.aggregate("min"), abs=1e-4)


def test_the_summary_by_brute_force(done: MathConfig) -> None:
    summary = json.loads((done.folder / "summary.json").read_text())
    rows = [row for row in results(done.folder) if row["set"] == "sums"]
    groups: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["id"]].append(row)
    found = summary["sums"]
    assert found["problems"] == len(groups) == 10
    assert found["greedy"]["mean"] == pytest.approx(np.mean([g[0]["correct"] for g in groups.values()]))
    for k in (1, 2, 4):
        some, most, best = [], [], []
        for group in groups.values():
            for subset in combinations(group[1:], k):
                some.append(any(row["correct"] for row in subset))
                said = [row["predicted"] for row in subset]
                leading = [row["correct"] for row in subset if said.count(row["predicted"]) == _most(said)]
                most.append(_mean_by_answer(subset, said) if leading else 0.0)
                top = max(row["score"] for row in subset)
                best.append(np.mean([row["correct"] for row in subset if row["score"] == top]))
        assert found["pass@k"][str(k)]["mean"] == pytest.approx(np.mean(some))
        assert found["majority@k"][str(k)]["mean"] == pytest.approx(np.mean(most))
        assert found["best_of_k"][str(k)]["mean"] == pytest.approx(np.mean(best))
    assert found["tokens"]["sampled"] == sum(row["tokens"] for row in rows)
    assert found["tokens"]["prompts"] == sum(2 * group[0]["prompt_tokens"] for group in groups.values())
    assert sum(found["reasons"].values()) == len(rows)
    assert 0 < found["pass@k"]["4"]["mean"] < 1, "else nothing was tested"
    lines = list(table(summary))
    assert lines[0].startswith("sums: 10 problems; ")
    assert any(line.startswith("  majority@2   ") for line in lines)


def _most(said: list[str | None]) -> int:
    return max((said.count(answer) for answer in said if answer is not None), default=0)


def _mean_by_answer(subset: tuple[dict[str, Any], ...], said: list[str | None]) -> float:
    """A fair draw among the answers (not the samples) that most of them give; equal ones are the same text here."""
    tied = {answer for answer in said if answer is not None and said.count(answer) == _most(said)}
    right = {row["predicted"]: row["correct"] for row in subset}
    return float(np.mean([right[answer] for answer in tied])) if tied else 0.0


def test_a_killed_run_goes_on_to_the_same_results(done: MathConfig, tmp_path: Path) -> None:
    """What kill -9 leaves: a torn file of the batch in hand, logs ahead of the last whole checkpoint."""
    asked = replace(done, folder=tmp_path / "run")
    shutil.copytree(done.folder, asked.folder)
    checkpoints = sorted((asked.folder / "checkpoints").iterdir())
    assert len(read_metrics(asked.folder)) == 5
    shutil.rmtree(checkpoints[-1])
    (asked.folder / "results.jsonl").unlink()
    (asked.folder / "summary.json").unlink()
    last = sorted((asked.folder / "parts").iterdir())[-1]
    last.write_text(last.read_text()[:100])
    resumed = replace(asked, resume=True, engine_batch=3)
    evaluate_math(resumed)
    assert read_metrics(asked.folder) == read_metrics(done.folder)
    for ours, theirs in zip(results(asked.folder), results(done.folder), strict=True):
        assert ours.pop("score", 0) == pytest.approx(theirs.pop("score", 0), abs=1e-6)  # of another batch of the PRM
        assert ours == theirs
    assert (asked.folder / "summary.json").exists()
    with pytest.raises(UserError, match=r"seed \(2 then, 3 now\)"):
        evaluate_math(replace(resumed, seed=3))


def test_fewer_problems_get_the_same_samples(done: MathConfig, tmp_path: Path) -> None:
    short = replace(done, folder=tmp_path / "run", limit=3, batch_problems=2, prm=None, greedy=False)
    summary = evaluate_math(short)
    assert "best_of_k" not in summary["sums"]
    assert "greedy" not in summary["sums"]
    whole = {(row["set"], row["id"], row["sample"]): row["text"] for row in results(done.folder)}
    rows = results(short.folder)
    assert len(rows) == 2 * 3 * K
    assert all(whole[row["set"], row["id"], row["sample"]] == row["text"] for row in rows)


def test_an_answer_ends_where_a_prompt_says(done: MathConfig, tmp_path: Path) -> None:
    stops = replace(done.sampling, stop=("#",))
    cut = replace(done, folder=tmp_path / "run", sampling=stops, samples=0, prm=None, limit=5)
    evaluate_math(cut)
    whole = {(row["set"], row["id"], row["sample"]): row for row in results(done.folder)}
    for row in results(cut.folder):
        assert row["text"] == whole[row["set"], row["id"], -1]["text"].partition("#")[0]
        assert row["tokens"] <= whole[row["set"], row["id"], -1]["tokens"]


def test_nothing_to_do_is_one_line(config: MathConfig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="samples=8 is the key"):
        evaluate_math(replace(config, sampling=replace(config.sampling, n=8)))
    with pytest.raises(UserError, match="nothing to do"):
        main(replace(config, folder=tmp_path, greedy=False, samples=0))


def test_the_config_for_a_real_model_names_what_there_is() -> None:
    asked = load(MathConfig, Path(__file__).resolve().parents[2] / "configs/eval/qwen2.5-math.yaml")
    assert asked.sets.keys() <= SETS.keys()
    assert find_prompt(asked.prompt) is PROMPTS["qwen2.5-math"]
    assert (asked.samples, asked.sampling.n, asked.sampling.max_tokens) == (8, 1, 2048)
