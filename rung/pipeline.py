"""What ``rung demo`` and ``rung rlhf`` share: a folder of stages that is begun, gone on with, and ends in a report."""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from lm.checkpoint import write_atomic
from lm.config import to_yaml
from lm.errors import UserError
from lm.provenance import command
from rung.report import write_report

KEPT = "ladder.yaml"


def run_pipeline(config: Any, stages: Callable[[Any], dict]) -> None:
    """Keep ``config`` in its folder as ladder.yaml, by which ``rung report`` and ``rung watch`` know a pipeline, run
    the ``stages`` of it that are not there yet, and print the table of the summary that they return and where the
    report is.

    Raises UserError where the folder holds a pipeline already and neither resume nor overwrite is asked for.
    """
    from rich.console import Console

    from rung.report_table import terminal_table

    folder = config.folder
    if (folder / KEPT).exists() and not (config.resume or config.overwrite):
        raise UserError(f"{folder} holds a run; resume=true goes on with it, overwrite=true starts afresh")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / KEPT, to_yaml(config))
    write_atomic(folder / "command.txt", command(None) + "\n")
    began = time.monotonic()
    summary = stages(config)
    page = write_report(folder)
    Console().print(terminal_table(summary))
    print(f"{(time.monotonic() - began) / 60:.1f} minutes; report: {page}")


def to_do(config: Any, leaves: str) -> bool:
    """Whether a stage is still to run: it has not left ``leaves``, a path in the folder, or all is done afresh."""
    done = config.resume and (config.folder / leaves).exists()
    if done:
        print(f"rung: {config.folder / leaves} is there, going on", file=sys.stderr)
    return not done


def resumable(config: Any) -> Any:
    """Resume only what has begun: a fresh stage of a resumed pipeline starts in silence."""
    return replace(config, resume=config.resume and (config.folder / "metrics.jsonl").exists())
