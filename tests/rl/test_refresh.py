"""The PRM's training on fresh rollouts: its labels, its loss against NumPy, its state, and what it refuses."""

import dataclasses
import shutil
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import prm
from lm.errors import UserError
from lm.models import load_token_scorer, load_tokenizer
from lm.optim import OptimConfig
from lm.run import read_metrics
from prm.loading import Reading
from prm.scorer import StepPRM, sigmoid
from prm.scores import LabeledSolution, write_labeled
from rl.config import RLConfig, check
from rl.credit import CreditConfig
from rl.experience import AdvantageConfig
from rl.refresh import Refresh, RefreshConfig
from rl.train import train
from verifiers.families import generate
from verifiers.solution import Problem, Solution
from verifiers.split import split_steps

Configure = Callable[..., RLConfig]
FAST = OptimConfig(lr=1e-2, warmup=0, schedule="constant", weight_decay=0.0)
STILL = dataclasses.replace(FAST, lr=0.0)


def solution(question: str, text: str) -> Solution:
    """Of a problem that is not built in: its steps are judged by the equations that they state."""
    return Solution(Problem(question, question, "5"), text, split_steps(text))


RIGHT = solution("3+4-2", "3+4 = 7\nso we take 2\n7-2 = 5")  # 1, None, 1
WRONG = solution("9+1-5", "9+1 = 11\n11-5 = 6")  # 0, 1: given the step before, the second holds


@pytest.fixture
def scorer(configure: Configure) -> StepPRM:
    """A PRM with a temperature of 2, which is none of the training's business."""
    found = prm.load(configure("x").prm)
    assert isinstance(found, StepPRM)
    found.temperature = 2.0
    return found


def make(scorer: StepPRM, **changes: Any) -> Refresh:
    return Refresh(scorer, RefreshConfig(**({"every": 1, "optim": FAST} | changes)), seed=0, micro_tokens=200)


def cross_entropy(scorer: StepPRM, solutions: list[Solution], labels: list[list[float | None]]) -> float:
    """Of the labelled steps, from the logits before the temperature."""
    p = np.concatenate([sigmoid(x) for x in scorer.logits(solutions)])
    pairs = [(q, y) for q, y in zip(p, chain(*labels), strict=True) if y is not None]
    return float(-np.mean([y * np.log(q) + (1 - y) * np.log(1 - q) for q, y in pairs]))


def test_the_loss_is_the_cross_entropy_of_the_steps_that_can_be_judged(scorer: StepPRM) -> None:
    refresh = make(scorer, steps=1, batch=2, optim=STILL)
    found = refresh(0, 1, [RIGHT, WRONG, solution("1+1", "two things\nand no sums")])
    assert [item.labels for item in refresh.recent[0]] == [(1.0, None, 1.0), (0.0, 1.0), (None, None)]
    assert found["refresh_solutions"] == 2
    assert found["refresh_loss"] == pytest.approx(cross_entropy(scorer, [RIGHT, WRONG], [[1, None, 1], [0, 1]]))


def test_what_follows_a_wrong_step_is_dropped_on_request(scorer: StepPRM, tmp_path: Path) -> None:
    """As ``data.after_error`` has it, in the fresh rollouts and in the replay."""
    write_labeled(tmp_path / "old.jsonl", [LabeledSolution(WRONG, (0.0, 1.0), ("human", "human"))])
    drop = {"after_error": "drop", "replay": str(tmp_path / "old.jsonl"), "steps": 1, "batch": 2, "optim": STILL}
    dropped = make(scorer, **drop, replay_share=0.5)
    loss = dropped(0, 1, [WRONG])["refresh_loss"]
    assert dropped.recent[0][0].labels == (0.0, None)
    assert [example.targets for example in dropped.replay] == [[0.0]]
    assert loss == pytest.approx(cross_entropy(scorer, [WRONG] * 2, [[0, None]] * 2), rel=1e-4)


def test_a_built_in_problem_has_an_exact_check(scorer: StepPRM) -> None:
    example = next(iter(generate(("chain",), (1,), "train", 0)))
    text = f"{example.problem.answer}\n{example.problem.answer}+1"  # no equation, but a value to compare
    refresh = make(scorer, steps=1, optim=STILL)
    refresh(0, 1, [Solution(example.problem, text, split_steps(text))])
    assert refresh.recent[0][0].labels == (1.0, 0.0)


def test_it_learns_and_what_it_learnt_scores_the_next(scorer: StepPRM) -> None:
    refresh = make(scorer, steps=20, batch=2)
    before = scorer.score([RIGHT, WRONG])
    losses = [refresh(step, 3, [RIGHT, WRONG])["refresh_loss"] for step in range(3)]
    right, wrong = scorer.score([RIGHT, WRONG])
    assert losses[0] > 2 * losses[2]
    assert right.probabilities[0] > 0.8 > 0.2 > wrong.probabilities[0]
    assert not np.allclose(right.probabilities, before[0].probabilities)
    assert scorer.temperature == 2.0


def test_it_waits_for_its_turn_and_keeps_the_newest_updates(scorer: StepPRM) -> None:
    refresh = make(scorer, every=3, keep=2, steps=1)
    said = [refresh(step, 6, [solution(f"{step}+1", f"{step}+1 = {step + 1}")]) for step in range(6)]
    assert [bool(metrics) for metrics in said] == [False, False, True, False, False, True]
    assert [item.solution.problem.question for items in refresh.recent for item in items] == ["4+1", "5+1"]
    assert said[5]["refresh_solutions"] == 2


