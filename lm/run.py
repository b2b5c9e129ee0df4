"""A run: the folder that training writes, and everything in a training loop that is not the algorithm.

    run = Run.open(config, verb="ppo")
    run.track(policy=policy, optimizer=optimizer)
    for step in run.steps(config.steps, save_every=20, label="PPO"):
        with run.timer("sample"):
            ...
        run.log(step, loss=loss)
    run.finish(model=(policy, tokenizer))

A run folder holds ``config.yaml`` (resolved), ``command.txt``, ``versions.json``, ``metrics.jsonl`` (the same to the
byte whenever the seed is), ``timing.jsonl``, ``checkpoints/step-NNNNNN/`` and the exported models.
"""

import errno
import fcntl
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lm import checkpoint, plain_yaml, processes, provenance
from lm import config as configs
from lm.checkpoint import append_line, read_lines
from lm.engines import PLACEMENT
from lm.errors import UserError
from lm.progress import Bar, Shown, progress
from lm.signals import stop_signals
from lm.state import RandomState
from lm.trackers import Trackers

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MAY_CHANGE = frozenset({"folder", "overwrite", "resume", "steps", "trackers"}) | {
    f"{section}.{name}" for section in ("engine", "prover_engine") for name in PLACEMENT
}
_METRICS, _TIMING, _CHECKPOINTS, _LOCK = "metrics.jsonl", "timing.jsonl", "checkpoints", ".lock"
_CONFIG, _COMMAND, _VERSIONS, _SUMMARY = "config.yaml", "command.txt", "versions.json", "summary.json"
_UPDATE, _PATIENCE = {"loss", "grad_norm", "prm_loss", "prm_grad_norm", "refresh_loss"}, 5
_GO_ON = "mend that, then resume=true goes on"


class RunConfig(Protocol):
    """What every config of a run has."""

    @property
    def folder(self) -> Path: ...

    @property
    def resume(self) -> bool: ...

    @property
    def overwrite(self) -> bool: ...


