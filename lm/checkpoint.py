"""Checkpoints: whole or absent, checked before use, and free of pickle (safetensors for tensors, JSON for the rest)."""

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from lm import processes, sharding
from lm.errors import UserError
from lm.lora import has_adapter, plain_weights, save_adapter, trained_weights
from lm.state import flatten, unflatten

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MANIFEST = "manifest.json"
_FORMAT = 1
_HASHED = 16 * 2**20  # bytes; of a bigger file only the size is checked, for hashing gigabytes would hold training up
_TENSORS, _REST = "tensors.safetensors", "state.json"


class Stateful(Protocol):
    """Modules, optimizers, schedulers, and anything else that can say what state it is in."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> Any: ...


# --- a folder of checkpoints ----------------------------------------------------------------------------------------


def save(folder: Path, step: int, parts: Mapping[str, Stateful], keep: int, best: int | None = None) -> Path:
    """Write ``folder/step-NNNNNN`` and delete all but the ``keep`` newest up to this step (``keep`` >= 1) and ``best``,
    the step of one to keep whatever its age. Of several processes the main one writes."""
    target = folder / f"step-{step:06d}"
    if not processes.is_main():
        for part in parts.values():
            _state(part)  # gathering shards takes all
        return target
    with atomic_folder(target) as temporary:
        for name, part in parts.items():
            (temporary / name).mkdir()
            save_part(temporary / name, part)
    # A checkpoint of a later step is one that a resumed run could not use: its time line has ended.
    kept = [path for number, path in found(folder) if number <= step][-keep:]
    for number, path in found(folder):
        if path not in kept and (number != best or number > step):
            shutil.rmtree(path)
    return target


def load(checkpoint: Path, parts: Mapping[str, Stateful]) -> None:
    """Put every part into the state it was saved in. Raises UserError where the checkpoint is not of these parts."""
    saved = {path.name for path in checkpoint.iterdir() if path.is_dir()}
    if saved != set(parts):
        raise UserError(f"{checkpoint} holds {_list(saved)}, this run has {_list(parts)}: resume with what made it")
    for name, part in parts.items():
        load_part(checkpoint / name, part)


def found(folder: Path) -> list[tuple[int, Path]]:
    """(step, path) of the checkpoints in ``folder``, oldest first, damaged ones included."""
    if not folder.is_dir():
        return []
    names = [(re.fullmatch(r"step-(\d+)", path.name), path) for path in folder.iterdir()]
    return sorted((int(match[1]), path) for match, path in names if match)


def load_newest(folder: Path, parts: Mapping[str, Stateful]) -> tuple[tuple[int, Path] | None, list[str]]:
    """Put every part into the state of the newest checkpoint that is whole and of these parts: that one as (step,
    path), or None, and a line on each newer one, damaged or foreign."""
    complaints: list[str] = []
    for step, path in reversed(found(folder)):
        damage = problem(path)
        if damage is not None:
            complaints.append(f"{path} is damaged ({damage})")
            continue
        try:
            load(path, parts)
        except UserError as error:
            complaints.append(str(error))
        else:
            return (step, path), complaints
    return None, complaints


def _list(names: "Mapping[str, Any] | set[str]") -> str:
    return ", ".join(sorted(names)) or "nothing"


# --- whole or absent ------------------------------------------------------------------------------------------------


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """A new folder to write into that becomes ``target``, with a manifest, once the block has ended well.

    A crash at any moment leaves the old ``target`` or the new one, or (for an instant between two renames) the old one
    under a hidden name; never half of either.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = (target.with_name(f".{target.name}.{suffix}") for suffix in ("new", "old"))
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        _write_manifest(temporary)
        for path in [*temporary.rglob("*"), temporary]:
            _sync(path)
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            target.rename(old)
        temporary.rename(target)
        _sync(target.parent)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_atomic(path: Path, text: str) -> None:
    """Replace the file at ``path`` by ``text``; a crash leaves the old file or the new one."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_text(text, encoding="utf-8")
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def write_json(path: Path, value: Any) -> None:
    """``write_atomic`` of JSON as the standard has it: a number that is not finite (nan: none to be had) is null."""
    write_atomic(path, json.dumps(_finite(value), indent=1, allow_nan=False) + "\n")


def append_line(path: Path, row: Mapping[str, Any]) -> None:
    """Add ``row`` to the JSON Lines file at ``path``. A crash may tear it: see ``read_lines``."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; mend that, then resume=true goes on") from error


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """``write_atomic`` of JSON Lines, in a folder that need not be there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file, none where there is no file. A line that is not whole, which a crash has torn,
    is left out."""
    if not path.is_file():
        return []
    lines: list[dict[str, Any]] = []
    for text in path.read_text(encoding="utf-8", errors="replace").split("\n"):  # not splitlines: text may hold U+2028
        try:
            line = json.loads(text)
        except ValueError:
            continue
        lines += [line] if isinstance(line, dict) else []
    return lines


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def problem(folder: Path) -> str | None:
    """What is wrong with a folder that ``atomic_folder`` wrote, compared with its manifest; None where it is whole."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        listed = {str(name): (entry["size"], entry.get("sha256")) for name, entry in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"its {MANIFEST} cannot be read"
    for name, (size, digest) in listed.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes of {size}"
        if digest is not None and _sha256(path) != digest:
            return f"{name} has changed since it was written"
    return None


def is_ours(folder: Path) -> bool:
    """Whether ``atomic_folder`` wrote it."""
    try:
        return "rung" in json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _write_manifest(folder: Path) -> None:
    files: dict[str, dict[str, Any]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        size = path.stat().st_size
        digest = {"sha256": _sha256(path)} if size <= _HASHED else {}
        files[path.relative_to(folder).as_posix()] = {"size": size} | digest
    text = json.dumps({"rung": _FORMAT, "files": files}, indent=1)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Make the disk hold it: a rename may otherwise outlive a power cut that the data does not."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- one part -------------------------------------------------------------------------------------------------------


def save_part(folder: Path, part: Stateful) -> None:
    """Write one part: a transformers model as ``from_pretrained`` reads it, or of one with an adapter what is trained;
    anything else by its ``state_dict()``."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        state = _state(part)
        if has_adapter(part):
            save_file(state, folder / _TENSORS)
            return
        if _is_pretrained(part):
            # Names as in the state dict, not as in the model's first release, so that they load back as they are.
            _save_pretrained(folder, part, state_dict=state, save_original_format=False)
            return
        rest, tensors = flatten(state)
        save_file(tensors, folder / _TENSORS)
        (folder / _REST).write_text(json.dumps(rest), encoding="utf-8")
    except SafetensorError as error:  # how safetensors reports a full disk
        raise OSError(str(error)) from error