def test_nothing_to_learn_from_changes_nothing(scorer: StepPRM) -> None:
    before = {name: tensor.clone() for name, tensor in scorer.trunk.state_dict().items()}
    assert make(scorer)(0, 1, [solution("1+1", ""), solution("1+1", "words")]) == {"refresh_solutions": 0.0}
    assert all(torch.equal(before[name], tensor) for name, tensor in scorer.trunk.state_dict().items())


def test_a_share_of_each_batch_is_replayed(scorer: StepPRM, tmp_path: Path) -> None:
    old = LabeledSolution(WRONG, (1.0, 0.0), ("human", "human"))
    write_labeled(tmp_path / "old.jsonl", [old])
    for share, parts in ((0.0, (4, 0)), (0.5, (2, 2)), (0.75, (1, 3)), (1.0, (0, 4))):
        refresh = make(
            scorer, steps=1, batch=4, optim=STILL, replay=str(tmp_path / "old.jsonl"), replay_share=share
        )  # fmt: skip
        fresh, replayed = parts
        solutions = [RIGHT] * fresh + [WRONG] * replayed
        expected = cross_entropy(scorer, solutions, [[1, None, 1]] * fresh + [[1, 0]] * replayed)
        assert refresh(0, 1, [RIGHT])["refresh_loss"] == pytest.approx(expected), share
    with pytest.raises(UserError, match=r"prm_refresh\.replay: .*none\.jsonl"):
        make(scorer, replay=str(tmp_path / "none.jsonl"))


def test_a_run_with_refreshes_is_resumed_bit_for_bit(configure: Configure) -> None:
    """Refreshed after updates 2 and 4, killed after update 3: the fourth's refresh learns from rollouts of before."""
    refreshes = RefreshConfig(every=2, keep=3, steps=2, batch=8, optim=FAST)
    changes: dict[str, Any] = {"steps": 4, "eval_every": 0, "keep": 9, "prm_refresh": refreshes}
    train(whole := configure("refreshed", **changes))
    lines = read_metrics(whole.folder)
    assert [line["step"] for line in lines if "refresh_loss" in line] == [1, 3]
    assert lines[3]["refresh_solutions"] > 12  # more than an update samples

    train(plain := configure("unrefreshed", **changes | {"steps": 3, "prm_refresh": RefreshConfig()}))
    frozen = read_metrics(plain.folder)
    assert [line["prm_score"] for line in lines[:2]] == [line["prm_score"] for line in frozen[:2]]
    assert lines[2]["accuracy"] == frozen[2]["accuracy"]  # the same rollouts, by another PRM's scores
    assert lines[2]["prm_score"] != frozen[2]["prm_score"]

    killed = configure("refreshed-killed", resume=True, **changes)
    shutil.copytree(whole.folder, killed.folder)
    for gone in ("checkpoints/step-000004", "model", "prm"):
        shutil.rmtree(killed.folder / gone)
    train(killed)
    assert (killed.folder / "metrics.jsonl").read_bytes() == (whole.folder / "metrics.jsonl").read_bytes()
    for part in ("model", "prm"):
        ours, theirs = (run.folder / part / "model.safetensors" for run in (killed, whole))
        assert ours.read_bytes() == theirs.read_bytes()


def test_the_refreshed_prm_lies_beside_the_policy(configure: Configure) -> None:
    config = configure("exported", steps=1, eval_every=0, prm_refresh=RefreshConfig(every=1, steps=2, optim=FAST))
    start: Any = load_token_scorer(config.prm, 2)
    start.config.rung_prm = {"format": "rung", "temperature": 1.5, "prompt": None}
    start.save_pretrained(name := config.folder.with_name("prm-calibrated"))
    load_tokenizer(config.prm).save_pretrained(name)
    train(dataclasses.replace(config, prm=str(name)))
    before, after = prm.load(str(name)), prm.load(str(config.folder / "prm"))
    assert isinstance(before, StepPRM)
    assert isinstance(after, StepPRM)
    assert after.temperature == before.temperature == 1.5
    assert not np.allclose(before.logits([RIGHT])[0], after.logits([RIGHT])[0])


def test_where_there_is_no_such_prm_it_is_refused(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configure("none", prm_refresh=RefreshConfig(every=1))
    judges: dict[str, dict[str, Any]] = {
        "prm=symbolic": {"prm": "symbolic"},
        "reading.also": {"reading": Reading(also=("other",))},
        "prover": {"prover": "other"},
        "reward": {"reward": "other", "credit": CreditConfig(form="outcome")},
        "credit.form=implicit": {"credit": CreditConfig(form="implicit")},
        "staleness": {"staleness": 1, "advantage": AdvantageConfig(importance="token")},
    }
    check(config)
    for name, changes in judges.items():
        with pytest.raises(UserError, match=f"with {name} there is none: leave prm_refresh.every at 0"):
            check(dataclasses.replace(config, **changes))
    for name, value in (("LOCAL_RANK", "0"), ("WORLD_SIZE", "2"), ("ACCELERATE_USE_FSDP", "true")):
        monkeypatch.setenv(name, value)  # as accelerate's launcher tells a process of shards
    with pytest.raises(UserError, match="launch without FSDP"):
        check(config)


def test_a_prm_of_another_format_is_refused(configure: Configure) -> None:
    other = prm.load(configure("x").prm, format="rung-outcome")
    with pytest.raises(UserError, match="trains PRMs of format rung"):
        Refresh(other, RefreshConfig(every=1), seed=0, micro_tokens=200)
