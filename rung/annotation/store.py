"""Where answers are kept: one SQLite file, in which nothing is ever overwritten."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm.errors import UserError
from rung.annotation.tasks import Candidate, Task

_SCHEMA = """
CREATE TABLE IF NOT EXISTS tasks (id TEXT PRIMARY KEY, kind TEXT NOT NULL, candidates TEXT NOT NULL, position INTEGER);
CREATE TABLE IF NOT EXISTS answers (
    number INTEGER PRIMARY KEY AUTOINCREMENT, task TEXT NOT NULL REFERENCES tasks (id), annotator TEXT NOT NULL,
    answer TEXT NOT NULL, seconds REAL NOT NULL, at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')));
CREATE INDEX IF NOT EXISTS answers_of ON answers (annotator, task);
CREATE INDEX IF NOT EXISTS answers_to ON answers (task);
CREATE VIEW IF NOT EXISTS latest AS SELECT answers.* FROM answers JOIN (
    SELECT max(number) AS number FROM answers GROUP BY task, annotator) USING (number);
"""


@dataclass(frozen=True)
class Answer:
    """What one annotator said last of one task.

    ``ratings`` (S,) has 1 right, 0 neutral, -1 wrong, None not judged, for a task of kind "steps"; ``ranking`` has the
    candidates' indices, best first, those of one place together, for "ranking". Both are None where it was skipped.
    """

    task: Task
    annotator: str
    ratings: tuple[int | None, ...] | None
    ranking: tuple[tuple[int, ...], ...] | None
    seconds: float
    at: str


class Store:
    """An annotation database. Safe for many threads and processes: each call has a connection of its own, SQLite's
    write-ahead log lets readers read while one writes, and a changed answer is a new row, so the history stays."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._connection() as db:
            try:
                db.execute("PRAGMA journal_mode=WAL")
                db.executescript(_SCHEMA)
                db.execute("SELECT id, kind, candidates, position FROM tasks LIMIT 1")
            except sqlite3.DatabaseError as error:
                raise UserError(f"{path} is no annotation database ({error}); give another database=...") from error

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection in one transaction: kept whole or not at all."""
        try:
            db = sqlite3.connect(self.path, timeout=30)
        except sqlite3.OperationalError as error:
            raise UserError(f"cannot open {self.path}: {error}; is its folder writable?") from error
        try:
            with db:
                yield db
        finally:
            db.close()

    def add(self, tasks: Sequence[Task]) -> None:
        """Offer these tasks, in this order, and no others; answers to others stay, and so does what was asked."""
        rows = [
            (task.id, task.kind, json.dumps([c.to_json() for c in task.candidates]), position)
            for position, task in enumerate(tasks)
        ]
        with self._connection() as db:
            db.execute("UPDATE tasks SET position = NULL")
            db.executemany(
                "INSERT INTO tasks VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET position = excluded.position",
                rows,
            )

    def task(self, task: str) -> Task | None:
        """A task by its id."""
        with self._connection() as db:
            row = db.execute("SELECT id, kind, candidates FROM tasks WHERE id = ?", (task,)).fetchone()
        return _task(*row) if row else None

    def next_task(self, annotator: str, overlap: int) -> Task | None:
        """The first task on offer that this annotator has not answered and fewer than ``overlap`` others have."""
        query = """
            SELECT id, kind, candidates FROM tasks WHERE position IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM answers WHERE task = tasks.id AND annotator = ?)
            AND (SELECT count(*) FROM latest WHERE task = tasks.id AND answer != 'null') < ?
            ORDER BY position LIMIT 1"""
        with self._connection() as db:
            row = db.execute(query, (annotator, overlap)).fetchone()
        return _task(*row) if row else None

    def done(self, annotator: str) -> int:
        """How many tasks an annotator has answered."""
        query = "SELECT count(*) FROM latest WHERE annotator = ? AND answer != 'null'"
        with self._connection() as db:
            return int(db.execute(query, (annotator,)).fetchone()[0])

    def left(self, annotator: str, overlap: int) -> int:
        """How many tasks are still on offer to an annotator."""
        query = """
            SELECT count(*) FROM tasks WHERE position IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM answers WHERE task = tasks.id AND annotator = ?)
            AND (SELECT count(*) FROM latest WHERE task = tasks.id AND answer != 'null') < ?"""
        with self._connection() as db:
            return int(db.execute(query, (annotator, overlap)).fetchone()[0])

    def save(self, task: str, annotator: str, answer: Any, seconds: float) -> None:
        """Keep an answer, already checked against its task; None is a task that was skipped."""
        values = (task, annotator, json.dumps(answer), seconds)
        with self._connection() as db:
            db.execute("INSERT INTO answers (task, annotator, answer, seconds) VALUES (?, ?, ?, ?)", values)

    def answer_of(self, task: str, annotator: str) -> Any:
        """What an annotator said last of a task, None where nothing."""
        query = "SELECT answer FROM latest WHERE task = ? AND annotator = ?"
        with self._connection() as db:
            row = db.execute(query, (task, annotator)).fetchone()
        return json.loads(row[0]) if row else None

    def answers(self) -> list[Answer]:
        """Everybody's last word on every task, skipped ones left out, in the order of the tasks."""
        query = """
            SELECT tasks.id, kind, candidates, annotator, answer, seconds, at FROM latest JOIN tasks ON task = tasks.id
            WHERE answer != 'null' ORDER BY position IS NULL, position, tasks.id, number"""
        found = []
        with self._connection() as db:
            for task, kind, candidates, annotator, answer, seconds, at in db.execute(query):
                said = json.loads(answer)
                ratings = tuple(said) if kind == "steps" else None
                ranking = tuple(map(tuple, said)) if kind == "ranking" else None
                found.append(Answer(_task(task, kind, candidates), annotator, ratings, ranking, seconds, at))
        return found


def _task(task: str, kind: Any, candidates: str) -> Task:
    return Task(task, kind, tuple(Candidate.from_json(row) for row in json.loads(candidates)))
