"""``rung annotate FILE``: a page where people judge what the file holds; or, with ``export``, what they said."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lm.config import key, part
from lm.errors import UserError
from lm.torch_setup import prepare_torch
from prm.journal import Journal, journal_of, score_all
from prm.loading import Reading, load_as
from prm.readers import OnBadRow, read_parsed
from prm.scores import Aggregation
from rung.annotation.export import Merge, Neutral, export
from rung.annotation.store import Store
from rung.annotation.tasks import Candidate, Kind, Order, Task, make_tasks, read_candidates
from rung.web.start import read_key, require_packages
from verifiers.split import Separator


@dataclass(frozen=True)
class AnnotateConfig:
    """A page where people rate the steps of solutions or rank whole ones; their answers as step labels and pairs."""

    file: Path | None = key(None, 'rows with "question" and "text" or "steps"; null: what the database has already')
    database: Path = key(Path("annotations.sqlite"), "every answer is kept here, in SQLite")
    kind: Kind = key("steps", "rate each step right, neutral or wrong, or rank solutions of one question")
    order: Order = key("convincing", "convincing: wrong answers that the reward model scores high come first")
    overlap: int = key(2, "how many people judge the same item", low=1)
    stop_at_error: bool = key(True, "the first wrong step ends a solution; those after it stay unjudged")
    ranked: int = key(4, "solutions beside each other in a ranking", low=2, high=9)
    prm: str | None = key(None, "process reward model that scores rows without a score, for the order; null: none")
    reading: Reading = part(Reading, "what kind of reward model it is, where its name does not say")
    aggregate: Aggregation = key("min", "how step scores become a solution's score")
    separator: Separator = key("line", "what separates the steps of a text")
    on_bad_row: OnBadRow = key("error", "a malformed row of the file is the end, or is left out and reported")
    export: Path | None = key(None, "a folder: write labels, rankings, pairs and raw answers there, and do not serve")
    merge: Merge = key("mean", "labels: the mean of a solution's annotators, or a row for each of them")
    neutral: Neutral = key("right", "what a neutral step is in the labels; Lightman et al. count it as right")
    host: str = key("127.0.0.1", "address to listen on; 0.0.0.0 lets other machines in, so set a key as well")
    port: int = key(8001, "port to listen on; 0 takes any free one", low=0, high=65535)
    api_key_env: str | None = key(None, "environment variable with a key that annotators must have in their link")
    api_key_file: Path | None = key(None, "file with a key that annotators must have in their link")
    seed: int = key(0, "of order=random")


def main(config: AnnotateConfig) -> None:
    """``rung annotate``: serve the page, or export."""
    if config.file is None and not config.database.is_file():
        raise UserError(f"there is no {config.database} yet; give a file of solutions: rung annotate FILE")
    if config.export is not None:
        counts = export(Store(config.database).answers(), config.export, config.merge, config.neutral)
        print("\n".join(f"{config.export / name}: {count} rows" for name, count in counts.items()))
        return
    api_key = read_key(config.api_key_env, config.api_key_file)
    require_packages()
    from rung.annotation.app import OPEN, build_app
    from rung.web.guard import LOCAL, Guard
    from rung.web.listen import address, open_socket, run_server

    tasks = read_tasks(config) if config.file is not None else None
    with open_socket(config.host, config.port) as sock:
        store = Store(config.database)
        if tasks is not None:
            store.add(tasks)
        if tasks is not None and config.prm is not None:
            kept_scores(config.database, config.reading, config.prm).close()
        app = build_app(
            store,
            overlap=config.overlap,
            stop_at_error=config.stop_at_error,
            merge=config.merge,
            neutral=config.neutral,
        )
        guard = Guard(app, config.host, body_bytes=2**16, body_seconds=30.0, api_key=api_key, open_paths=OPEN)
        link = f"{address(sock)}/#key=..." if api_key else address(sock)
        count = f"{len(tasks)} items of {config.file}" if tasks is not None else str(config.database)
        print(f"{count} to judge at {link} (Ctrl-C stops; answers are in {config.database})", flush=True)
        if api_key is None and config.host not in LOCAL:
            print("without a key anybody who reaches this address may answer; see api_key_env", file=sys.stderr)
        run_server(guard, sock, stopping=lambda: None, idle=lambda: True)


def read_tasks(config: AnnotateConfig) -> list[Task]:
    """The tasks of the config's file. UserError for a malformed row, or where nothing is left to judge."""
    assert config.file is not None

    def parse(_: str, row: Mapping[str, Any]) -> list[Candidate]:
        return list(read_candidates(row, config.separator, config.aggregate))

    candidates = [candidate for row in read_parsed(config.file, parse, config.on_bad_row) for candidate in row]
    if config.prm is not None:
        candidates = score(candidates, config)
    tasks = make_tasks(candidates, config.kind, config.order, config.ranked, config.seed)
    if not tasks:
        needed = "two solutions of one question" if config.kind == "ranking" else "a solution with steps"
        raise UserError(f"{config.file} has nothing to judge; it needs {needed}")
    return tasks


def kept_scores(database: Path, reading: Reading, name: str) -> Journal:
    """The reward model's scores until they are in the database, beside it: the same command goes on after a kill."""
    path = database.with_name(database.name + ".scores")
    return journal_of(path, reading, name, "float32", None, resume=True)


def score(candidates: list[Candidate], config: AnnotateConfig) -> list[Candidate]:
    """The candidates, those without a score scored by the config's reward model."""
    assert config.prm is not None
    missing = [c.solution for c in candidates if c.score is None]
    if not missing:
        return candidates
    prepare_torch(0, None)
    prm = load_as(config.reading, config.prm, "float32", 16384, None)
    found = score_all(prm, missing, kept_scores(config.database, config.reading, config.prm))
    scores = iter([None if isinstance(s, str) else s.aggregate(config.aggregate) for s in found])
    return [c if c.score is not None else replace(c, score=next(scores)) for c in candidates]
