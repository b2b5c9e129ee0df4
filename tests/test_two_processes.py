"""Two real processes, by ``accelerate launch`` and gloo, give the losses of one; each goes on where the other stopped;
and the same with the models (FSDP2) or the optimizer (DeepSpeed's ZeRO-1) in shards."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from lm.models import load_token_scorer
from lm.run import read_metrics
from prm.scores import LabeledSolution, write_labeled
from rung.cli import main
from verifiers.solution import Problem, Solution
from verifiers.split import split_steps

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
FIT = ["fit.steps=4", "fit.batch=7", "fit.micro_tokens=150", "fit.save_every=2", "fit.optim.warmup=1", "threads=1"]
RL = [
    "problems.families=[chain]", "problems.levels=[1]", "pool=40", "eval_problems=6", "eval_every=2", "epochs=1",
    "sampling.max_tokens=12", "micro_tokens=150", "steps=2", "save_every=1", "optim.lr=1e-3", "threads=1",
]  # fmt: skip
RUNS = ["sft", "prm", "ppo", "grpo", "dpo"]
ZEROED = ["prm", "ppo", "dpo"]
SHARDED = ["sft", "prm", "ppo"]  # GRPO is PPO's loop without the critic


@pytest.fixture(scope="module")
def home(
    fitted_policy: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    worked: list[tuple[str, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A policy, a PRM, step labels and pairs."""
    home = tmp_path_factory.mktemp("two")
    fitted_policy.save_pretrained(home / "policy")
    scorer: Any = load_token_scorer(str(home / "policy"), 2)
    torch.nn.init.normal_(scorer.score.weight, std=0.5, generator=torch.Generator().manual_seed(1))
    scorer.save_pretrained(home / "scorer")
    for folder in ("policy", "scorer"):
        tokenizer.save_pretrained(home / folder)
    items = [
        LabeledSolution(Solution(Problem(q, q, "1"), s, split_steps(s)), (1.0, float(i % 3 > 0)), ("x", "x"))
        for i, (q, s) in enumerate(dict(worked).items())
    ]
    write_labeled(home / "train.jsonl", items[:60])
    write_labeled(home / "test.jsonl", items[60:75])
    rows = [{"prompt": q, "chosen": s.split("\n")[1], "rejected": s} for q, s in dict(worked).items()]
    (home / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:60]), encoding="utf-8")
    return home


def command(home: Path, run: str, folder: str) -> list[str]:
    """The command line of a short run; batches of odd sizes, so that the processes have unequal parts."""
    start = [f"folder={home / folder / run}", "resume=true"]
    policy = [f"policy={home / 'policy'}"]
    if run == "sft":
        sizes = ["model.hidden_size=32", "model.layers=2", "model.heads=2", "model.intermediate_size=48"]
        data = ["problems.families=[chain,word]", "problems.levels=[1,2]", "examples=60", "model.vocabulary=300"]
        return ["sft", *start, *sizes, *data, *FIT]
    if run == "prm":
        data = [f"data.train=[{home / 'train.jsonl'}]", f"data.test=[{home / 'test.jsonl'}]", "eval_every=2"]
        return ["prm", *start, *data, f"model.path={home / 'policy'}", *FIT]
    if run == "dpo":
        return ["dpo", *start, *policy, f"data.pairs=[{home / 'pairs.jsonl'}]", *FIT, "lora.rank=2"]
    start += [f"prm={home / 'scorer'}", *policy, *RL]
    if run == "grpo":
        return [
            "rl",
            str(ROOT / "configs/rl/grpo.yaml"),
            *start,
            "sampling.n=4",
            "problems_per_step=3",
            "minibatches=1",
        ]
    return ["rl", *start, "problems_per_step=5", "sampling.n=2", "minibatches=3"]


def launch(folder: Path, commands: Sequence[list[str]], *options: str) -> None:
    """Run the command lines in two processes."""
    (folder / "commands.json").write_text(json.dumps(commands), encoding="utf-8")
    words = [*options, "--num_processes=2", "--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no"]
    ran = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", *words, "--main_process_port=0",
         str(ROOT / "tests/launched.py"), str(folder / "commands.json")],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-4000:]


def without_the_end(home: Path, old: str, new: str, run: str) -> None:
    """A copy of a run as a power cut after its first checkpoint leaves it."""
    shutil.copytree(home / old / run, home / new / run)
    checkpoints = sorted((home / new / run / "checkpoints").iterdir())
    shutil.rmtree(checkpoints[-1])


