"""Models: a small decoder built from a config, or any hub name or folder that transformers loads."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from lm.config import key
from lm.errors import UserError, hub_errors
from lm.lora import LoRAConfig, add_adapter
from lm.sharding import shard

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DType = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class ModelConfig:
    """Where a model comes from: ``path`` when it exists already, else a new decoder of the sizes given."""

    path: str | None = key(None, "hub name or folder to start from; null builds a new model from the sizes below")
    architecture: Literal["llama", "qwen2"] = key(
        "llama",
        "transformers architecture of a new model; beside qwen2 weights AutoTokenizer splits text as Qwen does",
    )
    hidden_size: int = key(96, "width of a new model")
    layers: int = key(3, "depth of a new model")
    heads: int = key(4, "attention heads of a new model")
    intermediate_size: int = key(256, "width of the MLP of a new model")
    initializer_range: float = key(
        0.05, "standard deviation of a new model's weights, about 0.5/√hidden_size: the usual 0.02 is for wide models"
    )
    max_positions: int = key(512, "longest sequence of a new model, in tokens")
    vocabulary: int = key(384, "entries of the tokenizer trained for a new model (256 bytes and what it merges)")
    dtype: DType = key("float32", "precision of the weights; bfloat16 for GPUs")
    attention: Literal["sdpa", "eager", "flash_attention_2"] = key("sdpa", "attention kernel, as transformers names it")


def build_causal_lm(config: ModelConfig, tokenizer: "PreTrainedTokenizerBase") -> "PreTrainedModel":
    """A new causal LM with random weights and tied embeddings; call ``torch.manual_seed`` before."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    model: PreTrainedModel
    sizes: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.heads,
        "max_position_embeddings": config.max_positions,
        "initializer_range": config.initializer_range,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "attn_implementation": config.attention,
        "dtype": config.dtype,
    }
    if config.architecture == "llama":
        model = LlamaForCausalLM(LlamaConfig(**sizes))
    else:
        model = Qwen2ForCausalLM(Qwen2Config(**sizes))
    return model.to(getattr(torch, config.dtype))


def load_tokenizer(name: str) -> "PreTrainedTokenizerBase":
    """The tokenizer at ``name``, a hub name or a folder, as it was saved."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    from lm.tokenizer import check_tokenizer

    with hub_errors(name):
        # Beside a Qwen2 model AutoTokenizer (5.19) makes a Qwen2Tokenizer of any tokenizer, which replaces how it cuts
        # text into words without a word; one that was saved as no model's own class is read as it stands.
        loader = PreTrainedTokenizerFast if _of_no_model(name) else AutoTokenizer
        tokenizer = loader.from_pretrained(name, trust_remote_code=False)
    return check_tokenizer(tokenizer, name)


def _of_no_model(name: str) -> bool:
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    saved_as = get_tokenizer_config(name).get("tokenizer_class")
    return saved_as in ("TokenizersBackend", "PreTrainedTokenizerFast")


def context_length(name: str) -> int | None:
    """How many tokens the model at ``name`` was made for; None where its config does not say."""
    from transformers import AutoConfig

    with hub_errors(name):
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    length = getattr(config.get_text_config(), "max_position_embeddings", None)
    return int(length) if length else None


def load_causal_lm(name: str, dtype: DType = "float32", attention: str = "sdpa") -> "PreTrainedModel":
    """The language model at ``name``, a hub name or a folder; safetensors only, no remote code."""
    from transformers import AutoModelForCausalLM

    return _load(AutoModelForCausalLM, name, dtype, attention)


def load_token_scorer(name: str, outputs: int, dtype: DType = "float32", attention: str = "sdpa") -> "PreTrainedModel":
    """The model at ``name`` with a head of ``outputs`` numbers a token: a critic (1) or a step scorer (2 classes).

    A causal LM lends its trunk and gets a new head; a folder that holds such a model already is loaded whole.
    """
    from transformers import AutoModelForTokenClassification

    model = _load(AutoModelForTokenClassification, name, dtype, attention, num_labels=outputs)
    no_dropout(model)  # a regression target under dropout is noise: the scores must be a function
    return model


def load_trunk(name: str, dtype: DType = "float32", attention: str = "sdpa") -> "PreTrainedModel":
    """The decoder at ``name`` without any head; what the checkpoint holds beside it is left alone."""
    from transformers import AutoModel

    return _load(AutoModel, name, dtype, attention)


def no_dropout(model: "PreTrainedModel") -> None:
    """Make the model a function of its weights and its input in training mode too."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.0  # type: ignore[assignment]


def make_trainable(model: "PreTrainedModel", lora: LoRAConfig, gradient_checkpointing: bool) -> None:
    """Ready a model for training, in place and on its device: an adapter where ``lora`` asks for one, activations
    computed twice rather than kept (in training mode only), shards where the launcher asks for them, and no dropout,
    so that a loss is the same however its batch is divided."""
    add_adapter(model, lora)
    no_dropout(model)
    if gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    shard(model)


def load_with_reference(
    name: str, dtype: DType, lora: LoRAConfig, gradient_checkpointing: bool
) -> "tuple[PreTrainedModel, PreTrainedModel]":
    """(a policy to train, its reference), on this machine's device: two copies, or with an adapter one, which is its
    own reference without it (``lm.lora.adapter_off``)."""
    policy = load_causal_lm(name, dtype).to(default_device())  # type: ignore[arg-type]
    reference = policy
    if not lora.rank:
        reference = load_causal_lm(name, dtype).to(default_device())  # type: ignore[arg-type]
        shard(reference)
    make_trainable(policy, lora, gradient_checkpointing)
    return policy, reference


def output_layer(model: "PreTrainedModel") -> "torch.nn.Linear":
    """The layer that makes the vocabulary's logits of the trunk's last states, to be used on some of them alone.

    Raises UserError where it is not all that does: Gemma-2, Cohere and Granite change logits after it.
    """
    for option in ("final_logit_softcapping", "logits_scaling", "logit_scale"):
        if getattr(model.config, option, None) not in (None, 1, 1.0):
            name = type(model).__name__
            raise UserError(f"{name} changes its logits after the output layer ({option}): give a model that does not")
    layer: Any = model.get_output_embeddings()
    return layer


def zero_head(model: "PreTrainedModel") -> None:
    """Make a new head say 0 everywhere, so that its random weights decide nothing."""
    head = getattr(model, "score", None) or getattr(model, "classifier", None)
    if head is None:
        raise UserError(f"{type(model).__name__} has neither a score nor a classifier head: choose another critic")
    for parameter in head.parameters():
        parameter.data.zero_()


def _load(auto: Any, name: str, dtype: DType, attention: str, **extra: Any) -> "PreTrainedModel":
    import torch
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()  # "newly initialized: score.weight" is what we asked for
    try:
        with hub_errors(name):
            return auto.from_pretrained(
                name,
                dtype=getattr(torch, dtype),
                attn_implementation=attention,
                use_safetensors=True,
                trust_remote_code=False,
                **extra,
            )
    finally:
        logging.set_verbosity(level)


def default_device() -> "torch.device":
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
