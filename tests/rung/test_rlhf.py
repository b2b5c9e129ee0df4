"""The RLHF pipeline from pairs to the report on models of a moment: what each stage gets, and what none may see."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lm.config import load
from lm.errors import UserError
from rl.preferences import Preference
from rung.report import write_report
from rung.report_data import read_runs
from rung.report_study import study
from rung.rlhf import ARMS, RLHF, main, stage, write_data
from rung.rlhf_eval import outcome_rows, wins_over
from verifiers.solution import Problem

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def config(worked: list[tuple[str, str]], tmp_path: Path) -> RLHF:
    """People who like the answer without its working."""
    rows = [{"prompt": q, "chosen": s.split("\n")[1], "rejected": s} for q, s in dict(worked).items()]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    fit = {"steps": 3, "batch": 8, "save_every": 0}
    tree: dict[str, Any] = {
        "folder": str(tmp_path / "rlhf"), "threads": 1, "worked": 60, "seed": 3,
        "data": {"pairs": [str(tmp_path / "pairs.jsonl")]},
        "problems": {"families": ["chain"], "levels": [1]},
        "sft": {"model": {"hidden_size": 32, "layers": 1, "heads": 2, "vocabulary": 300}, "fit": fit},
        "rm": {"fit": fit}, "dpo": {"fit": fit},
        "ppo": {"steps": 1, "problems_per_step": 4, "eval_problems": 4, "sampling": {"max_tokens": 12}, "epochs": 1},
        "rlaif": {"steps": 1, "problems_per_step": 4, "sampling": {"max_tokens": 12}, "save_every": 0},
        "eval": {"count": 8, "sampling": {"max_tokens": 12}},
    }  # fmt: skip
    return load(RLHF, tree)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_no_held_out_prompt_is_learnt_from(config: RLHF) -> None:
    config.folder.mkdir()
    write_data(config)
    data = config.folder / "data"
    held_out, train = ({row["prompt"] for row in rows(data / f"{side}.jsonl")} for side in ("held_out", "train"))
    assert len(held_out) == pytest.approx((len(held_out) + len(train)) / 4, abs=1)
    assert not held_out & train
    assert {row["question"] for row in rows(data / "prompts.jsonl")} == train
    told = rows(data / "sft.jsonl")
    assert {row["question"] for row in told if "answer" not in row} == train
    worked = [row for row in told if "answer" in row]
    assert len(worked) == 60
    stated = [row["question"].startswith("I think the answer is ") for row in worked]
    assert 8 <= sum(stated) <= 30  # three in ten of 60


def test_each_stage_gets_what_the_ones_before_it_made(config: RLHF) -> None:
    stages = {name: stage(config, name) for name in ("sft", "rm", "referee", "ppo", "dpo", "rlaif", "eval")}
    folder = config.folder
    policy, reward = str(folder / "sft/model"), str(folder / "rm/model")
    assert {stages[name].policy for name in ("rm", "referee", "ppo", "dpo", "rlaif")} == {policy}
    assert {stages[name].reward for name in ("ppo", "rlaif", "eval")} == {reward}
    assert stages["rm"].data.pairs == stages["dpo"].data.pairs == (str(folder / "data/train.jsonl"),)
    assert stages["referee"].data.pairs == (str(folder / "data/held_out.jsonl"),)
    assert (stages["ppo"].credit.form, stages["ppo"].problems.answers) == ("outcome", False)
    assert stages["ppo"].guard == config.problems
    assert stages["ppo"].ptx_source == stages["sft"].problems.source == str(folder / "data/sft.jsonl")
    assert {stages[name].seed for name in stages} == {3}
    judge = dataclasses.replace(config.rlaif.judge, model="m")
    by_endpoint = dataclasses.replace(config, rlaif=dataclasses.replace(config.rlaif, judge=judge))
    assert stage(by_endpoint, "rlaif").reward is None


@pytest.mark.slow
def test_from_pairs_to_the_report(config: RLHF, capsys: pytest.CaptureFixture[str]) -> None:
    main(config)
    summary = json.loads((config.folder / "eval/summary.json").read_text(encoding="utf-8"))
    assert [arm["name"] for arm in summary["arms"]] == list(ARMS)
    base, *others = summary["arms"]
    assert base["win rate"]["mean"] == 0.5
    assert "held-out pairs" not in base
    assert all({"win rate", "math", "agrees with a wrong opinion", "held-out pairs"} < arm.keys() for arm in others)
    assert 0 <= summary["reward_models"]["referee on training pairs"]["mean"] <= 1
    outcomes = rows(config.folder / "eval/outcomes.jsonl")
    for arm in summary["arms"]:
        for metric, interval in arm.items():
            values = [a[metric] for row in outcomes for a in row["arms"] if a["name"] == arm["name"] and metric in a]
            assert metric == "name" or np.mean(values) == pytest.approx(interval["mean"])
    page = write_report(config.folder).read_text(encoding="utf-8")
    assert "rlaif" in page

    again = Path(shutil.copytree(config.folder, config.folder.with_name("again")))
    (again / "ladder.yaml").write_text((again / "ladder.yaml").read_text().replace("seed: 3", "seed: 4"))
    both = study(read_runs([config.folder, again])).evaluation
    pairs = {(row["a"], row["b"], row["metric"]): row["mean"] for row in both["paired"]}
    expected = {(row["a"], row["b"], row["metric"]): row["mean"] for row in summary["paired"]}
    assert pairs == pytest.approx(expected)  # the seeds of one arm, with its own outcomes twice

    with pytest.raises(UserError, match="holds a run"):
        main(config)
    before = (config.folder / "rlaif/metrics.jsonl").stat().st_mtime_ns
    capsys.readouterr()
    main(dataclasses.replace(config, resume=True))
    assert capsys.readouterr().err.count("is there, going on") == 6
    assert (config.folder / "rlaif/metrics.jsonl").stat().st_mtime_ns == before


def test_outcomes_by_hand() -> None:
    problems = [Problem("p", "1+1", "2")]
    pairs = [Preference("q", "good", "bad", "q")]
    found = {
        "win rate": {"sft": np.array([0.5, 0.5]), "dpo": np.array([1.0, 0.0])},
        "math": {"sft": np.array([1.0]), "dpo": np.array([0.0])},
        "agrees with a wrong opinion": {"sft": np.array([0.0]), "dpo": np.array([1.0])},
        "held-out pairs": {"dpo": np.array([1.0])},
    }
    swayed = "agrees with a wrong opinion"
    assert outcome_rows(["a", "b"], problems, pairs, found) == [
        {"id": "prompt-0", "question": "a", "gold": "",
         "arms": [{"name": "sft", "win rate": 0.5}, {"name": "dpo", "win rate": 1.0}]},
        {"id": "prompt-1", "question": "b", "gold": "",
         "arms": [{"name": "sft", "win rate": 0.5}, {"name": "dpo", "win rate": 0.0}]},
        {"id": "p", "question": "1+1", "gold": "2",
         "arms": [{"name": "sft", "math": 1.0, swayed: 0.0}, {"name": "dpo", "math": 0.0, swayed: 1.0}]},
        {"id": "pair-0", "question": "q", "gold": "good", "arms": [{"name": "dpo", "held-out pairs": 1.0}]},
    ]  # fmt: skip


def test_wins_by_hand() -> None:
    assert wins_over(np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 2.0])).tolist() == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("path", sorted((ROOT / "configs/rlhf").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_configs_that_come_with_rung_load(path: Path) -> None:
    config = load(RLHF, path)
    for name in ("sft", "rm", "referee", "ppo", "dpo", "rlaif", "eval"):
        stage(config, name)
