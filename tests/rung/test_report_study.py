"""What counts as one arm, what arms are called, and what several evaluations come to."""

import json
from pathlib import Path
from typing import Any

import pytest

from rung.report_data import read_runs
from rung.report_study import Study, comparable, differing, study


def write_run(folder: Path, seed: int, rows: int = 2, **settings: Any) -> Path:
    config = {"folder": str(folder), "seed": seed, "credit": {"form": "delta"}, "policy": f"{folder.parent}/sft/model"}
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(json.dumps(config | settings))
    lines = [json.dumps({"step": step, "sampled_tokens": 10 * step, "kl": 0.5}) for step in range(rows)]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def write_ladder(folder: Path, seed: int, greedy: float, **settings: Any) -> Path:
    write_run(folder / "ppo-process", seed)
    (folder / "ladder.yaml").write_text(
        json.dumps({"folder": str(folder), "seed": seed, "prm": {"lr": 1e-4}} | settings)
    )
    arms = [{"name": "sft", "greedy": 0.1}, {"name": "ppo-process", "greedy": greedy}]
    pair = {"a": "ppo-process", "b": "sft", "metric": "greedy", "mean": greedy - 0.1, "low": 0.0, "high": 1.0}
    (folder / "eval").mkdir()
    (folder / "eval" / "summary.json").write_text(json.dumps({"arms": arms, "paired": [pair]}))
    (folder / "eval" / "samples.jsonl").write_text(json.dumps({"arm": "ppo-process", "text": "x"}) + "\n")
    return folder


def of(*folders: Path) -> Study:
    return study(read_runs(folders))


def test_runs_that_differ_in_seed_only_are_one_arm(tmp_path: Path) -> None:
    for seed in (0, 1, 12):
        write_run(tmp_path / f"grpo-process-{seed}", seed)
        write_run(tmp_path / f"grpo-outcome-{seed}", seed, credit={"form": "outcome"})
    shown = of(tmp_path)
    assert [(arm.name, arm.seeds) for arm in shown.arms] == [
        ("grpo-process", ["0", "1", "12"]),
        ("grpo-outcome", ["0", "1", "12"]),
    ]
    assert differing(shown.arms) == {"credit.form": ["delta", "outcome"]}
    assert shown.seeds == 3


@pytest.mark.parametrize("name", ["ppo-seed3", "ppo_seed_3", "ppo-s3", "ppo-3", "ppo.seed=3"])
def test_a_seed_at_the_end_is_no_part_of_an_arms_name(tmp_path: Path, name: str) -> None:
    write_run(tmp_path / name, 3)
    write_run(tmp_path / "ppo~other", 4)
    assert [arm.name for arm in of(tmp_path).arms] == ["ppo"]


def test_ppo_is_named_beside_other_algorithms(tmp_path: Path) -> None:
    for folder, form in (("ppo-process", "delta"), ("ppo-outcome", "outcome")):
        write_run(tmp_path / folder, 0, credit={"form": form})
    assert [arm.name for arm in of(tmp_path).arms] == ["process", "outcome"]
    write_run(tmp_path / "grpo-process", 0, advantage={"estimator": "group"})
    assert [arm.name for arm in of(tmp_path).arms] == ["grpo-process", "ppo-process", "ppo-outcome"]


def test_a_number_that_is_not_the_seed_stays(tmp_path: Path) -> None:
    write_run(tmp_path / "process-10", 0)
    write_run(tmp_path / "process-11", 1)
    assert [arm.name for arm in of(tmp_path).arms] == ["process-10"]


def test_a_seed_is_a_word_and_no_pattern(tmp_path: Path) -> None:
    for number in (1, 2):
        write_run(tmp_path / f"ppo-{number}", ["(a+)+$", "["][number - 1])  # type: ignore[arg-type]
    assert [arm.name for arm in of(tmp_path).arms] == ["1"]


def test_where_runs_are_kept_makes_no_other_arm(tmp_path: Path) -> None:
    one, two = write_run(tmp_path / "a/ppo-process", 0), write_run(tmp_path / "b/ppo-process", 1)
    [arm] = of(one, two).arms
    assert (arm.name, arm.folders) == ("process", ["a/ppo-process", "b/ppo-process"])
    assert comparable({"folder": "runs/x/ppo", "seed": 1, "prm": "runs/x/prm/model", "a": {"seed": 2, "b": [1]}}) == {
        "prm": "prm/model",
        "a.b": [1],
    }


def test_a_ladder_that_trained_another_reward_model_makes_another_arm(tmp_path: Path) -> None:
    low, high = write_ladder(tmp_path / "low", 0, 0.4), write_ladder(tmp_path / "high", 0, 0.6, prm={"lr": 1e-2})
    shown = of(low, high)
    assert [arm.name for arm in shown.arms] == ["process (low)", "process (high)"]
    assert differing(shown.arms) == {"ladder.prm.lr": ["0.0001", "0.01"]}
    assert [(row["name"], row["greedy"]["mean"]) for row in shown.evaluation["arms"]] == [
        ("sft (low)", 0.1),
        ("process (low)", 0.4),
        ("sft (high)", 0.1),
        ("process (high)", 0.6),
    ]
    assert [sample["arm"] for sample in shown.samples] == ["process (low)", "process (high)"]


def test_ladders_that_differ_in_seed_are_averaged(tmp_path: Path) -> None:
    folders = [write_ladder(tmp_path / f"demo-{seed}", seed, greedy) for seed, greedy in enumerate((0.4, 0.5, 0.6))]
    shown = of(*folders)
    assert [arm.name for arm in shown.arms] == ["process"]
    sft, process = shown.evaluation["arms"]
    # mean 0.5, s = 0.1, t(0.975, 2) = 4.3027: 0.5 ± 4.3027 * 0.1 / sqrt(3)
    assert process["greedy"] == pytest.approx({"mean": 0.5, "low": 0.251586, "high": 0.748414}, abs=1e-5)
    assert (sft["greedy"]["mean"], sft["greedy"]["low"]) == pytest.approx((0.1, 0.1))
    [pair] = shown.evaluation["paired"]
    assert (pair["a"], pair["b"], pair["mean"]) == ("process", "sft", pytest.approx(0.4))
    assert (pair["low"], pair["high"]) == pytest.approx((0.151586, 0.648414), abs=1e-5)


def test_two_seeds_have_a_range_but_no_settled_difference(tmp_path: Path) -> None:
    shown = of(write_ladder(tmp_path / "demo-0", 0, 0.4), write_ladder(tmp_path / "demo-1", 1, 0.6))
    assert shown.evaluation["arms"][1]["greedy"] == pytest.approx({"mean": 0.5, "low": 0.4, "high": 0.6})
    assert shown.evaluation["paired"][0]["low"] != shown.evaluation["paired"][0]["low"]  # nan: no interval


def test_a_run_without_a_config_is_an_arm_of_its_own(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (write_run(tmp_path / name / "ppo-process", 0) / "config.yaml").unlink()
    assert [arm.name for arm in of(tmp_path / "a", tmp_path / "b").arms] == ["process (a)", "process (b)"]
