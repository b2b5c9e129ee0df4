"""Every verb that samples, with an engine that is not the model in its own process."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from chat_server import Served
from engine_server import completing

from lm.engine import Sampling
from lm.engines import PLACEMENT, EngineConfig
from lm.errors import UserError
from lm.optim import OptimConfig
from lm.sft import FitConfig
from prm.loading import load as load_prm
from prm.problems import ProblemsConfig
from rl.config import RLConfig
from rl.constitution import ConstitutionConfig
from rl.constitution import main as write_constitution
from rl.expert import ExpertConfig
from rl.expert import train as train_expert
from rl.judge import Prover, step_judge
from rl.rlaif import RLAIFConfig
from rl.rlaif import train as train_rlaif
from rung import rlhf_eval
from rung.evaluate_math import MathConfig, evaluate_math
from rung.search import GuidedConfig, guided
from rung.sycophancy import SycophancyConfig
from rung.sycophancy import main as probe_sycophancy
from verifiers.solution import Problem, Solution
from verifiers.split import split_steps

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

GREEDY = Sampling(0.0, max_tokens=12)
HERE = EngineConfig()


@pytest.fixture(scope="module")
def home(
    fitted_policy: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    worked: list[tuple[str, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A policy, and problems with and without answers."""
    folder = tmp_path_factory.mktemp("engines")
    fitted_policy.save_pretrained(folder / "policy")
    tokenizer.save_pretrained(folder / "policy")
    rows = [{"question": q, "answer": s.split("#### ")[1]} for q, s in dict(worked).items()]
    for name, some in (("sums", rows[:20]), ("train", rows[20:60])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    principle = {"critique": "What is wrong?", "revision": "Mend it."}
    (folder / "principles.json").write_text(json.dumps([principle]))
    return folder


@pytest.fixture(scope="module")
def served(fitted_policy: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> Iterator[Served]:
    with completing(fitted_policy, tokenizer) as server:
        yield server


def problems(home: Path, **more: Any) -> ProblemsConfig:
    return ProblemsConfig(
        source=str(home / "train.jsonl"), test_source=str(home / "sums.jsonl"), validation_fraction=0.3, **more
    )


def by_math(home: Path, engine: EngineConfig, folder: Path) -> Any:
    config = MathConfig(
        folder=folder, policy=str(home / "policy"), sets={"sums": str(home / "sums.jsonl")}, prompt="plain",
        sampling=GREEDY, verify_workers=0, threads=1, engine=engine,
    )  # fmt: skip
    evaluate_math(config)
    return (folder / "results.jsonl").read_text()


def by_search(home: Path, engine: EngineConfig, folder: Path) -> Any:
    config = GuidedConfig(
        folder=folder, policy=str(home / "policy"), prm="symbolic", problems=problems(home), count=5,
        sampling=GREEDY, threads=1, engine=engine,
    )  # fmt: skip
    guided(config)
    return (folder / "found.jsonl").read_text()


def by_sycophancy(home: Path, engine: EngineConfig, folder: Path) -> Any:
    policies = {"sft": str(home / "policy")}
    probe_sycophancy(
        SycophancyConfig(
            folder=folder, policies=policies, problems=problems(home), count=5, max_tokens=12, threads=1, engine=engine
        )
    )
    return (folder / "summary.json").read_text()


def by_constitution(home: Path, engine: EngineConfig, folder: Path) -> Any:
    write_constitution(
        ConstitutionConfig(
            folder=folder, constitution=home / "principles.json", problems=problems(home, answers=False), count=6,
            policy=str(home / "policy"), prompt="{question}\n", sampling=GREEDY, threads=1, engine=engine,
        )
    )  # fmt: skip
    return (folder / "transcripts.jsonl").read_text(), (folder / "metrics.jsonl").read_text()


def by_rlhf_eval(home: Path, engine: EngineConfig, folder: Path) -> Any:
    config = rlhf_eval.RLHFEvalConfig(sampling=GREEDY, engine=engine)
    found = rlhf_eval.measure(str(home / "policy"), ["1+2-1", "4+4-3"], [Problem("p", "3+3-1", "5")], config)
    return found.responses, found.right.tolist()


def by_prover(home: Path, engine: EngineConfig, folder: Path) -> Any:
    config = RLConfig(prover=str(home / "policy"), prover_rollouts=2, prover_engine=engine, sampling=GREEDY)
    prover = step_judge(config, None, None)  # type: ignore[arg-type]  # of the policy it needs nothing
    assert isinstance(prover, Prover)
    greedy = dataclasses.replace(prover.roller, sampling=dataclasses.replace(prover.roller.sampling, temperature=0.0))
    text = "8-2\n6\n#### 6"
    solution = Solution(Problem("p", "5+3-2", "6"), text, split_steps(text))
    return Prover(greedy, 0).score([solution])[0].probabilities.tolist()


@pytest.mark.parametrize("verb", [by_math, by_search, by_sycophancy, by_constitution, by_rlhf_eval, by_prover])
def test_a_server_that_is_joined_answers_as_the_model_here(
    verb: Callable[[Path, EngineConfig, Path], Any], home: Path, served: Served, tmp_path: Path
) -> None:
    """Greedy, so that what comes back must be the same text."""
    here = verb(home, HERE, tmp_path / "here")
    before = len(served.requests)
    assert verb(home, EngineConfig("vllm-server", url=served.url), tmp_path / "there") == here
    asked = served.requests[before:]
    assert asked
    assert all(request["path"] == "/v1/completions" for request in asked)


def expert(home: Path, engine: EngineConfig, folder: Path) -> Path:
    """Two rounds, so that the second is sampled with new weights."""
    fit = FitConfig(steps=2, batch=16, save_every=0, optim=OptimConfig(lr=2e-3, warmup=1))
    train_expert(
        ExpertConfig(
            folder=folder, policy=str(home / "policy"), threads=1, rounds=2, problems_per_round=20,
            problems=problems(home), sampling=Sampling(max_tokens=16, n=4), fit=fit, engine=engine,
        )
    )  # fmt: skip
    return folder


def rlaif(home: Path, engine: EngineConfig, folder: Path) -> Path:
    """Two steps judged by a reward model, the second on answers of an updated policy."""
    train_rlaif(
        RLAIFConfig(
            folder=folder, policy=str(home / "policy"), reward=reward(home), threads=1, steps=2, problems_per_step=8,
            problems=problems(home, answers=False), sampling=Sampling(max_tokens=16, n=2), engine=engine,
            optim=OptimConfig(lr=1e-3, warmup=1, schedule="constant", weight_decay=0.0),
        )
    )  # fmt: skip
    return folder


def reward(home: Path) -> str:
    import torch

    from lm.models import load_token_scorer, load_tokenizer

    torch.manual_seed(0)
    model: Any = load_token_scorer(str(home / "policy"), 1)
    torch.nn.init.normal_(model.score.weight, std=0.5)
    model.save_pretrained(home / "reward")
    load_tokenizer(str(home / "policy")).save_pretrained(home / "reward")
    return str(home / "reward")


@pytest.mark.parametrize("verb", [expert, rlaif])
def test_a_policy_that_learns_gives_its_engine_the_new_weights(
    verb: Callable[[Path, EngineConfig, Path], Path], home: Path, served: Served, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="takes no weights"):
        verb(home, EngineConfig("vllm-server", url=served.url), tmp_path / "there")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("verb", [expert, rlaif])
def test_replicas_of_rays_sample_with_the_newest_weights(
    verb: Callable[[Path, EngineConfig, Path], Path], home: Path, tmp_path: Path
) -> None:
    here, there = (
        verb(home, engine, tmp_path / name) for name, engine in (("here", HERE), ("there", EngineConfig(replicas=2)))
    )
    for name in ("rounds/0.jsonl", "rounds/1.jsonl") if verb is expert else ("metrics.jsonl",):
        assert (there / name).read_bytes() == (here / name).read_bytes()


def test_a_generative_prm_asks_vllm_for_its_critiques(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="vLLM is not installed"):
        load_prm(str(home / "policy"), format="thinkprm", backend="vllm")


def test_placement_names_keys_of_the_section() -> None:
    assert set(PLACEMENT) <= {field.name for field in dataclasses.fields(EngineConfig)}