class Run:
    """An open run folder. Make one with ``Run.open``."""

    def __init__(self, config: RunConfig, verb: str, command: str, resuming: bool) -> None:
        self.folder = config.folder
        self._config, self._trackers = config, Trackers((), config.folder, {})
        self._verb, self._command, self._resuming = verb, command, resuming
        self._parts: dict[str, checkpoint.Stateful] = {"random": RandomState()}
        self._seconds: dict[str, float] = {}
        self._shown: dict[str, Shown] = {}
        self._line: dict[str, Any] = {}
        self._left_out = 0

    @classmethod
    def open(
        cls,
        config: RunConfig,
        *,
        verb: str,
        argv: Sequence[str] | None = None,
        may_change: frozenset[str] = MAY_CHANGE,
    ) -> "Run":
        """Start a run in the config's ``folder``, or go on with the one there, and write down how it was made.

        ``config`` is the frozen dataclass that says it all; ``argv`` the command, program first (default: this one).
        Its ``overwrite`` deletes the run that is there (its own files only). ``may_change`` are the dotted keys, or
        sections, in which a resumed run may differ. A config's ``seed`` is written into versions.json, and its
        ``trackers`` get the metrics too. Of the processes of one run only the main one writes. Raises UserError where
        the folder holds a run already, where that run had another config, or where another process is writing to it.
        """
        folder = config.folder
        if config.resume and config.overwrite:
            raise UserError("resume=true and overwrite=true contradict each other; give one")
        command = provenance.command(argv)
        if not processes.is_main():
            return cls(config, verb, command, resuming=processes.gathered([False])[0])
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _lock(folder)
        except OSError as error:
            raise UserError(f"cannot write to the run folder {folder}: {error.strerror}") from error
        if config.overwrite:
            _clear(folder)
        started = (folder / _METRICS).exists() or bool(checkpoint.found(folder / _CHECKPOINTS))
        if started and not config.resume:
            raise UserError(f"{folder} holds a run; resume=true goes on with it, overwrite=true starts afresh")
        if started:
            _check_same(folder, config, may_change)
        checkpoint.write_atomic(folder / _CONFIG, configs.to_yaml(config))
        earlier = (folder / _COMMAND).read_text(encoding="utf-8") if started and (folder / _COMMAND).exists() else ""
        checkpoint.write_atomic(folder / _COMMAND, f"{earlier}{command}\n")
        versions = provenance.versions(getattr(config, "seed", None))
        checkpoint.write_atomic(folder / _VERSIONS, json.dumps(versions, indent=1) + "\n")
        if config.resume and not started:
            print(f"rung {verb}: nothing to resume in {folder}; starting at step 0", file=sys.stderr)
        return cls(config, verb, command, resuming=processes.gathered([started])[0])

    def track(self, **parts: checkpoint.Stateful) -> None:
        """Name what a checkpoint holds: models, optimizers, schedulers, anything with state_dict and load_state_dict.

        The states of Python's, NumPy's and torch's random generators are always in it.
        """
        self._parts |= parts

    def steps(
        self,
        total: int,
        *,
        save_every: int = 0,
        label: str = "step",
        keep: int = 2,
        best: str | None = None,
        show: Sequence[str] = (),
        until: Callable[[], bool] = lambda: False,
    ) -> Generator[int, None, None]:
        """The steps that remain of ``total``; saves after every ``save_every``-th (0: none) and after the last.

        The last is that after which ``until`` is true, where it comes before ``total``; a run resumed there has none.
        The ``keep`` newest checkpoints stay, and with ``best``, the name of a metric, one more, written where a step
        logs more of it than any before.
        A resumed run first gets the state of its newest whole checkpoint, and its logs are cut to the steps before it.
        The first Ctrl-C (or SIGTERM) lets the step end, saves and exits with 128 + the signal's number; the second
        interrupts at once. ``show`` names the metrics beside the bar (default: the first three logged).
        """
        start = self._restore() if self._resuming else 0
        for name in (_METRICS, _TIMING) if processes.is_main() else ():
            _cut(self.folder / name, start)
        self._trackers = Trackers(
            getattr(self._config, "trackers", ()) if processes.is_main() else (),
            self.folder,
            configs.to_dict(self._config),
            start,
        )
        highest, place = processes.gathered([_highest(read_lines(self.folder / _METRICS), best)])[0]
        with stop_signals() as signals, progress(label, total, start) as bar:
            for step in range(start, total):
                if until():
                    return
                began = time.perf_counter()
                yield step
                self._write_times(step, time.perf_counter() - began)
                self._advance(bar, show)
                done = step + 1
                logged, _ = _highest([self._line], best)
                if better := logged > highest:
                    highest, place = logged, done
                asked = max(processes.gathered([max(signals, default=0)]))  # whichever process heard it
                if better or asked or done == total or until() or (save_every and done % save_every == 0):
                    self._save(done, keep, place)
                    if asked:
                        self._trackers.finish()
                        self._stop(done, total, asked)

    def log(self, step: int, **metrics: Any) -> dict[str, Any]:
        """One line of ``metrics.jsonl``: {"step": ..., name: value}; a value is a number, a tensor, text or a list.

        Returns the line as ``read_metrics`` will. A number that is not finite is written as null and its name put under
        "nonfinite". Never log a time here.
        """
        values = {name: _number(value) for name, value in metrics.items()}
        nonfinite = [name for name, value in values.items() if _finite(value) != value]
        line = {"step": step} | {name: _finite(value) for name, value in values.items()}
        line |= {"nonfinite": nonfinite} if nonfinite else {}
        if processes.is_main():
            append_line(self.folder / _METRICS, line)
        self._trackers.log(step, line)
        self._give_up_on(step, [name for name in nonfinite if name in _UPDATE])
        self._line = line
        self._shown |= {name: value for name, value in values.items() if isinstance(value, int | float)}
        return line

    def _give_up_on(self, step: int, spoilt: Sequence[str]) -> None:
        """An update whose gradient is not finite is left out (``optimizer_step``); a run of nothing else ends."""
        self._left_out = self._left_out + 1 if spoilt else 0
        if self._left_out == _PATIENCE:
            raise UserError(
                f"the updates of {_PATIENCE} steps in a row, to step {step}, had NaN or Inf in {', '.join(spoilt)} and "
                f"were left out: see {self.folder / _METRICS}, then lower the learning rate, or use dtype=float32"
            )

    def time(self, name: str, seconds: float) -> None:
        """Add to what ``name`` took in this step; ``timing.jsonl`` gets one line a step, with the "total"."""
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds

    @contextmanager
    def timer(self, name: str) -> Iterator[None]:
        """Time the block and add it to what ``name`` took in this step."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.time(name, time.perf_counter() - began)

    def export(self, name: str, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase | None" = None) -> Path:
        """Write ``folder/name`` for ``from_pretrained``, whole or not at all; returns its path."""
        if not processes.is_main():
            checkpoint.save_model(self.folder / name, model)
            return self.folder / name
        with checkpoint.atomic_folder(self.folder / name) as temporary:
            checkpoint.save_model(temporary, model)
            if tokenizer is not None:
                tokenizer.save_pretrained(temporary)
        return self.folder / name

    def finish(self, **models: Any) -> None:
        """Export each model, or (model, tokenizer), under its name, and say where the run is."""
        self._trackers.finish()
        for name, model in models.items():
            self.export(name, *(model if isinstance(model, tuple) else (model,)))
        self._say(f"done, in {self.folder}")

    def summarise(self, summary: dict[str, Any], *lines: str) -> None:
        """Write ``folder/summary.json`` and print some lines about it."""
        if processes.is_main():
            checkpoint.write_json(self.folder / _SUMMARY, summary)
            print(*lines, sep="\n", end="\n" * bool(lines))

    def _say(self, line: str) -> None:
        if processes.is_main():
            print(f"rung {self._verb}: {line}", file=sys.stderr)

    def _restore(self) -> int:
        """Load the newest checkpoint that can be used; returns the step it goes on with."""
        folder = self.folder / _CHECKPOINTS
        newest, complaints = checkpoint.load_newest(folder, self._parts)
        for complaint in complaints:
            self._say(complaint)
        if newest is None and complaints:
            raise UserError(f"no checkpoint in {folder} can be used: {complaints[0]}; overwrite=true starts afresh")
        if newest is None:
            self._say(f"no checkpoint in {folder} yet; starting at step 0")
            return 0
        step, path = newest
        self._say(f"going on from {path}")
        return step

    def _save(self, done: int, keep: int, best: int | None) -> None:
        try:
            checkpoint.save(self.folder / _CHECKPOINTS, done, self._parts, keep, best)
        except UserError as error:
            raise UserError(f"{error}; {_GO_ON}") from error

    def _stop(self, done: int, total: int, number: int) -> None:
        words = [word for word in provenance.split(self._command) if word not in ("overwrite=true", "resume=true")]
        again = provenance.join([*words, "resume=true"])
        self._say(f"stopped after {done} of {total} steps, saved; to go on:\n  {again}")
        raise SystemExit(128 + number)

    def _write_times(self, step: int, total: float) -> None:
        times = {name: round(value, 6) for name, value in (self._seconds | {"total": total}).items()}
        if processes.is_main():
            append_line(self.folder / _TIMING, {"step": step} | times)
        self._seconds = {}

    def _advance(self, bar: Bar, show: Sequence[str]) -> None:
        names = list(show or self._shown)[:3]
        bar.advance(1, **{name: self._shown[name] for name in names if name in self._shown})


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's ``metrics.jsonl``, in order. Raises UserError where there are none to read."""
    if not (folder / _METRICS).is_file():
        raise UserError(f"{folder} has no {_METRICS}: it is not a run folder, or its run has logged nothing yet")
    return read_lines(folder / _METRICS)


