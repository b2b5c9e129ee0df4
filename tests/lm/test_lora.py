"""LoRA: what it computes, that nothing else learns, that it can be switched off, merged, saved and read by peft."""

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from lm.checkpoint import load_part, save_model, save_part
from lm.engine import TransformersEngine
from lm.errors import UserError
from lm.lora import (
    LoRAConfig,
    adapter_off,
    add_adapter,
    merged,
    plain_weights,
    split_weights,
    trained_weights,
)
from lm.models import load_causal_lm, load_token_scorer
from lm.optim import OptimConfig, make_optimizer, optimizer_step

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

IDS = torch.tensor([[5, 9, 70, 12, 33], [8, 8, 2, 41, 7]])


def adapted(base: "PreTrainedModel", **settings: Any) -> Any:
    """A copy of a model with an adapter that already says something."""
    model = copy.deepcopy(base)
    torch.manual_seed(3)
    add_adapter(model, LoRAConfig(**{"rank": 2, "alpha": 6.0} | settings))
    for name, weight in model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(weight, std=0.2)
    return model


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def test_the_equation(tiny_policy: "PreTrainedModel") -> None:
    model = adapted(tiny_policy)
    plain: Any = tiny_policy
    layer, frozen = model.model.layers[0].mlp.up_proj, plain.model.layers[0].mlp.up_proj
    x = torch.randn(3, 32, dtype=torch.float32)
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert (a.shape, b.shape) == ((2, 32), (64, 2))
    torch.testing.assert_close(layer(x), x @ frozen.weight.T + 3.0 * (x @ a.T) @ b.T)  # alpha / rank = 3


def test_an_adapter_starts_as_nothing_and_switches_off(tiny_policy: "PreTrainedModel") -> None:
    start = copy.deepcopy(tiny_policy)
    add_adapter(start, LoRAConfig(rank=2))
    assert torch.equal(logits(start), logits(tiny_policy))
    model = adapted(tiny_policy)
    trained = set(trained_weights(model))
    assert not torch.allclose(logits(model), logits(tiny_policy), atol=1e-2)
    with adapter_off(model):
        assert torch.equal(logits(model), logits(tiny_policy))
    assert not torch.allclose(logits(model), logits(tiny_policy), atol=1e-2)
    assert set(trained_weights(model)) == trained


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_adapter_merged_where_it_arrives_is_the_whole_model_to_the_bit(
    tiny_policy: "PreTrainedModel", dtype: torch.dtype
) -> None:
    model = adapted(tiny_policy).to(dtype)
    whole = plain_weights(model)
    assert list(whole) == list(tiny_policy.state_dict())
    layer = model.model.layers[1].self_attn.v_proj
    down, up = (matrix["default"].weight.double() for matrix in (layer.lora_A, layer.lora_B))
    exact = layer.base_layer.weight.double() + 3 * up @ down
    torch.testing.assert_close(whole["model.layers.1.self_attn.v_proj.weight"], exact.to(dtype))

    base, adapter = split_weights(model)
    assert all(torch.equal(base[name], w.to(dtype)) for name, w in tiny_policy.state_dict().items())
    arrived = copy.deepcopy(adapter)
    assert all(torch.equal(weight, whole[name]) for name, weight in merged(base, arrived).items())
    sent = sum(t.numel() for down, up, _ in arrived.pairs.values() for t in (down, up))
    assert sent == sum(w.numel() for w in trained_weights(model).values()) < 0.2 * sum(w.numel() for w in base.values())


def test_a_head_that_is_trained_travels_with_the_adapter(tiny_critic: "PreTrainedModel") -> None:
    model = adapted(tiny_critic)
    base, adapter = split_weights(model)
    assert list(adapter.whole) == [name for name in base if name.startswith("score")]
    with torch.no_grad():
        model.score.weight.add_(1)
    later = split_weights(model)[1]
    torch.testing.assert_close(merged(base, later)["score.weight"], model.score.weight)


