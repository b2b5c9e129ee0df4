"""Expert iteration: what a round keeps, by hand; a policy that gets better by it; a run that goes on mid-round."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lm.engine import Sampling
from lm.errors import UserError
from lm.models import load_causal_lm
from lm.optim import OptimConfig
from lm.run import read_metrics
from lm.sft import FitConfig
from prm.problems import ProblemsConfig
from prm.scores import StepScores
from rl.config import RLConfig
from rl.expert import ExpertConfig, distinct, strong, train
from verifiers.solution import Problem, Solution
from verifiers.split import split_steps
from verifiers.verify import verify

Make = Callable[..., ExpertConfig]


@pytest.fixture(scope="module")
def make(configure: Callable[..., RLConfig], worked: list[tuple[str, str]], tmp_path_factory: Any) -> Make:
    home = tmp_path_factory.mktemp("expert")
    rows = [{"question": q, "answer": s.split("#### ")[1]} for q, s in dict(worked).items()]
    (home / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def config(name: str, **changes: Any) -> ExpertConfig:
        fit = FitConfig(steps=4, batch=16, save_every=2, optim=OptimConfig(lr=2e-3, warmup=1))
        return replace(
            ExpertConfig(
                folder=home / name, policy=configure("expert").policy, threads=1, rounds=2, problems_per_round=20,
                problems=ProblemsConfig(source=str(home / "sums.jsonl")), sampling=Sampling(max_tokens=16, n=4),
                fit=fit,
            ),
            **changes,
        )  # fmt: skip

    return config


def solution(question: str, text: str) -> Solution:
    return Solution(Problem(question, question, "9"), text, split_steps(text))


def test_what_a_round_keeps_by_hand() -> None:
    drawn = [solution("a", t) for t in ("9", "9 ", "x\n9", "y\n9", "z\n9")] + [solution("b", "9")]
    assert [s.text for s in distinct(drawn, 3)] == ["9", "x\n9", "y\n9", "9"]

    class ByLength:
        def score(self, solutions: list[Solution], advance: Any = None) -> list[StepScores]:
            return [StepScores(np.array([0.9] * (len(s.steps) - 1) + [0.4])) for s in solutions]

        def measure(self, solutions: list[Solution]) -> list[int | str]:
            return ["too long" if s.text.startswith("x") else 1 for s in solutions]

    assert strong(drawn, ByLength(), 0.5) == []
    read = [s for s in drawn if not s.text.startswith("x")]
    assert strong(drawn, ByLength(), 0.4) == read  # what the PRM cannot read is left out, and ends nothing
    assert strong(drawn, None, 0.9) == drawn


def test_rounds_make_the_policy_better(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where 5 is the answer to everything, each round's samples, of the policy as the round before left it, are right
    more often; all that is kept is right, each once."""
    rows = [{"question": f"{a}+{b}-{c}", "answer": "5"} for a in range(8) for b in range(4) for c in range(3)]
    (tmp_path / "fives.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    fit = FitConfig(steps=12, batch=16, save_every=0, optim=OptimConfig(lr=2e-3, warmup=2))
    problems = ProblemsConfig(source=str(tmp_path / "fives.jsonl"))
    train(config := make("better", problems=problems, rounds=3, problems_per_round=80, fit=fit, engine_batch=256))
    lines = read_metrics(config.folder)
    held_out = {line["step"]: line["eval_accuracy"] for line in lines if "eval_accuracy" in line}
    assert list(held_out) == [0, 11, 23, 35]  # before the first update, and after each round
    assert held_out[35] > held_out[0] + 0.2
    rounds = [line for line in read_metrics(config.folder) if "accuracy" in line]
    assert [line["round"] for line in rounds] == [0, 1, 2]
    assert rounds[-1]["accuracy"] > rounds[0]["accuracy"] + 0.2
    summary = json.loads((config.folder / "summary.json").read_text())
    assert [found["eval_accuracy"] for found in summary["rounds"]] == [held_out[step] for step in (11, 23, 35)]
    assert (summary["eval_accuracy_before"], summary["rounds"][1]["kept"]) == (held_out[0], rounds[1]["kept"])
    assert 0 < rounds[0]["sampled_tokens"] < rounds[1]["sampled_tokens"] <= 3 * 80 * 4 * 16
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{held_out[0]:.1%} of held-out problems right before it"
    assert said[3].endswith(f"{rounds[2]['kept']} kept; {held_out[35]:.1%} of held-out problems right after it")
    for number, line in enumerate(rounds):
        rows = [json.loads(text) for text in (config.folder / "rounds" / f"{number}.jsonl").read_text().splitlines()]
        assert len(rows) == line["kept"] == len({(row["question"], row["solution"]) for row in rows})
        assert all(verify(Problem("", row["question"], "5"), row["solution"]).correct for row in rows)


@pytest.mark.parametrize("restart", [False, True])
def test_a_run_killed_in_a_round_goes_on_bit_for_bit(make: Make, restart: bool) -> None:
    dtype = "bfloat16" if restart else "float32"
    train(whole := make(f"whole-{restart}", restart=restart, carry=restart, problems_per_round=60, dtype=dtype))
    moments = load_file(whole.folder / "checkpoints" / "step-000008" / "optimizer" / "tensors.safetensors")
    taken = {float(value) for name, value in moments.items() if name.endswith("/step")}
    assert taken == {4.0 if restart else 8.0}  # of two rounds of four
    killed = replace(whole, folder=whole.folder.with_name(f"killed-{restart}"), resume=True)
    shutil.copytree(whole.folder, killed.folder)
    shutil.rmtree(killed.folder / "checkpoints" / "step-000008")
    shutil.rmtree(killed.folder / "model")
    train(killed)
    assert (killed.folder / "metrics.jsonl").read_bytes() == (whole.folder / "metrics.jsonl").read_bytes()
    one, other = (load_causal_lm(str(c.folder / "model")).state_dict() for c in (whole, killed))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_round_that_keeps_nothing_says_so(make: Make, tmp_path: Path) -> None:
    rows = [{"question": f"{i}+{i}-1", "answer": "-1000"} for i in range(30)]
    (tmp_path / "hopeless.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(UserError, match="round 0 kept none"):
        train(make("hopeless", problems=ProblemsConfig(source=str(tmp_path / "hopeless.jsonl"))))