def read_timing(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's ``timing.jsonl``, in seconds; empty where the run had no steps."""
    return read_lines(folder / _TIMING)


def _lock(folder: Path) -> None:
    """Two processes in one folder would tear each other's logs; the lock ends with the process."""
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):  # anything else: a file system without locks
            raise UserError(f"another process is writing to {folder}; wait for it or choose another folder") from None


def _clear(folder: Path) -> None:
    for name in (_METRICS, _TIMING, _CONFIG, _COMMAND, _VERSIONS, _SUMMARY):
        (folder / name).unlink(missing_ok=True)
    for path in folder.iterdir():
        if path.name == _CHECKPOINTS or checkpoint.is_ours(path):
            shutil.rmtree(path)


def _check_same(folder: Path, config: Any, may_change: frozenset[str]) -> None:
    if not (folder / _CONFIG).exists():
        raise UserError(f"{folder} has no {_CONFIG}, so it cannot be resumed; overwrite=true starts afresh")
    old = plain_yaml.flatten(plain_yaml.read_mapping(folder / _CONFIG))
    new = plain_yaml.flatten(plain_yaml.parse(configs.to_yaml(config)))
    differ = [
        f"{name} ({plain_yaml.dump(old.get(name), flow=True)} then, {plain_yaml.dump(new.get(name), flow=True)} now)"
        for name in sorted(old.keys() | new.keys())
        if old.get(name, ...) != new.get(name, ...)
        and not any(name == may or name.startswith(f"{may}.") for may in may_change)
    ]
    if differ:
        raise UserError(f"{folder} was made with another config: {', '.join(differ)}; choose another folder")


def _number(value: Any) -> Any:
    """Tensors and NumPy values as Python numbers or lists of them."""
    return value.tolist() if hasattr(value, "tolist") else list(value) if isinstance(value, tuple) else value


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _highest(lines: Sequence[dict[str, Any]], name: str | None) -> tuple[float, int | None]:
    """The largest value of a metric and how many steps were done when it was first reached; (−inf, None): never."""
    reached = [(line[name], -line["step"]) for line in lines if name and isinstance(line.get(name), int | float)]
    value, step = max(reached, default=(-math.inf, 1))
    return value, None if step > 0 else 1 - step


def _cut(path: Path, start: int) -> None:
    """Keep the lines of steps before ``start``: the rest will be written again."""
    if path.is_file():
        checkpoint.write_lines(path, [line for line in read_lines(path) if line.get("step", start) < start])
