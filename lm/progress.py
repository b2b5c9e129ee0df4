"""A progress bar for anything that takes a while: drawn on a terminal, a line at each tenth elsewhere."""

import atexit
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from lm import processes

Shown = float | int | str


class Bar(Protocol):
    def advance(self, n: int = 1, **shown: Shown) -> None:
        """``n`` more are done; ``shown`` stands beside the bar."""
        ...


@contextmanager
def progress(label: str, total: int, done: int = 0) -> Iterator[Bar]:
    """A bar on standard error that counts from ``done`` to ``total``; one inside another is a second line.

    with progress("sampling", len(prompts)) as bar:
        ...
        bar.advance(8, reward=0.4)
    """
    drawn = sys.stderr.isatty() and sys.stdout.isatty() and processes.is_main()
    with _drawn(label, total, done) if drawn else _plain(label, total, done) as bar:
        yield bar


def words(shown: dict[str, Shown]) -> str:
    return "  ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in shown.items()
    )


class _PlainBar:
    """Prints at each tenth of the way. Inside another one it keeps quiet: the outer one tells how far things are."""

    open = 0

    def __init__(self, label: str, total: int, done: int) -> None:
        self.label, self.total, self.done = label, total, done
        self.started, self.quiet = time.monotonic(), _PlainBar.open > 0 or not processes.is_main()

    def advance(self, n: int = 1, **shown: Shown) -> None:
        before, self.done = self.done, self.done + n
        if self.quiet or (self.done < self.total and self.done * 10 // self.total == before * 10 // self.total):
            return
        seconds = time.monotonic() - self.started
        line = f"{self.label} {self.done}/{self.total}  {seconds:.0f} s  {words(shown)}"
        print(line.rstrip(), file=sys.stderr, flush=True)


@contextmanager
def _plain(label: str, total: int, done: int) -> Iterator[Bar]:
    bar = _PlainBar(label, total, done)
    _PlainBar.open += 1
    try:
        yield bar
    finally:
        _PlainBar.open -= 1


class _Screen:
    """The one live display that all bars drawn at the same time share, as a terminal can have only one."""

    display: Any = None


class _DrawnBar:
    def __init__(self, task: Any) -> None:
        self.task = task

    def advance(self, n: int = 1, **shown: Shown) -> None:
        _Screen.display.update(self.task, advance=n, **({"shown": words(shown)} if shown else {}))


@contextmanager
def _drawn(label: str, total: int, done: int) -> Iterator[Bar]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    outermost = _Screen.display is None
    if outermost:
        columns = [
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[shown]}", markup=False),
        ]
        _Screen.display = Progress(*columns, console=Console(stderr=True))
        _Screen.display.start()
        atexit.register(_close)  # an exception's traceback keeps a generator's bar open: the cursor must come back
    task = _Screen.display.add_task(label, total=total, completed=done, shown="")
    try:
        yield _DrawnBar(task)
    finally:
        if outermost:
            _close()
        elif _Screen.display is not None:
            _Screen.display.remove_task(task)


def _close() -> None:
    atexit.unregister(_close)
    if _Screen.display is not None:
        _Screen.display.stop()
        _Screen.display = None