def test_only_the_adapter_learns(tiny_policy: "PreTrainedModel") -> None:
    model = copy.deepcopy(tiny_policy)
    add_adapter(model, LoRAConfig(rank=2, targets=("q_proj", "up_proj")))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    config = OptimConfig(lr=1e-2)
    optimizer: Any = make_optimizer(model, config)
    model(input_ids=IDS, labels=IDS).loss.backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == set(trained_weights(model))
    optimizer_step(model, optimizer, config, 1e-2)
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {  # A has no gradient yet, for B is 0, and AdamW's decay moves it
        f"model.layers.{i}.{part}_proj.lora_{letter}.default.weight"
        for i in range(2) for part in ("self_attn.q", "mlp.up") for letter in "AB"
    }  # fmt: skip
    assert len(optimizer.state_dict()["state"]) == 8


def test_a_merged_export_scores_the_same_and_peft_reads_the_adapter(
    tiny_policy: "PreTrainedModel", tmp_path: Path
) -> None:
    from peft import PeftModel

    model = adapted(tiny_policy)
    save_model(tmp_path / "model", model)
    assert not (tmp_path / "model" / "adapter_config.json").exists()
    torch.testing.assert_close(logits(load_causal_lm(str(tmp_path / "model"))), logits(model), atol=1e-5, rtol=0)
    read = PeftModel.from_pretrained(copy.deepcopy(tiny_policy), str(tmp_path / "model" / "adapter"))
    torch.testing.assert_close(logits(read), logits(model), atol=1e-6, rtol=0)


def test_a_scorer_keeps_its_head(tiny_critic: "PreTrainedModel", tmp_path: Path) -> None:
    from peft import PeftModel

    model = adapted(tiny_critic)
    torch.nn.init.normal_(model.score.weight)
    assert "score.weight" in trained_weights(model)
    save_model(tmp_path / "model", model)
    torch.testing.assert_close(logits(load_token_scorer(str(tmp_path / "model"), 1)), logits(model), atol=1e-5, rtol=0)
    read = PeftModel.from_pretrained(copy.deepcopy(tiny_critic), str(tmp_path / "model" / "adapter"))
    torch.testing.assert_close(logits(read), logits(model), atol=1e-6, rtol=0)


def test_a_checkpoint_holds_what_is_trained_and_no_more(tiny_policy: "PreTrainedModel", tmp_path: Path) -> None:
    model, other = adapted(tiny_policy), copy.deepcopy(tiny_policy)
    add_adapter(other, LoRAConfig(rank=2, alpha=6.0))
    for folder, part in (("adapter", model), ("full", copy.deepcopy(tiny_policy))):
        (tmp_path / folder).mkdir()
        save_part(tmp_path / folder, part)
    sizes = {f: sum(p.stat().st_size for p in (tmp_path / f).glob("*.safetensors")) for f in ("adapter", "full")}
    assert sizes["adapter"] < sizes["full"] / 4
    load_part(tmp_path / "adapter", other)
    assert torch.equal(logits(other), logits(model))
    fewer = copy.deepcopy(tiny_policy)
    add_adapter(fewer, LoRAConfig(rank=2, targets=("q_proj",)))
    with pytest.raises(UserError, match="does not fit this run"):
        load_part(tmp_path / "adapter", fewer)
    with pytest.raises(UserError, match="does not fit this run"):
        load_part(tmp_path / "full", other)


def test_an_engine_of_its_own_gets_the_merged_weights(
    tiny_policy: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase"
) -> None:
    model, own = adapted(tiny_policy), copy.deepcopy(tiny_policy)
    TransformersEngine(own, tokenizer).load_weights(model)
    torch.testing.assert_close(logits(own), logits(model), atol=1e-5, rtol=0)


def test_merging_in_bfloat16_rounds_once(tiny_policy: "PreTrainedModel") -> None:
    model = adapted(copy.deepcopy(tiny_policy).to(torch.bfloat16))
    path = "model.layers.1.self_attn.v_proj"
    state = {name: tensor.double() for name, tensor in model.state_dict().items() if name.startswith(path)}
    product = state[f"{path}.lora_B.default.weight"] @ state[f"{path}.lora_A.default.weight"]
    exact = state[f"{path}.base_layer.weight"] + 3.0 * product
    torch.testing.assert_close(plain_weights(model)[f"{path}.weight"].double(), exact, rtol=2**-8, atol=1e-6)


def test_a_layer_that_is_not_there(tiny_policy: "PreTrainedModel") -> None:
    with pytest.raises(UserError, match=r"no linear layer 'c_attn' in the model; it has down_proj, .*q_proj"):
        add_adapter(copy.deepcopy(tiny_policy), LoRAConfig(rank=2, targets=("c_attn",)))
