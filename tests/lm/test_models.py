"""Building, saving and loading tiny models."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from lm.errors import UserError
from lm.models import ModelConfig, build_causal_lm, load_causal_lm, load_token_scorer, output_layer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SMALL: dict[str, Any] = {"hidden_size": 16, "layers": 1, "heads": 2, "intermediate_size": 24}


def test_a_new_model_has_the_sizes_asked_for(tokenizer: "PreTrainedTokenizerBase") -> None:
    model: Any = build_causal_lm(ModelConfig(architecture="qwen2", **SMALL), tokenizer)
    vocabulary, d, m = len(tokenizer), 16, 24
    # tied embedding; q, k, v with biases and o; gate, up, down; two norms a layer and one at the end
    assert model.num_parameters() == vocabulary * d + 4 * d * d + 3 * d + 3 * d * m + 3 * d
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert (model.config.eos_token_id, model.config.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)
    assert model.get_input_embeddings().weight.std().item() == pytest.approx(0.05, rel=0.1)


def test_logits_are_the_output_layer_of_the_trunks_states_or_the_model_is_refused(tokenizer: Any) -> None:
    from transformers import GraniteConfig, GraniteForCausalLM

    ids = torch.tensor([[5, 6, 7]])
    model: Any = build_causal_lm(ModelConfig(**SMALL), tokenizer)
    torch.testing.assert_close(output_layer(model)(model.base_model(ids).last_hidden_state), model(ids).logits)
    sizes = {"vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    scaled = GraniteForCausalLM(GraniteConfig(**sizes, intermediate_size=24, logits_scaling=2.0))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"GraniteForCausalLM changes its logits after .* \(logits_scaling\)"):
        output_layer(scaled)


def test_bfloat16(tokenizer: "PreTrainedTokenizerBase") -> None:
    model: Any = build_causal_lm(ModelConfig(architecture="llama", dtype="bfloat16", **SMALL), tokenizer)
    assert model.config.model_type == "llama"
    assert model.dtype == torch.bfloat16
    assert model(torch.tensor([[3, 4]])).logits.shape == (1, 2, len(tokenizer))


def test_weights_follow_torchs_seed(tokenizer: "PreTrainedTokenizerBase") -> None:
    def weight(seed: int) -> Any:
        torch.manual_seed(seed)
        return build_causal_lm(ModelConfig(**SMALL), tokenizer).get_input_embeddings().weight

    assert torch.equal(weight(0), weight(0))
    assert not torch.equal(weight(0), weight(1))


def test_a_saved_model_says_the_same(tiny_policy: "PreTrainedModel", tmp_path: Path) -> None:
    tiny_policy.save_pretrained(tmp_path)
    ids = torch.tensor([[5, 6, 7]])
    loaded = load_causal_lm(str(tmp_path))
    assert not loaded.training
    assert torch.equal(loaded(ids).logits, tiny_policy(ids).logits)
    assert load_causal_lm(str(tmp_path), "bfloat16").dtype == torch.bfloat16


def test_a_scorer_borrows_the_trunk_and_keeps_its_head_when_saved(
    tiny_policy: "PreTrainedModel", tmp_path: Path
) -> None:
    tiny_policy.save_pretrained(tmp_path / "lm")
    scorer: Any = load_token_scorer(str(tmp_path / "lm"), 2)
    ids = torch.tensor([[5, 6, 7]])
    hidden = tiny_policy.base_model(ids).last_hidden_state
    expected = hidden @ scorer.score.weight.T + scorer.score.bias
    torch.testing.assert_close(scorer(ids).logits, expected)
    torch.testing.assert_close(scorer.train()(ids).logits, expected)  # no dropout left, even in training

    scorer.save_pretrained(tmp_path / "scorer")
    torch.testing.assert_close(load_token_scorer(str(tmp_path / "scorer"), 2)(ids).logits, expected)


def test_folders_and_names_that_hold_no_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config\.json in it"):
        load_causal_lm(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="cannot load model"):
        load_causal_lm(str(tmp_path))
    with pytest.raises(UserError, match="cannot load model"):
        load_token_scorer("no such folder", 1)


def test_plain_transformers_loads_a_new_model_with_its_tokenizer(tmp_path: Path, tokenizer: Any) -> None:
    """The default architecture's folder needs nothing of ours: the same ids from AutoTokenizer, the same logits."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = build_causal_lm(ModelConfig(**SMALL), tokenizer).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    for text in ("12-3*(4+5)\n#### 10", "Tom has 12 pens.  7/8"):
        assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
        assert again.decode(again(text)["input_ids"]) == text
    ids = torch.tensor([tokenizer("12-3")["input_ids"]])
    assert torch.equal(AutoModelForCausalLM.from_pretrained(tmp_path)(ids).logits, model(ids).logits)
    assert not list(tmp_path.glob("*.bin"))
    assert list(tmp_path.glob("*.safetensors"))
