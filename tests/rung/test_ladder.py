"""rung.ladder: what stages share goes to each of them; the configs that come with Rung load."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toy_ladder import ROOT, miniature, write_yaml

from lm.config import load
from lm.errors import UserError
from prm.train import PRMConfig
from rl.config import RLConfig, check
from rung.evaluate_math import MathConfig
from rung.ladder import Ladder, fill, stage
from rung.rlhf import RLHF
from rung.sft import SFTConfig

VERBS = ("sft", "label", "prm", "ppo", "eval")


def test_folders_and_models_follow_one_another() -> None:
    ladder = Ladder(folder=Path("runs/x"))
    stages: dict[str, Any] = {verb: stage(ladder, verb) for verb in VERBS}
    assert [str(stages[verb].folder) for verb in VERBS] == [
        f"runs/x/{name}" for name in ("sft", "labels", "prm", "ppo-process", "eval")
    ]
    policy, prm = "runs/x/sft/model", "runs/x/prm/model"
    assert (stages["label"].policy, stages["prm"].model.path, stages["ppo"].policy) == (policy, policy, policy)
    assert stages["prm"].data.train == ("runs/x/labels/train.symbolic.jsonl",)
    assert stages["prm"].data.test == ("runs/x/labels/test.symbolic.jsonl",)
    assert (stages["ppo"].prm, stages["eval"].prm) == (prm, prm)
    assert stages["eval"].policies == {
        "sft": policy,
        "outcome": "runs/x/ppo-outcome/model",
        "process": "runs/x/ppo-process/model",
    }
    assert list(stage(replace(ladder, baseline=False), "eval").policies) == ["sft", "process"]
    assert stage(ladder, "report").folders == (Path("runs/x"),)


def test_what_is_shared_reaches_every_stage() -> None:
    tree = {"seed": 7, "threads": 1, "prompt": "{question}\n", "dtype": "bfloat16", "problems": {"source": "a.jsonl"}}
    ladder = load(Ladder, tree)
    for verb in VERBS:
        config: Any = stage(ladder, verb)
        assert (config.seed, config.threads, config.prompt) == (7, 1, "{question}\n")
        dtype = config.model.dtype if verb in ("sft", "prm") else config.dtype
        assert dtype == "bfloat16"
        if verb != "prm":
            assert config.problems.source == "a.jsonl"


def test_a_stage_s_own_keys_win_one_by_one() -> None:
    tree = {
        "seed": 7,
        "problems": {"source": "a.jsonl", "validation_fraction": 0.2},
        "label": {"seed": 3, "problems": {"source": "b.jsonl"}},
        "prm": {"model": {"path": None, "layers": 9}, "data": {"limit": 5}},
    }
    ladder = load(Ladder, tree)
    label = stage(ladder, "label")
    assert (label.seed, label.problems.source, label.problems.validation_fraction) == (3, "b.jsonl", 0.2)
    prm = stage(ladder, "prm")
    assert (prm.model.path, prm.model.layers, prm.data.limit) == (None, 9, 5)
    assert prm.data.train == ("runs/demo/labels/train.symbolic.jsonl",)


def test_filling_changes_nothing_but_what_is_shared() -> None:
    config = SFTConfig()
    assert fill(config) == config
    assert fill(config, seed=5) == replace(config, seed=5)


def test_an_unknown_stage_is_a_bug_of_ours() -> None:
    with pytest.raises(ValueError, match="no stage 'tea'"):
        stage(Ladder(), "tea")


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_that_comes_with_rung_loads(path: Path) -> None:
    if path.stem == "prm800k":
        assert load(PRMConfig, path).model.path is None
        return
    if path.parent.name == "rl":
        check(load(RLConfig, path))
        return
    if path.parent.name in ("eval", "rlhf"):
        load({"eval": MathConfig, "rlhf": RLHF}[path.parent.name], path)
        return
    ladder = load(Ladder, path)
    for verb in VERBS:
        stage(ladder, verb)


def test_no_config_trains_on_test_data() -> None:
    for path in (ROOT / "configs" / "gsm8k").glob("*.yaml"):
        problems = stage(load(Ladder, path), "sft").problems
        assert (problems.source, problems.subset, problems.test_source) == ("openai/gsm8k", "main", None)


def test_the_miniature_of_these_tests_loads(tmp_path: Path) -> None:
    ladder = load(Ladder, write_yaml(tmp_path / "mini.yaml", miniature(tmp_path)))
    assert stage(ladder, "ppo").sampling.n == 2


def test_a_misspelt_key_names_its_place(tmp_path: Path) -> None:
    path = write_yaml(tmp_path / "mini.yaml", {"ppo": {"credit": {"fom": "min"}}})
    with pytest.raises(UserError, match=r"mini\.yaml: unknown key ppo\.credit\.fom; did you mean ppo\.credit\.form\?"):
        load(Ladder, path)
