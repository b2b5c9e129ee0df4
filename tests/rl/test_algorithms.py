"""Every algorithm through the one loop: what each config computes, and what each switch of the loop does."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lm.config import load
from lm.engine import Sampling
from lm.errors import UserError
from lm.models import load_causal_lm
from lm.run import read_metrics
from rl.config import RLConfig
from rl.experience import AdvantageConfig
from rl.train import train

Configure = Callable[..., RLConfig]
FILES = (Path(__file__).resolve().parents[2] / "configs" / "rl").glob("*.yaml")
CONFIGS = {path.stem: path for path in FILES if not path.stem.startswith("hack")}  # those are no algorithms
ALGORITHM = ("advantage", "ratio", "clip_low", "clip_high", "dual_clip", "normaliser", "resample")


def small(configure: Configure, name: str, algorithm: str, **changes: Any) -> RLConfig:
    """The algorithm of a config that comes with Rung, at the size of the tests."""
    wanted = load(RLConfig, CONFIGS[algorithm])
    parts = {part: getattr(wanted, part) for part in ALGORITHM}
    n = min(wanted.sampling.n, 4)
    sampling = Sampling(max_tokens=16, n=n)
    return configure(name, sampling=sampling, problems_per_step=12 // n, eval_every=0, **parts | changes)


def test_the_defaults_are_the_ppo_config() -> None:
    assert load(RLConfig, CONFIGS["ppo"]) == RLConfig()


@pytest.mark.parametrize("algorithm", sorted(CONFIGS))
def test_each_algorithm_learns_and_repeats_itself(configure: Configure, algorithm: str) -> None:
    """Two steps, then again with an interruption after the first: the same bytes."""
    train(whole := small(configure, f"{algorithm}-whole", algorithm))
    lines = read_metrics(whole.folder)
    assert len(lines) == 2
    assert not any("nonfinite" in line for line in lines)
    assert ("value_loss" in lines[0]) == ("explained_variance" in lines[0]) == (algorithm == "ppo")
    assert ("kl_loss" in lines[0]) == (algorithm in ("grpo", "grpo_process"))
    start, end = (load_causal_lm(path).state_dict() for path in (whole.policy, str(whole.folder / "model")))
    assert any(not torch.equal(start[name], end[name]) for name in start)
    assert (whole.folder / "critic").exists() == (algorithm == "ppo")

    halves = small(configure, f"{algorithm}-halves", algorithm, steps=1)
    train(halves)
    train(dataclasses.replace(halves, steps=2, resume=True))
    assert (halves.folder / "metrics.jsonl").read_bytes() == (whole.folder / "metrics.jsonl").read_bytes()


def test_a_shared_trunk_and_ptx_and_a_steered_kl(configure: Configure) -> None:
    config = configure(
        "shared", critic_trunk="shared", ptx_coefficient=0.5, ptx_batch=4, steps=2,
        advantage=AdvantageConfig(kl_target=0.5, kl_horizon=24, kl_coefficient=0.1),
    )  # fmt: skip
    train(config)
    lines = read_metrics(config.folder)
    assert {"value_loss", "ptx_loss", "critic_grad_norm", "explained_variance"} <= lines[0].keys()
    assert [line["kl_coefficient"] for line in lines] == [0.1, pytest.approx(0.1 * (1 - 0.2 * 12 / 24))]  # no KL yet
    assert not (config.folder / "critic").exists()


def test_a_tight_kl_stop_leaves_the_later_minibatches_out(configure: Configure) -> None:
    """On policy the first minibatch of a step has no KL; after its update the second exceeds any tiny bound."""
    train(all_of_it := configure("no-stop", steps=1, epochs=3))
    train(stopped := configure("stop", steps=1, epochs=3, stop_kl=1e-7))
    train(one := configure("one", steps=1, epochs=1, minibatches=2, stop_kl=1e-7))
    weights = [load_causal_lm(str(c.folder / "model")).state_dict() for c in (all_of_it, stopped, one)]
    name = "model.layers.0.mlp.down_proj.weight"
    assert torch.equal(weights[1][name], weights[2][name])
    assert not torch.equal(weights[0][name], weights[1][name])
    assert read_metrics(stopped.folder)[0]["approximate_kl"] == pytest.approx(0, abs=1e-7)


def test_updates_with_nan_are_left_out_and_end_the_run(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reward of Inf makes every advantage NaN: nothing is learnt, the evidence stays, and the run says so."""
    monkeypatch.setattr("rl.train.token_rewards", lambda tokens, *_, **__: tokens.actions * float("inf"))
    config = configure("nan", steps=9, max_skipped=3, eval_every=0)
    with pytest.raises(UserError, match=r"3 updates in a row had NaN or Inf in policy_loss"):
        train(config)
    evidence = sorted((config.folder / "nonfinite").iterdir())
    assert [path.name for path in evidence] == ["step-000000-1.json", "step-000000-2.json", "step-000001-3.json"]
    kept = json.loads(evidence[0].read_text())
    assert kept["numbers"]["policy_loss"] == "nan"
    assert len(kept["rollouts"]) == 6
    assert kept["rollouts"][0]["advantages"] == "nan to nan"
    assert kept["rollouts"][0]["old_logprobs"].startswith("-")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"advantage": AdvantageConfig(estimator="group"), "sampling": Sampling(n=1)}, r"sampling\.n of 2 or more"),
        ({"resample": 1, "sampling": Sampling(n=1)}, r"resample compares"),
        ({"critic_trunk": "shared", "critic": "somewhere"}, r"critic_trunk is shared"),
        ({"ptx_coefficient": 1.0}, None),
    ],
)
def test_what_cannot_learn_is_refused(configure: Configure, changes: dict[str, Any], message: str | None) -> None:
    if message is None:
        from rl.setup import worked_pairs

        with pytest.raises(UserError, match="no worked solutions"):
            worked_pairs(None, [], configure("refused", **changes))  # type: ignore[arg-type]
        return
    with pytest.raises(UserError, match=message):
        train(configure("refused", **changes))
