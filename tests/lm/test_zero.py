"""What of DeepSpeed is refused. What it does between real processes is in test_two_processes.py."""

import importlib.util

import pytest

from lm import zero
from lm.errors import UserError


def test_what_is_not_used_of_deepspeed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")  # as accelerate launch --use_deepspeed does
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "1")
    zero.check()  # alone there is nobody to share with
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert zero.asked()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="which is not installed: pip install"):
        zero.check()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    zero.check()
    for name, value in {
        "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2",
        "ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE": "cpu",
        "ACCELERATE_DEEPSPEED_CONFIG_FILE": "zero.json",
    }.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(name, value)
            with pytest.raises(UserError, match=r"zero_stage: 1, .* FSDP2"):
                zero.check()
