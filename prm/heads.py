"""What is read at a step: from the trunk's hidden state to one logit, whose sigmoid is P(step right)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lm.errors import UserError, hub_errors
from lm.models import DType, load_causal_lm, load_token_scorer, load_trunk, output_layer
from prm.formats import Format
from prm.layout import token_id

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def step_logits(outputs: "torch.Tensor", right: Sequence[int]) -> "torch.Tensor":
    """(N, C) class logits to (N,) log-odds of the classes ``right`` against the others; a single output is its own.

    With two classes, sigmoid(z_right − z_wrong) is the softmax.
    """
    if outputs.shape[-1] == 1:
        return outputs[:, 0].float()
    wrong = [c for c in range(outputs.shape[-1]) if c not in right]
    return outputs[:, list(right)].float().logsumexp(-1) - outputs[:, wrong].float().logsumexp(-1)


def load_head(
    name: str, form: Format, tokenizer: "PreTrainedTokenizerBase", dtype: DType, attention: str = "sdpa"
) -> "tuple[PreTrainedModel, torch.nn.Module]":
    """(trunk, head) of the model at ``name``: stock transformers code and the checkpoint's own head weights."""
    if form.head == "classes":
        return split_classifier(load_token_scorer(name, 2, dtype, attention))
    if form.head == "verdicts":
        right, wrong = (token_id(tokenizer, text) for text in form.verdicts)
        if right == wrong:
            raise UserError(f"{' and '.join(form.verdicts)} are one token of {name!r}: not a PRM in this format")
        return verdict_head(load_causal_lm(name, dtype, attention), right, wrong)
    trunk = load_trunk(name, dtype, attention)
    tensors = read_tensors(name, form.head_key + ".")
    layers = [""] if form.head == "value" else ["0.", "2."]
    head = _linear_layers([(tensors, form.head_key + "." + layer) for layer in layers], name)
    return trunk, head.to(device=trunk.device, dtype=trunk.dtype)


def check_head(name: str) -> None:
    """UserError where the checkpoint has no head on its trunk: loading it would make one up, of random numbers."""
    if not (read_tensors(name, "score.") or read_tensors(name, "classifier.")):
        raise UserError(
            f"{name!r} is a language model without a head for scores (no tensor score.weight): give the model that "
            "training wrote, or the format of a published PRM of another kind (docs/prm_formats.md)"
        )


def split_classifier(model: "PreTrainedModel") -> "tuple[PreTrainedModel, torch.nn.Module]":
    """(trunk, head) of a token classifier as transformers builds it."""
    head = getattr(model, "score", None) or getattr(model, "classifier", None)
    if head is None:
        raise UserError(f"{type(model).__name__} has neither a score nor a classifier head: not a PRM in this format")
    trunk: Any = model.base_model
    return trunk, head


def verdict_head(model: "PreTrainedModel", right: int, wrong: int) -> "tuple[PreTrainedModel, torch.nn.Module]":
    """The causal LM's trunk, and of its vocabulary's logits only those of the tokens (wrong, right)."""
    import torch

    output = output_layer(model)
    rows = torch.tensor([wrong, right], device=output.weight.device)
    head = torch.nn.Linear(output.weight.shape[1], 2, bias=output.bias is not None)
    head.weight = torch.nn.Parameter(output.weight.detach()[rows])
    if output.bias is not None:
        head.bias = torch.nn.Parameter(output.bias.detach()[rows])
    trunk: Any = model.base_model
    return trunk, head


def read_tensors(name: str, prefix: str) -> "dict[str, torch.Tensor]":
    """The tensors of a checkpoint (folder or hub name, safetensors only) whose names begin with ``prefix``."""
    import json

    from safetensors import safe_open
    from transformers.utils import cached_file

    with hub_errors(name):
        index = cached_file(name, "model.safetensors.index.json", _raise_exceptions_for_missing_entries=False)
        files = {"model.safetensors"}
        if index is not None:
            with open(index, encoding="utf-8") as text:
                places = json.load(text)["weight_map"]
            files = {file for tensor, file in places.items() if tensor.startswith(prefix)}
        found: dict[str, torch.Tensor] = {}
        for file in sorted(files):
            path = cached_file(name, file)
            with safe_open(path, framework="pt") as tensors:
                found |= {key: tensors.get_tensor(key) for key in tensors.keys() if key.startswith(prefix)}  # noqa: SIM118
    return found


def _linear_layers(layers: "Sequence[tuple[dict[str, torch.Tensor], str]]", name: str) -> "torch.nn.Module":
    """Linear layers with ReLU between, of the tensors PREFIXweight and PREFIXbias (absent where there is none)."""
    import torch

    modules: list[torch.nn.Module] = []
    for tensors, prefix in layers:
        weight, bias = tensors.get(prefix + "weight"), tensors.get(prefix + "bias")
        if weight is None:
            raise UserError(
                f"{name!r} holds no tensor {prefix}weight: not a PRM in this format; see docs/prm_formats.md"
            )
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
        layer.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
        modules += [torch.nn.ReLU()] * bool(modules) + [layer]
    return torch.nn.Sequential(*modules) if len(modules) > 1 else modules[0]