def _state(part: Any) -> "dict[str, Any]":
    """What is saved of a part: of a model with an adapter what is trained, of any other its state dict."""
    state: dict[str, Any] = sharding.whole(trained_weights(part) if has_adapter(part) else part.state_dict())
    return state


def _is_pretrained(part: Any) -> "TypeGuard[PreTrainedModel]":
    """Imports transformers, which takes seconds, only where the answer may be yes (a PEFT model's is no)."""
    if not hasattr(part, "save_pretrained"):
        return False
    from transformers import PreTrainedModel

    return isinstance(part, PreTrainedModel)


def save_model(folder: Path, model: "PreTrainedModel") -> None:
    """Write a model for ``from_pretrained``; one with an adapter merged, and the adapter beside it.

    Of several processes all must call, and the main one writes.
    """
    weights, trained = plain_weights(model), sharding.whole(trained_weights(model)) if has_adapter(model) else {}
    if processes.is_main():
        _save_pretrained(folder, model, state_dict=weights)
        if trained:
            save_adapter(folder / "adapter", model, trained)


def _save_pretrained(folder: Path, model: "PreTrainedModel", **options: Any) -> None:
    """Without its progress bar, which would write over ours."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model.save_pretrained(folder, **options)
    finally:
        if shown:
            logging.enable_progress_bar()


def load_part(folder: Path, part: Stateful) -> None:
    """Put ``part`` into the state that ``save_part`` wrote. Raises UserError where shapes or names differ."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if _is_pretrained(part):
            _load_weights(folder, part)
            return
        rest = json.loads((folder / _REST).read_text(encoding="utf-8"))
        part.load_state_dict(unflatten(rest, load_file(folder / _TENSORS)))
        if isinstance(part, torch.optim.Optimizer):
            sharding.place_state(part)
    # What torch raises for other shapes, names or parameter groups, and what a file too big for a checksum may hold.
    except (RuntimeError, ValueError, KeyError, SafetensorError) as error:
        raise UserError(f"{folder} does not fit this run: {' '.join(str(error).split())}") from error


def _load_weights(folder: Path, model: Any) -> None:
    """In place and without casting, which from_pretrained would do to a model of mixed precision."""
    from safetensors.torch import load_file

    tensors = {
        name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()
    }
    now = model.state_dict()
    tensors = {name: sharding.placed_as(tensor, now.get(name, tensor)) for name, tensor in tensors.items()}
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    if has_adapter(model):  # the weights under it are where they always are, at its start
        missing = [name for name in trained_weights(model) if name not in tensors]
    state = model.state_dict()
    loaded = {state[name].data_ptr() for name in tensors if name in state}
    absent = [name for name in missing if state[name].data_ptr() not in loaded]  # tied weights are saved once
    if absent or unexpected:
        raise ValueError(f"weights missing: {absent[:3]}, weights unknown: {list(unexpected)[:3]}")
