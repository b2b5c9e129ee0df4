"""LoRA through peft: small trained matrices beside frozen weights; switched off, merged and saved."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from lm import sharding
from lm.config import key
from lm.errors import UserError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_NAME = "default"  # peft's name for the only adapter of a model


@dataclass(frozen=True)
class LoRAConfig:
    """y = W x + (alpha / rank) B A x with W frozen, A (rank, in) and B (out, rank) trained, B = 0 at first
    (Hu et al. 2021, section 4.1)."""

    rank: int = key(0, "rank of the adapter; 0 trains every weight", low=0)
    alpha: float = key(32.0, "the adapter's output is scaled by alpha / rank", low=0)
    targets: tuple[str, ...] = key((), "linear layers that get one, such as [q_proj, v_proj]; empty: all of the trunk")


def add_adapter(model: "PreTrainedModel", config: LoRAConfig) -> None:
    """Freeze the model and put an adapter into it, in place; with rank 0 leave it alone.

    A head of its own on the trunk (a scorer's, a critic's) is trained whole: it is new, and small. Call
    ``torch.manual_seed`` before. Raises UserError where peft is missing or the model has no such layer.
    """
    import torch

    if not config.rank:
        return
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise UserError("lora.rank needs peft: pip install 'rung[peft]', or leave lora.rank at 0") from None
    trunk: Any = model.base_model
    linear = {name.rpartition(".")[2] for name, m in trunk.named_modules() if isinstance(m, torch.nn.Linear)}
    unknown = sorted(set(config.targets) - linear)
    if unknown:
        raise UserError(
            f"lora.targets: no linear layer {unknown[0]!r} in the model; it has {', '.join(sorted(linear))}"
        )
    heads = [name for name in ("score", "classifier") if hasattr(model, name)]
    settings = LoraConfig(
        r=config.rank, lora_alpha=config.alpha, target_modules=sorted(config.targets or linear),  # type: ignore[arg-type]
        base_model_name_or_path=model.name_or_path, modules_to_save=None,
    )  # fmt: skip
    inject_adapter_in_model(settings, model)
    for name in heads:
        getattr(model, name).requires_grad_(True)
    settings.modules_to_save = heads or None  # said in the file, so that peft reads the head as well


def has_adapter(model: Any) -> "TypeGuard[PreTrainedModel]":
    return hasattr(model, "peft_config")


def adapter_rank(model: Any) -> int:
    """The rank of the model's adapter; 0 without one, or without a model."""
    return int(model.peft_config[_NAME].r) if hasattr(model, "peft_config") else 0


@contextmanager
def adapter_off(model: Any) -> Iterator[None]:
    """The model as it was before its adapter: the reference that needs no second copy. Others stay as they are."""
    layers = [layer for _, layer in _layers(model)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


@dataclass(frozen=True)
class Adapter:
    """An adapter as it travels without its model: by a layer's plain name A (rank, in), B (out, rank) and alpha / rank;
    and by their names the weights that are trained whole."""

    pairs: "dict[str, tuple[torch.Tensor, torch.Tensor, float]]"
    whole: "dict[str, torch.Tensor]"

    def cpu(self) -> "Adapter":
        return Adapter(
            {name: (down.cpu(), up.cpu(), scaling) for name, (down, up, scaling) in self.pairs.items()},
            {name: weight.cpu() for name, weight in self.whole.items()},
        )


def split_weights(model: "PreTrainedModel") -> "tuple[dict[str, torch.Tensor], Adapter]":
    """(the frozen weights, the adapter): whole where the model is in shards, under the names that the model has without
    an adapter. What is trained whole is in both."""
    state: dict[str, torch.Tensor] = sharding.whole(dict(model.state_dict()))
    base = {name.replace(".base_layer.", "."): tensor for name, tensor in state.items() if ".lora_" not in name}
    pairs = {}
    for path, layer in _layers(model):
        down, up = (state[f"{path}.lora_{letter}.{_NAME}.weight"] for letter in "AB")
        pairs[f"{path}.weight"] = down, up, float(layer.scaling[_NAME])
    trained = [name for name in trained_weights(model) if ".lora_" not in name] if has_adapter(model) else []
    return base, Adapter(pairs, {name: state[name] for name in trained})


def merged(base: "Mapping[str, torch.Tensor]", adapter: Adapter) -> "dict[str, torch.Tensor]":
    """The weights with W + (alpha / rank) B A for W."""
    plain = {**base, **adapter.whole}
    for name, (down, up, scaling) in adapter.pairs.items():
        plain[name] = (base[name].float() + scaling * (up.float() @ down.float())).to(base[name].dtype)
    return plain


def plain_weights(model: "PreTrainedModel") -> "dict[str, torch.Tensor]":
    """The state dict, whole where the model is in shards, with its adapter merged in."""
    return merged(*split_weights(model))


def _layers(model: Any) -> list[tuple[str, Any]]:
    """(path, layer) of the layers that peft has put its own around."""
    named = model.named_modules() if has_adapter(model) else ()
    return [(path, layer) for path, layer in named if hasattr(layer, "get_delta_weight")]


def trained_weights(model: "PreTrainedModel") -> "dict[str, torch.Tensor]":
    """What learns: the adapter, and the head where there is one of its own."""
    return {name: weight.detach() for name, weight in model.named_parameters() if weight.requires_grad}


def save_adapter(folder: Path, model: Any, trained: "Mapping[str, torch.Tensor]") -> None:
    """Write the ``trained_weights`` alone, as ``peft.PeftModel.from_pretrained(base, folder)`` reads them."""
    from safetensors.torch import save_file

    folder.mkdir()
    model.peft_config[_NAME].save_pretrained(str(folder))
    tensors = {
        f"base_model.model.{name.replace(f'.{_NAME}.', '.')}": weight.contiguous() for name, weight in trained.items()
    }
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
