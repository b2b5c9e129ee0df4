"""lm.state: what goes in comes out, to the bit."""

import json
import random
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lm.state import RandomState, flatten, unflatten

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(
            st.text(max_size=4) | st.integers() | st.sampled_from(["$tensor", "$tuple"]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_what_json_lacks_survives(state: Any) -> None:
    rest, tensors = flatten(state)
    assert not tensors
    back = unflatten(json.loads(json.dumps(rest)), tensors)
    assert back == state
    assert repr(back) == repr(state)  # (1,) == (1,) but [1] is not (1,), and True is not 1


def test_tensors_and_arrays_survive_to_the_bit() -> None:
    state: dict[str, Any] = {
        "state": {0: {"exp_avg": torch.randn(3, 4), "step": torch.tensor(7.0)}, 1: {"exp_avg": torch.zeros(0)}},
        "half": torch.randn(5).bfloat16(),
        "turned": torch.arange(6).reshape(2, 3).T,
        "key": np.arange(4, dtype=np.uint32),
        "scalar": np.float64(0.1),
        "betas": (0.9, 0.999),
    }
    rest, tensors = flatten(state)
    back = unflatten(json.loads(json.dumps(rest)), tensors)
    assert torch.equal(back["state"][0]["exp_avg"], state["state"][0]["exp_avg"])
    assert torch.equal(back["turned"], state["turned"])
    assert back["half"].dtype == torch.bfloat16
    assert torch.equal(back["half"], state["half"])
    assert back["key"].dtype == np.uint32
    assert list(back["key"]) == [0, 1, 2, 3]
    assert back["scalar"] == 0.1
    assert back["betas"] == (0.9, 0.999)


def test_a_tensor_met_twice_is_kept_once_and_a_view_is_copied(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    weight = torch.randn(4, 4)
    rest, tensors = flatten(OrderedDict(a=weight, tied=weight, row=weight[1], back=weight.T))
    assert sorted(tensors) == ["a", "back", "row"]
    save_file(tensors, tmp_path / "x.safetensors")  # which refuses tensors that share memory
    back = unflatten(rest, tensors)
    assert torch.equal(back["tied"], weight)
    assert torch.equal(back["row"], weight[1])
    assert torch.equal(back["back"], weight.T)


def test_names_that_collide_stay_apart() -> None:
    rest, tensors = flatten({"a": {"b": torch.ones(1)}, "a/b": torch.zeros(1)})
    back = unflatten(rest, tensors)
    assert back["a"]["b"].item() == 1
    assert back["a/b"].item() == 0


def test_what_cannot_be_saved_names_its_place() -> None:
    with pytest.raises(TypeError, match="cannot save groups/1/hook: a function is neither"):
        flatten({"groups": [1, {"hook": lambda: 0}]})


def test_the_random_generators_repeat() -> None:
    rest, tensors = flatten(RandomState().state_dict())
    rest = json.loads(json.dumps(rest))

    def draws() -> list[float]:
        return [random.random(), np.random.rand(), float(np.random.randn()), torch.rand(()).item()]

    first = draws()
    draws()
    RandomState().load_state_dict(unflatten(rest, tensors))
    assert draws() == first
