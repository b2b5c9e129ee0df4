"""Rows of a data set: from a local file, or from the Hugging Face hub.  Nothing here knows what the columns mean."""

import gzip
import json
import re
import socket
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Row = tuple[str, Mapping[str, Any]]  # where it stands ("train.jsonl:12"), and its columns

UTF_8 = "utf-8-sig"  # with or without the mark that Windows' editors put before it
FORMATS = (".jsonl", ".jsonl.gz", ".json", ".parquet")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?")


class DataError(ValueError):
    """Data that cannot be used as asked; one line that names the file (and line) and what would mend it."""


def is_hub_name(source: str) -> bool:
    """Whether ``source`` has the shape of a hub name ("openai/gsm8k") and is not a file or a file's name."""
    return not Path(source).exists() and not source.endswith(FORMATS) and bool(_HUB_NAME.fullmatch(source))


def is_hub_copy(source: str | Path) -> bool:
    """Whether ``source`` is the folder of a data set as the hub's client downloads it: its card is in it."""
    return (Path(source) / "README.md").is_file()


def read_rows(path: str | Path, bad: Callable[[DataError], None] | None = None) -> Iterator[Row]:
    """Each row of a .jsonl, .jsonl.gz, .json or .parquet file, with its place "name:number".

    A .json file holds a list of objects, or an object of such lists.  Numbers count lines of a .jsonl from 1, rows of
    the others from 1.  Raises :class:`DataError` for a file that is missing, of another format, damaged, or holds no
    row; what a single row has against it goes to ``bad``, where that is given, and the rest is read.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: {'a folder, not a file' if path.is_dir() else 'no such file'}; give one data file")
    if not path.name.endswith(FORMATS):
        raise DataError(f"{path}: not a format read here; give one of {', '.join(FORMATS)}")
    try:
        empty = True
        for number, row in _numbered(path):
            empty = False
            if isinstance(row, DataError):
                fault = row
            elif not isinstance(row, Mapping):
                fault = DataError(f"{path}:{number}: a row must be an object with named columns, not {str(row)[:60]!r}")
            else:
                yield f"{path}:{number}", row
                continue
            if bad is None:
                raise fault
            bad(fault)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); convert it") from error
    except (EOFError, zlib.error, OSError) as error:
        raise DataError(f"{path}: cannot be read ({error}); is the file complete?") from error
    if empty:
        raise DataError(f"{path}: no rows; give a file with at least one")


def _numbered(path: Path) -> Iterator[tuple[int, Any]]:
    """Each row as it stands, or the :class:`DataError` that is in its place."""
    if path.suffix == ".parquet":
        yield from enumerate(_parquet(path), start=1)
    elif path.suffix == ".json":
        rows = _loads(path.read_text(encoding=UTF_8), str(path))
        if isinstance(rows, DataError):
            raise rows
        if isinstance(rows, dict) and rows and all(isinstance(group, list) for group in rows.values()):
            rows = [row for group in rows.values() for row in group]  # MR-Ben groups its rows by question
        if not isinstance(rows, list):
            raise DataError(f"{path}: a .json file must hold a list of objects; for one object a line name it .jsonl")
        yield from enumerate(rows, start=1)
    else:
        with gzip.open(path, "rt", encoding=UTF_8) if path.suffix == ".gz" else path.open(encoding=UTF_8) as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, _loads(line, f"{path}:{number}")


def _loads(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        return DataError(f"{where}: not JSON ({error}); mend or remove it")


def _parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as table:
            for batch in table.iter_batches():
                yield from batch.to_pylist()
    except pyarrow.ArrowException as error:
        raise DataError(f"{path}: not a readable parquet file ({str(error).splitlines()[0]})") from error


def hub_rows(name: str, config: str | None, split: str) -> Iterator[Row]:
    """Each row of a split of a hub data set, or of a folder with a copy of one, with its place
    "name/config/split:number" counted from 1.

    Raises :class:`DataError` where the hub, the data set, its configuration or its split cannot be had.  A machine
    that cannot resolve the hub's address hears so at once, not after the client's five retries (23 s measured).
    """
    import datasets
    from huggingface_hub import constants

    asked = "/".join(part for part in (name, config, split) if part)
    host = urlsplit(constants.ENDPOINT).hostname or ""
    asks_hub = not (Path(name).is_dir() or constants.HF_HUB_OFFLINE or urllib.request.getproxies())
    if asks_hub and not _resolves(host):
        raise DataError(
            f"{name}: no such file, and the hub ({host}) cannot be reached; give a local file, "
            "or set HF_HUB_OFFLINE=1 to use a copy downloaded before"
        )
    try:
        rows = datasets.load_dataset(name, config, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(f"{asked}: no such file, and the hub does not give it ({reason})") from error
    if len(rows) == 0:
        raise DataError(f"{asked}: no rows; choose another split")
    for number, row in enumerate(rows, start=1):
        yield f"{asked}:{number}", row


def _resolves(host: str) -> bool:
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return False
    return True
