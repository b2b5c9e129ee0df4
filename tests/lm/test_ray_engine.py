"""lm.ray_engine on a local Ray cluster of two nodes: one answer however prompts are dealt out, and whoever dies."""

import copy
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lm.engine import Sampling, TransformersEngine
from lm.engines import EngineConfig, open_engine
from lm.errors import UserError
from lm.lora import LoRAConfig, add_adapter, plain_weights, trained_weights
from lm.models import load_causal_lm, load_tokenizer
from lm.ray_engine import RayEngine

QUESTIONS = [f"{a}+{b}-1\n" for a in range(4) for b in range(6)]
DRAWN = Sampling(0.9, max_tokens=16, n=2)


def test_without_ray_the_cure_is_one_line(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'rung\[ray\]'"):
        open_engine(EngineConfig(replicas=2), "anything", tokenizer)


@pytest.fixture
def saved(fitted_policy: Any, tokenizer: Any, tmp_path: Path) -> str:
    fitted_policy.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return str(tmp_path)


def same(left: Any, right: Any) -> None:
    assert [(c.token_ids, c.finish) for c in left] == [(c.token_ids, c.finish) for c in right]
    for one, other in zip(left, right, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_replicas_answer_as_one_engine_and_a_node_that_dies_costs_nothing(
    ray_cluster: Any, saved: str, tokenizer: Any, fitted_policy: Any, tiny_policy: Any
) -> None:
    prompts = tokenizer(QUESTIONS)["input_ids"]
    engine = open_engine(EngineConfig(replicas=2), saved, tokenizer, batch=8)
    assert isinstance(engine, RayEngine)
    alone = TransformersEngine(copy.deepcopy(fitted_policy), tokenizer, 8)
    told: list[Any] = []
    same(engine.generate(prompts, DRAWN, 3, told.append), alone.generate(prompts, DRAWN, 3))
    assert [len(some) for some in told] == [4] * 6  # shards of 4 prompts, 2 completions each

    engine.load_weights(tiny_policy)
    alone.load_weights(tiny_policy)
    wanted = alone.generate(prompts, DRAWN, 4)
    same(engine.generate(prompts, DRAWN, 4), wanted)

    killed: list[bool] = []

    def kill(some: Any) -> None:
        if not killed:
            killed.append(True)
            dying = ray_cluster.list_all_nodes()[-1]  # with one of the replicas: a node has room for one
            ray_cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
            ray_cluster.remove_node(dying, allow_graceful=False)

    for _ in range(3):  # the replica on that node may have given its last answer before it died
        killed.clear()
        same(engine.generate(prompts, DRAWN, 4, kill), wanted)
        if engine.deaths:
            break
    assert engine.deaths
    # Ray may place the new replica on the dead node once more. In a call without a death every replica has answered,
    # the new one with the weights that are newest.
    while engine.deaths:
        same(engine.generate(prompts, DRAWN, 4), wanted)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("ray_cluster")
def test_of_a_model_with_an_adapter_only_the_adapter_travels(saved: str, tokenizer: Any, fitted_policy: Any) -> None:
    import ray

    prompts = tokenizer(QUESTIONS)["input_ids"]
    policy, whole = copy.deepcopy(fitted_policy), copy.deepcopy(fitted_policy)
    add_adapter(policy, LoRAConfig(rank=2))
    engine = open_engine(EngineConfig(replicas=1), saved, tokenizer, batch=8)
    assert isinstance(engine, RayEngine)
    bases = []
    for update in range(2):
        for name, weight in policy.named_parameters():
            if ".lora_B." in name:
                torch.nn.init.normal_(weight, std=0.2, generator=torch.Generator().manual_seed(update))
        engine.load_weights(policy)
        bases.append(engine.base)
        sent = ray.get(engine.weights)
        assert sum(t.numel() for down, up, _ in sent.pairs.values() for t in (down, up)) == sum(
            weight.numel() for weight in trained_weights(policy).values()
        )
        whole.load_state_dict(plain_weights(policy))
        wanted = TransformersEngine(whole, tokenizer, 8).generate(prompts, DRAWN, update)
        found = engine.generate(prompts, DRAWN, update)
        assert [(c.token_ids, c.logprobs.tolist()) for c in found] == [
            (c.token_ids, c.logprobs.tolist()) for c in wanted
        ]
    assert bases[0] == bases[1]
    engine.load_weights(fitted_policy)  # whole weights again
    same(
        engine.generate(prompts, DRAWN, 3), TransformersEngine(fitted_policy, tokenizer, 8).generate(prompts, DRAWN, 3)
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("ray_cluster")
def test_replicas_of_vllm_take_adapters_too(vllm_model: Callable[[int], Path]) -> None:
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed here")
    name = str(vllm_model(0))
    tokenizer, greedy = load_tokenizer(name), Sampling(0.0, max_tokens=10)
    prompts = tokenizer(QUESTIONS)["input_ids"]
    engine = open_engine(EngineConfig("vllm", replicas=2, context=128, cache_gib=0.05), name, tokenizer, batch=8)
    policy, whole = load_causal_lm(name), load_causal_lm(name)
    add_adapter(policy, LoRAConfig(rank=2))
    for update in range(2):
        for weight_name, weight in policy.named_parameters():
            if ".lora_B." in weight_name:
                torch.nn.init.normal_(weight, std=0.2, generator=torch.Generator().manual_seed(update))
        engine.load_weights(policy)
        whole.load_state_dict(plain_weights(policy))
        same(engine.generate(prompts, greedy, 1), TransformersEngine(whole, tokenizer).generate(prompts, greedy, 1))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("ray_cluster")
def test_what_a_replica_cannot_load_is_one_line_here(tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a replica cannot start: .*cannot load model .*absent") as error:
        open_engine(EngineConfig(replicas=1), str(tmp_path / "absent"), tokenizer)
    assert "\n" not in str(error.value)
