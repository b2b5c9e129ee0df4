"""How a run was made: the command, the versions of what it stands on, and the commit of the project."""

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("rung", "torch", "transformers", "tokenizers", "accelerate", "datasets", "numpy", "vllm")


def command(argv: Sequence[str] | None = None) -> str:
    """The command line ``argv`` (default: this process's), quoted for a shell.

    Of the program only the name is kept: where it is installed is nobody's business and of no use elsewhere.
    """
    program, *arguments = sys.argv if argv is None else argv
    path = Path(program)
    name = path.parent.name if path.name == "__main__.py" else path.name
    return join([name, *arguments])


def join(words: Sequence[str]) -> str:
    return shlex.join(words)


def split(command: str) -> list[str]:
    return shlex.split(command)


def versions(seed: int | None) -> dict[str, Any]:
    """Versions, platform, threads, seed and commit; null for what is not there."""
    import torch

    found: dict[str, Any] = {"python": platform.python_version()}
    found |= {name: _version(name) for name in _PACKAGES}
    found |= {
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "seed": seed,
        "commit": _commit(),
    }
    return found


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit this file was checked out from, with "+changes" where the tree differs; None if from no checkout."""
    here = Path(__file__)
    if _git("ls-files", "--error-unmatch", here.name) is None:
        return None  # an installed copy, perhaps inside some other project's repository
    commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    return None if commit is None else commit + ("+changes" if changes else "")


def _git(*arguments: str) -> str | None:
    environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}  # looking must not write to the repository
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).parent,
            env=environment,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
