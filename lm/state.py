"""States without pickle: any state_dict as JSON and named tensors, and back to the bit; the random generators' too."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def flatten(state: Any) -> "tuple[Any, dict[str, torch.Tensor]]":
    """``state`` as JSON and its tensors and NumPy arrays by name; the JSON names each in its place.

    A tensor met twice is kept once. What JSON lacks is marked by a key in ``$``: tensors, arrays, tuples, and mappings
    whose keys are not all text. Raises TypeError, naming the place, for anything else.
    """
    import numpy as np
    import torch

    tensors: dict[str, torch.Tensor] = {}
    first_of: dict[int, str] = {}  # storage address -> the first tensor kept that lives there

    def put(tensor: torch.Tensor, path: str) -> str:
        """safetensors wants every tensor contiguous and no two in the same memory."""
        address = tensor.untyped_storage().data_ptr()
        known = tensors.get(first_of.get(address, ""))
        if known is not None and _view(known) == _view(tensor):
            return first_of[address]
        name = path or "value"
        while name in tensors:
            name += "'"
        tensors[name] = tensor.contiguous() if known is None else tensor.clone(memory_format=torch.contiguous_format)
        if tensor.numel():
            first_of.setdefault(address, name)
        return name

    def walk(value: Any, path: str) -> Any:
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, torch.Tensor):
            return {"$tensor": put(value.detach(), path)}
        if isinstance(value, np.ndarray):
            return {"$array": put(torch.from_numpy(value), path)}
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, list | tuple):
            items = [walk(item, _join(path, i)) for i, item in enumerate(value)]
            return items if isinstance(value, list) else {"$tuple": items}
        if isinstance(value, Mapping):
            pairs = [(name, walk(item, _join(path, name))) for name, item in value.items()]
            if all(isinstance(name, str) and not name.startswith("$") for name, _ in pairs):
                return dict(pairs)
            return {"$items": [[walk(name, path), item] for name, item in pairs]}
        raise TypeError(f"cannot save {path or 'the state'}: a {type(value).__name__} is neither a tensor nor JSON")

    return walk(state, ""), tensors


def _view(tensor: "torch.Tensor") -> tuple[Any, ...]:
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype


def _join(path: str, name: Any) -> str:
    return f"{path}/{name}" if path else str(name)


def unflatten(value: Any, tensors: "Mapping[str, torch.Tensor]") -> Any:
    """The inverse of ``flatten``."""
    if isinstance(value, list):
        return [unflatten(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if "$tensor" in value:
        return tensors[value["$tensor"]]
    if "$array" in value:
        return tensors[value["$array"]].numpy()
    if "$tuple" in value:
        return tuple(unflatten(value["$tuple"], tensors))
    if "$items" in value:
        return {unflatten(name, tensors): unflatten(item, tensors) for name, item in value["$items"]}
    return {name: unflatten(item, tensors) for name, item in value.items()}


class RandomState:
    """The states of the random generators that training may draw from: Python's, NumPy's and torch's (all devices)."""

    def state_dict(self) -> dict[str, Any]:
        import random

        import numpy as np
        import torch

        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
        return {
            "python": random.getstate(),
            "numpy": np.random.get_state(),
            "torch": torch.get_rng_state(),
            "cuda": cuda,
        }

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        import random

        import numpy as np
        import torch

        random.setstate(state["python"])
        np.random.set_state(state["numpy"])
        torch.set_rng_state(state["torch"])
        if state["cuda"]:
            torch.cuda.set_rng_state_all(state["cuda"])