@pytest.fixture(scope="module")
def runs(home: Path) -> Path:
    """Every run by one process, by two, and begun by one and ended by the other."""
    for run in RUNS:
        assert main(command(home, run, "one")) == 0
    for run in RUNS:
        without_the_end(home, "one", "one-two", run)
    launch(home, [command(home, run, folder) for folder in ("two", "one-two") for run in RUNS], "--multi_gpu")
    for run in RUNS:
        without_the_end(home, "two", "two-one", run)
        assert main(command(home, run, "two-one")) == 0
    return home


def assert_same_numbers(one: Path, other: Path) -> None:
    left, right = read_metrics(one), read_metrics(other)
    assert [line.keys() for line in left] == [line.keys() for line in right]
    for expected, line in zip(left, right, strict=True):
        for name, value in expected.items():
            if isinstance(value, int | float):
                assert line[name] == pytest.approx(value, abs=1e-5, rel=1e-5), name


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("folder", ["two", "one-two", "two-one"])
def test_the_number_of_processes_changes_no_result(runs: Path, run: str, folder: str) -> None:
    assert len(read_metrics(runs / "one" / run)) == (2 if run in ("ppo", "grpo") else 4)
    assert_same_numbers(runs / "one" / run, runs / folder / run)


@pytest.mark.parametrize("run", RUNS)
def test_only_the_main_process_writes(runs: Path, run: str) -> None:
    files = {path.relative_to(runs / "one" / run) for path in (runs / "one" / run).rglob("*")}
    assert {path.relative_to(runs / "two" / run) for path in (runs / "two" / run).rglob("*")} == files
    lines = (runs / "two" / run / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(len(lines)))


@pytest.mark.parametrize("run", SHARDED)
def test_models_in_shards_give_the_same_and_go_on_as_one(runs: Path, run: str, sharded: Path) -> None:
    assert_same_numbers(runs / "one" / run, sharded / "shards" / run)
    without_the_end(sharded, "shards", "shards-one", run)
    assert main(command(sharded, run, "shards-one")) == 0
    assert_same_numbers(runs / "one" / run, sharded / "shards-one" / run)
    weights = [load_file(runs / folder / run / "model" / "model.safetensors") for folder in ("one", "shards")]
    torch.testing.assert_close(weights[1], weights[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("run", ["prm", "ppo"])
def test_one_process_s_run_goes_on_in_shards(runs: Path, run: str, sharded: Path) -> None:
    assert_same_numbers(runs / "one" / run, sharded / "one-shards" / run)


@pytest.fixture(scope="module")
def sharded(runs: Path) -> Path:
    """Every run with the models in shards, from the start and from where one process stopped."""
    for run in ("prm", "ppo"):
        without_the_end(runs, "one", "one-shards", run)
    commands = [command(runs, run, "shards") for run in SHARDED]
    commands += [command(runs, run, "one-shards") for run in ("prm", "ppo")]
    launch(runs, commands, "--use_fsdp", "--fsdp_version=2")
    return runs


def test_shards_that_rest_in_cpu_memory_give_the_same(runs: Path) -> None:
    launch(runs, [command(runs, "prm", "offloaded")], "--use_fsdp", "--fsdp_version=2", "--fsdp_offload_params=true")
    assert_same_numbers(runs / "one" / "prm", runs / "offloaded" / "prm")


@pytest.fixture(scope="module")
def zeroed(runs: Path) -> Path:
    """Runs whose optimizer DeepSpeed shares out (ZeRO-1), from the start and from where one process stopped."""
    pytest.importorskip("deepspeed", reason="DeepSpeed is not installed here: pip install deepspeed")
    for run in ZEROED:
        without_the_end(runs, "one", "one-zero", run)
    commands = [command(runs, run, folder) for folder in ("zero", "one-zero") for run in ZEROED]
    launch(runs, commands, "--use_deepspeed", "--zero_stage=1")
    return runs


@pytest.mark.parametrize("run", ZEROED)
def test_zero_gives_the_same_and_goes_on_as_one(runs: Path, run: str, zeroed: Path) -> None:
    for folder in ("zero", "one-zero"):
        assert_same_numbers(runs / "one" / run, zeroed / folder / run)
    without_the_end(zeroed, "zero", "zero-one", run)
    assert main(command(zeroed, run, "zero-one")) == 0
    assert_same_numbers(runs / "one" / run, zeroed / "zero-one" / run)


def test_a_launched_command_line(home: Path) -> None:
    """As the documentation says it, and with an error that a user can mend."""
    words = ["--multi_gpu", "--num_processes=2", "--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no"]
    ran = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", *words, "--main_process_port=0", "-m", "rung",
         "sft", "problems.familes=[chain]"],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert ran.returncode != 0
    assert "unknown key problems.familes; did you mean problems.families?" in ran.stderr
