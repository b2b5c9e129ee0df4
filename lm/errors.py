"""The one kind of error a user sees as a line, and the place where a hub's many errors become one."""

import socket
import sys
import textwrap
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

# What engines raise at their end, by name: torch's, vLLM's and those of a socket or a pipe to one elsewhere.
_ENGINE_ENDS = {"OutOfMemoryError", "MemoryError", "EngineDeadError", "ConnectionError", "EOFError"}
_WHOLE = "give a folder that save_pretrained wrote"
_PATIENCE = 4.0  # seconds to wait for the hub before taking it for unreachable
_LIBRARIES = {"datasets", "httpx", "httpx2", "huggingface_hub", "safetensors", "safetensors_rust", "tokenizers"}


class UserError(Exception):
    """Something the user can mend: the message is one line that names what is wrong and how to mend it.

    The command line prints it without a traceback and exits with status 2. A bug of ours is never one of these.
    """


@contextmanager
def hub_errors(name: str, what: Literal["model", "data set"] = "model") -> Iterator[None]:
    """Around a ``from_pretrained`` or ``load_dataset``: what libraries raise for a bad ``name`` becomes a UserError.

    Where the hub cannot be reached, the libraries are put offline for the time being: what is cached still loads, and
    what is not fails at once, not after the minute or more that they spend on retries.
    """
    local = Path(name).expanduser().exists()
    reachable = local or _hub_reachable()
    try:
        with _offline(not reachable):
            yield
    except UserError:
        raise
    except Exception as error:
        # A folder's files can break a library anywhere; with the hub's, which are whole, that would be a bug.
        theirs = isinstance(error, OSError | ValueError | ImportError) or _from_library(error)
        if theirs or (local and isinstance(error, KeyError | TypeError)):
            raise UserError(f"cannot load {what} {name!r}: {_explain(error, name, what, local, reachable)}") from error
        raise


@contextmanager
def engine_errors() -> Iterator[None]:
    """Around an engine's work: its death, or the end of its memory, becomes a UserError that says how to go on."""
    try:
        yield
    except Exception as error:
        if not _ENGINE_ENDS & {kind.__name__ for kind in type(error).__mro__}:
            raise
        said = textwrap.shorten(str(error), 200, placeholder=" ...") or "no reason given"
        cure = "lower engine_batch, then" if isinstance(error, MemoryError | RuntimeError) else "start it again;"
        raise UserError(
            f"the engine died while sampling ({type(error).__name__}: {said}); {cure} resume=true goes on"
        ) from error


def _explain(error: Exception, name: str, what: str, local: bool, reachable: bool) -> str:
    file = "config.json" if what == "model" else "data files"
    kinds = {kind.__name__ for link in _chain(error) for kind in type(link).__mro__}
    said = textwrap.shorten(str(error), 200, placeholder=" ...").rstrip(".: ") or type(error).__name__
    folder = Path(name).expanduser()
    if what == "model" and folder.is_dir() and not (folder / "config.json").is_file():
        inside = [place.parent for place in sorted(folder.glob("*/config.json"))]
        return "no config.json in it; " + (f"did you mean {inside[0]}?" if inside else _WHOLE)
    if local:
        cure = _WHOLE if what == "model" else "see to the files there"
        return f"{said if not isinstance(error, KeyError) else f'{said} is missing in a file'}; {cure}"
    if "GatedRepoError" in kinds:
        return "its owner must grant you access on the hub; then log in with `hf auth login`"
    if "RepositoryNotFoundError" in kinds or "DatasetNotFoundError" in kinds:
        return "not a local folder, and the hub has none of that name (or it is private: `hf auth login`)"
    if "HFValidationError" in kinds or "Repo id must" in said:
        return f"not a local folder, nor a name the hub could have; give a folder with {file} or an owner/name"
    if not reachable or kinds & {"OfflineModeIsEnabled", "ConnectionError", "TransportError"}:
        return f"not a local folder and the hub could not be reached; give a folder with {file} or check the name"
    return said


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _from_library(error: Exception) -> bool:
    return any(kind.__module__.split(".")[0] in _LIBRARIES for kind in type(error).__mro__)


def _hub_reachable() -> bool:
    """False where the libraries are set offline already, or nothing answers at the hub's address."""
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return False
    address = urllib.parse.urlsplit(constants.ENDPOINT)
    if {address.scheme, "all"} & urllib.request.getproxies().keys():
        return True  # only the proxy can tell
    return _answers(address.hostname or "", address.port or (443 if address.scheme == "https" else 80))


@lru_cache
def _answers(host: str, port: int) -> bool:
    answered = []

    def call() -> None:
        try:
            socket.create_connection((host, port), timeout=_PATIENCE).close()
            answered.append(True)
        except OSError:
            pass

    # In a thread, because looking the name up has no time limit of its own.
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return bool(answered)


@contextmanager
def _offline(wanted: bool) -> Iterator[None]:
    """Both libraries read their switch at each request, so setting it here is setting HF_HUB_OFFLINE for a while."""
    if not wanted:
        yield
        return
    from huggingface_hub import constants

    switches: list[Any] = [constants, *(sys.modules[name] for name in ["datasets.config"] if name in sys.modules)]
    before = [module.HF_HUB_OFFLINE for module in switches]
    for module in switches:
        module.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        for module, value in zip(switches, before, strict=True):
            module.HF_HUB_OFFLINE = value
