"""Sizes of models and of machines: what a plan multiplies."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm.errors import UserError, hub_errors


@dataclass(frozen=True)
class Shape:
    """A decoder of the Llama kind (Qwen2 adds biases to q, k and v), as its config.json says."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    tied: bool  # one matrix for the embeddings and the LM head
    qkv_bias: bool

    @property
    def trunk(self) -> int:
        """Parameters without the LM head: embeddings, layers and the last norm."""
        query, kv = self.heads * self.head_size, self.kv_heads * self.head_size
        attention = 2 * self.hidden * query + 2 * self.hidden * kv + (query + 2 * kv if self.qkv_bias else 0)
        layer = attention + 3 * self.hidden * self.intermediate + 2 * self.hidden
        return self.vocabulary * self.hidden + self.layers * layer + self.hidden

    @property
    def parameters(self) -> int:
        """Of the causal LM."""
        return self.trunk + (0 if self.tied else self.vocabulary * self.hidden)

    @property
    def multiplied(self) -> int:
        """Weights that a token is multiplied with in the layers: two FLOPs each, forward."""
        return self.trunk - self.vocabulary * self.hidden

    def adapter(self, rank: int) -> int:
        """Parameters of LoRA's two factors beside every linear layer of the decoder (Hu et al. 2021)."""
        query, kv = self.heads * self.head_size, self.kv_heads * self.head_size
        ends = 2 * (self.hidden + query) + 2 * (self.hidden + kv) + 3 * (self.hidden + self.intermediate)
        return rank * self.layers * ends

    @property
    def cache(self) -> int:
        """Numbers that one token leaves in the KV cache."""
        return 2 * self.layers * self.kv_heads * self.head_size


def read_shape(config: Mapping[str, Any], name: str) -> Shape:
    """The shape in a model's config.json. Raises UserError where it is not a decoder of this kind."""
    kind = str(config.get("model_type"))
    try:
        heads, hidden = int(config["num_attention_heads"]), int(config["hidden_size"])
        return Shape(
            layers=int(config["num_hidden_layers"]),
            hidden=hidden,
            intermediate=int(config["intermediate_size"]),
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_size=int(config.get("head_dim") or hidden // heads),
            vocabulary=int(config["vocab_size"]),
            tied=bool(config.get("tie_word_embeddings", False)),
            qkv_bias=kind == "qwen2",
        )
    except KeyError as missing:
        raise UserError(
            f"{name}: its config.json ({kind}) has no {missing}: only Llama-like decoders are planned"
        ) from None


# From the config.json of each (Qwen2.5: Yang et al. 2024; Llama 3: Grattafiori et al. 2024): nothing is fetched.
KNOWN = {
    "Qwen/Qwen2.5-0.5B": Shape(24, 896, 4864, 14, 2, 64, 151936, True, True),
    "Qwen/Qwen2.5-1.5B": Shape(28, 1536, 8960, 12, 2, 128, 151936, True, True),
    "Qwen/Qwen2.5-7B": Shape(28, 3584, 18944, 28, 4, 128, 152064, False, True),
    "Qwen/Qwen2.5-32B": Shape(64, 5120, 27648, 40, 8, 128, 152064, False, True),
    "Qwen/Qwen2.5-72B": Shape(80, 8192, 29568, 64, 8, 128, 152064, False, True),
    "meta-llama/Llama-3.1-8B": Shape(32, 4096, 14336, 32, 8, 128, 128256, False, False),
    "meta-llama/Llama-3.1-70B": Shape(80, 8192, 28672, 64, 8, 128, 128256, False, False),
}


def shape_of(name: str) -> Shape:
    """The shape of ``name``: a folder, a name in KNOWN (its -Instruct and -Math kin too), or on the hub."""
    path = Path(name)
    if (path / "config.json").is_file():
        return read_shape(json.loads((path / "config.json").read_text(encoding="utf-8")), name)
    plain = name.replace("-Instruct", "").replace("-Math", "")
    if plain in KNOWN:
        return KNOWN[plain]
    if path.is_absolute() or name.startswith(("runs/", ".")):
        raise UserError(f"no model at {name} yet: give model=NAME, for example one of {', '.join(KNOWN)}")
    from transformers import AutoConfig

    with hub_errors(name):
        return read_shape(AutoConfig.from_pretrained(name, trust_remote_code=False).to_dict(), name)


@dataclass(frozen=True)
class Machine:
    """One accelerator: bytes of memory, dense bf16 FLOP/s, bytes/s of memory and to its neighbours."""

    memory: float
    flops: float
    bandwidth: float
    link: float


# Makers' data sheets, without sparsity; `link` is NVLink where there is one, else PCIe, one way.
MACHINES = {
    "h100": Machine(80e9, 989e12, 3.35e12, 450e9),
    "h200": Machine(141e9, 989e12, 4.8e12, 450e9),
    "a100": Machine(80e9, 312e12, 2.04e12, 300e9),
    "l40s": Machine(48e9, 362e12, 0.864e12, 32e9),
    "rtx4090": Machine(24e9, 165e12, 1.01e12, 32e9),
}
