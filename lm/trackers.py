"""A run's metrics in TensorBoard, Weights & Biases or trackio as well, through accelerate's trackers.

``metrics.jsonl`` is the record; a tracker is a window on it. One that cannot be reached is left out with a line on
standard error, and the run goes on.
"""

import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from lm.errors import UserError

Tracker = Literal["tensorboard", "wandb", "trackio"]


class Trackers:
    """The trackers ``names`` of the run in ``folder``, whose resolved config is ``config``; it starts at ``step``.

    Raises UserError for one whose package is not installed.
    """

    def __init__(self, names: Sequence[Tracker], folder: Path, config: Mapping[str, Any], step: int = 0) -> None:
        self._open: dict[str, Any] = {}
        for name in names:
            if importlib.util.find_spec(name) is None:
                raise UserError(f"trackers=[{name}] needs a package: pip install {name}")
            tracker = self._try(name, partial(_start, name, folder, step))
            if tracker is not None:
                self._open[name] = tracker
                self._try(name, partial(tracker.store_init_configuration, _flat(config)))

    def log(self, step: int, line: Mapping[str, Any]) -> None:
        """The numbers of one line of metrics."""
        numbers = {name: value for name, value in line.items() if isinstance(value, int | float) and name != "step"}
        for name, tracker in list(self._open.items()):
            self._try(name, partial(tracker.log, numbers, step=step))

    def finish(self) -> None:
        for name, tracker in list(self._open.items()):
            self._try(name, tracker.finish)

    def _try(self, name: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as error:  # whatever another library or its server does, the run goes on
            self._open.pop(name, None)
            print(f"tracker {name} is left out from here on: {' '.join(str(error).split())[:200]}", file=sys.stderr)
            return None


def _start(name: str, folder: Path, step: int) -> Any:
    from accelerate import PartialState, tracking

    PartialState()  # the trackers' own logging asks it which process this is
    if name == "tensorboard":
        tracker: Any = tracking.TensorBoardTracker("tensorboard", folder, purge_step=step)
    elif name == "wandb":
        tracker = tracking.WandBTracker("rung", name=str(folder), dir=str(folder))
    else:
        tracker = tracking.TrackioTracker("rung", name=str(folder).replace("/", "-"))
    tracker.start()
    return tracker


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted names and values that every tracker takes."""
    out: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            out |= _flat(value, f"{prefix}{name}.")
        else:
            out[prefix + name] = value if isinstance(value, int | float | str | bool) else str(value)
    return out
