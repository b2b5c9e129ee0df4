"""lm.checkpoint: whole or absent, exact, and without pickle."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lm import checkpoint
from lm.errors import UserError
from lm.state import RandomState


class Counter:
    def __init__(self, count: int = 0) -> None:
        self.count = count

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self.count = state["count"]


def trained(seed: int, steps: int) -> tuple[torch.nn.Module, torch.optim.Optimizer, Any]:
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, betas=(0.8, 0.9))
    schedule = torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=2),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8),
        ],
        milestones=[2],
    )
    return model, optimizer, schedule if train(model, optimizer, schedule, steps) else None


def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer, schedule: Any, steps: int) -> bool:
    for _ in range(steps):
        model(torch.randn(5, 3)).square().sum().backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return True


def test_training_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    model, optimizer, schedule = trained(seed=0, steps=3)
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule, "random": RandomState()}
    path = checkpoint.save(tmp_path, 3, parts, keep=1)
    train(model, optimizer, schedule, 3)

    other, optimizer2, schedule2 = trained(seed=1, steps=1)
    parts = {"model": other, "optimizer": optimizer2, "schedule": schedule2, "random": RandomState()}
    checkpoint.load(path, parts)
    train(other, optimizer2, schedule2, 3)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
    assert schedule.get_last_lr() == schedule2.get_last_lr()


def tiny(tie: bool = True, layers: int = 1) -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=32,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=layers,
            num_attention_heads=2,
            num_key_value_heads=2,
            tie_word_embeddings=tie,
        )
    )


@pytest.mark.parametrize("tie", [True, False])
def test_a_transformers_model_loads_in_place_and_by_from_pretrained(tmp_path: Path, tie: bool) -> None:
    from transformers import AutoModelForCausalLM

    model, other = tiny(tie), tiny(tie)
    model.model.norm.double()  # mixed precision, which from_pretrained would cast away
    other.model.norm.double()
    with torch.no_grad():
        model.model.norm.weight.mul_(1 / 3)
    checkpoint.save_part(tmp_path, model)
    checkpoint.load_part(tmp_path, other)
    assert set(model.state_dict()) == set(other.state_dict())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
        assert tensor.dtype == other.state_dict()[name].dtype
    assert (other.lm_head.weight is other.model.embed_tokens.weight) == tie
    by_name = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(by_name.lm_head.weight, model.lm_head.weight)


def test_a_model_whose_released_files_name_weights_otherwise(tmp_path: Path) -> None:
    """transformers fuses the experts of a mixture, and by default takes them apart again on saving."""
    from transformers import AutoModelForCausalLM, MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_local_experts=2,
    )
    model, other = MixtralForCausalLM(config), MixtralForCausalLM(config)
    checkpoint.save_part(tmp_path, model)
    checkpoint.load_part(tmp_path, other)
    by_name = AutoModelForCausalLM.from_pretrained(tmp_path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
        assert torch.equal(tensor, by_name.state_dict()[name]), name


def test_a_model_of_other_shape_is_refused(tmp_path: Path) -> None:
    checkpoint.save_part(tmp_path, tiny(layers=1))
    with pytest.raises(UserError, match="does not fit this run: weights missing"):
        checkpoint.load_part(tmp_path, tiny(layers=2))
    (tmp_path / "plain").mkdir()
    checkpoint.save_part(tmp_path / "plain", torch.nn.Linear(2, 3))
    with pytest.raises(UserError, match=r"does not fit this run: .*size mismatch"):
        checkpoint.load_part(tmp_path / "plain", torch.nn.Linear(3, 2))


def test_other_parts_are_refused(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 1, {"a": Counter(), "b": Counter()}, keep=1)
    with pytest.raises(UserError, match="holds a, b, this run has a, c"):
        checkpoint.load(path, {"a": Counter(), "c": Counter()})


def test_the_newest_are_kept_and_those_of_a_lost_future_are_not(tmp_path: Path) -> None:
    for step in (10, 20, 30, 40):
        checkpoint.save(tmp_path, step, {"n": Counter(step)}, keep=2)
    assert [step for step, _ in checkpoint.found(tmp_path)] == [30, 40]
    checkpoint.save(tmp_path, 35, {"n": Counter(35)}, keep=2)
    assert [step for step, _ in checkpoint.found(tmp_path)] == [30, 35]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000030", "step-000035"]


def test_a_checkpoint_written_again_replaces_the_old_one(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, {"n": Counter(1)}, keep=2)
    path = checkpoint.save(tmp_path, 1, {"n": Counter(2)}, keep=2)
    counter = Counter()
    checkpoint.load(path, {"n": counter})
    assert counter.count == 2
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]


def damage(path: Path, how: str) -> None:
    state = path / "n" / "state.json"
    if how == "truncated":
        state.write_bytes(state.read_bytes()[:-1])
    elif how == "changed":
        state.write_bytes(state.read_bytes().replace(b"count", b"tnuoc"))
    elif how == "missing":
        state.unlink()
    elif how == "manifest":
        (path / checkpoint.MANIFEST).write_text('{"files": {"n/')
    else:
        (path / checkpoint.MANIFEST).write_text(how)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("truncated", "n/state.json has 11 bytes of 12"),
        ("changed", "n/state.json has changed since it was written"),
        ("missing", "n/state.json is missing"),
        ("manifest", "its manifest.json cannot be read"),
        ("[]", "its manifest.json cannot be read"),
        ('{"files": {"a": 1}}', "its manifest.json cannot be read"),
    ],
)
def test_a_damaged_checkpoint_is_reported_and_the_one_before_used(tmp_path: Path, how: str, message: str) -> None:
    old = checkpoint.save(tmp_path, 1, {"n": Counter(1)}, keep=3)
    new = checkpoint.save(tmp_path, 2, {"n": Counter(2)}, keep=3)
    parts = {"n": Counter()}
    assert checkpoint.load_newest(tmp_path, parts) == ((2, new), [])
    damage(new, how)
    assert checkpoint.load_newest(tmp_path, parts) == ((1, old), [f"{new} is damaged ({message})"])
    assert parts["n"].count == 1
    damage(old, how)
    newest, complaints = checkpoint.load_newest(tmp_path, parts)
    assert newest is None
    assert len(complaints) == 2


def test_a_foreign_checkpoint_is_reported_and_the_one_before_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run's, whole as it is; and one too big for a checksum whose bytes are not what was written."""
    monkeypatch.setattr(checkpoint, "_HASHED", 0)
    own, other = torch.nn.Linear(2, 3), torch.nn.Linear(3, 2)
    old = checkpoint.save(tmp_path, 1, {"n": own}, keep=9)
    checkpoint.save(tmp_path, 2, {"n": own}, keep=9)
    tensors = tmp_path / "step-000002" / "n" / "tensors.safetensors"
    tensors.write_bytes(b"\xff" * tensors.stat().st_size)
    checkpoint.save(tmp_path, 3, {"n": other}, keep=9)
    checkpoint.save(tmp_path, 4, {"n": Counter()}, keep=9)
    with torch.no_grad():
        saved, _ = own.weight.clone(), own.weight.zero_()
    newest, complaints = checkpoint.load_newest(tmp_path, {"n": own})
    assert newest == (1, old)
    assert torch.equal(own.weight, saved)
    assert [c.split(" does not fit this run: ")[0][-13:] for c in complaints] == [f"step-00000{n}/n" for n in (4, 3, 2)]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with checkpoint.atomic_folder(target) as folder:
        (folder / "a").write_text("old")
    with pytest.raises(ZeroDivisionError), checkpoint.atomic_folder(target) as folder:
        (folder / "a").write_text(str(1 / 0))
    assert (target / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_full_disk_is_the_users_to_mend(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match=r"cannot write .*/model: No space left on device$"),
        checkpoint.atomic_folder(tmp_path / "model"),
    ):
        Path("/dev/full").write_text("x" * 9999)
    with pytest.raises(UserError, match=r"cannot write .*nowhere"):
        checkpoint.write_atomic(tmp_path / "nowhere" / "x", "text")


def test_only_our_folders_are_ours(tmp_path: Path) -> None:
    with checkpoint.atomic_folder(tmp_path / "ours"):
        pass
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "manifest.json").write_text('{"name": "a web page"}')
    assert checkpoint.is_ours(tmp_path / "ours")
    assert not checkpoint.is_ours(tmp_path / "theirs")
    assert not checkpoint.is_ours(tmp_path)


def test_lines_hold_any_text_and_one_that_is_torn_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.jsonl"
    rows = [{"text": "one\u2028two\x85three\n\f"}, {"text": "é", "n": None}]
    checkpoint.write_lines(path, rows[:1])
    checkpoint.append_line(path, rows[1])
    with path.open("ab") as file:
        file.write('{"text": "é'.encode()[:-1])
    assert checkpoint.read_lines(path) == rows
    assert checkpoint.read_lines(tmp_path / "none.jsonl") == []
