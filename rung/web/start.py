"""Before a server starts: its packages, and the key its clients must know."""

import os
from pathlib import Path

from lm.errors import UserError


def read_key(variable: str | None, file: Path | None) -> str | None:
    """The API key from an environment variable or a file; None where neither is named. UserError where it is empty."""
    if variable is not None and file is not None:
        raise UserError("both api_key_env and api_key_file are set; give one")
    if variable is not None:
        found, where = os.environ.get(variable, "").strip(), f"the environment variable {variable}"
    elif file is not None:
        try:
            found, where = file.read_text(encoding="utf-8").strip(), str(file)
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read the API key in {file}: {error}; give a text file with the key") from error
    else:
        return None
    if not found:
        raise UserError(f"{where} holds no API key; put one there, or leave the key's setting out")
    return found


def require_packages() -> None:
    """UserError where the packages of the ``serve`` extra are missing."""
    try:
        import fastapi
        import prometheus_client
        import uvicorn
    except ImportError as error:
        raise UserError(f"serving needs {error.name}; install it with: pip install 'rung[serve]'") from error
    del fastapi, prometheus_client, uvicorn
