"""Run folders as one self-contained page: no request leaves it, nothing a model wrote can run in it.

A folder is a ladder's, a run's of RL, or one with such runs inside. It holds any of these; what is
missing is left out of the page, so an unfinished run has a report too:

- ``ladder.yaml`` or ``config.yaml``, ``command.txt``, ``versions.json``: how to run it again
- ``sft/metrics.jsonl``: step, loss, val_loss
- ``labels/summary.json``: any numbers; a dict with "table" (counts) may name its "table_rows" and "table_columns"
- ``prm/metrics.jsonl``: step, loss, val_loss; ``prm/summary.json``: auc, calibration_error, first_error, baseline,
  threshold, reliability (the fields of prm.metrics)
- ``metrics.jsonl`` or ``*/metrics.jsonl`` beside the ``config.yaml`` of a run of RL: step, sampled_tokens, accuracy,
  reward, prm_score, kl, eval_accuracy, ... (report_figures)
- ``eval/summary.json``: arms, paired, problems (report_evaluation.measurements); ``eval/outcomes.jsonl``: id, question,
  gold, and arms as in the summary, a row a problem; ``eval/samples.jsonl``: arm, question, gold, text, steps (start,
  end, score, label), correct, predicted, reason

Several folders stand side by side, and runs that differ only in their seed are one arm with a band (report_study).
"""

import base64
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm.config import key
from lm.errors import UserError
from rl.alarms import alarms
from rung import report_arms, report_figures, report_headline, report_samples, report_tables
from rung.report_data import RunRecord, arm_name, read_runs
from rung.report_evaluation import measurements
from rung.report_plots import Canvas, safe
from rung.report_study import Study, differing, study

HERE = Path(__file__).parent


@dataclass(frozen=True)
class ReportConfig:
    """One HTML page about the runs in one or several folders, side by side."""

    folders: tuple[Path, ...] = key(
        (Path("runs/demo"),), "folders of ladders or of runs of RL; runs that differ only in seed are one arm"
    )
    out: Path | None = key(None, "the page; null: report.html in the folder, or in the nearest one above them all")


def main(config: ReportConfig) -> None:
    """``rung report``: write the page and print its path."""
    print(write_report(*config.folders, out=config.out))


def write_report(*folders: Path, out: Path | None = None) -> Path:
    """Write a page from what the runs have left in the folders so far, and return its path (see ``ReportConfig.out``).

    UserError if a folder is missing, a file in it cannot be read, or the page cannot be written.
    """
    if not folders:
        raise UserError("no folder to report on: give one or several, as in folders=[runs/a,runs/b]")
    page = render(study(read_runs(folders)))
    path = out or (folders[0] if len(folders) == 1 else common_folder(folders)) / "report.html"
    try:
        path.write_text(page, encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise UserError(f"cannot write the page to {path} ({error.strerror}): give another file with out=") from error
    return path


def common_folder(folders: Sequence[Path]) -> Path:
    """The nearest folder that holds all of them."""
    return Path(os.path.commonpath([folder.resolve().parent for folder in folders]))


def render(shown: Study) -> str:
    """The page as HTML. Every value is escaped on its way in (``finalize``), and the policy in its head lets
    only the style and the script of this package act, by their hashes, should an escape ever be missed."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, finalize=safe, trim_blocks=True, lstrip_blocks=True
    )
    evaluated = [cell.arm for cell in measurements(shown.evaluation)]
    sampled = [arm_name(str(row.get("arm", "?"))) for row in shown.samples]
    canvas = Canvas(report_figures.styles_of([arm.name for arm in shown.arms] + evaluated + sampled))
    environment.filters["arm_style"] = canvas.style_of
    template = environment.from_string((HERE / "report.html").read_text(encoding="utf-8"))
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    return template.render(
        **content(canvas, shown),
        style=Markup(style),
        script=Markup(script),
        style_hash=content_hash(style),
        script_hash=content_hash(script),
    ).lstrip()


def content(canvas: Canvas, shown: Study) -> dict[str, object]:
    """Everything the template shows; an empty value leaves its section out."""
    arms = shown.arms
    thresholds = {f"{report_samples.threshold_of(row):.2g}" for row in shown.samples}
    per_kind = report_samples.per_kind(shown.samples)
    samples = report_samples.choose(shown.samples, per_kind)
    several = len(shown.records) > 1
    folders = [folder_parts(canvas, record, f", {record.name}" if several else "") for record in shown.records]
    parts: dict[str, object] = {
        "arms_table": report_arms.arms_table(canvas, shown),
        "final": report_tables.final_table(canvas, shown.evaluation),
        "learning": report_figures.arm_figures(canvas, arms, report_figures.LEARNING),
        "proxy": report_figures.overoptimisation_figures(canvas, arms),
        "behaviour": report_figures.arm_figures(canvas, arms, report_figures.BEHAVIOUR)
        + report_figures.reward_by_figures(canvas, arms),
        "health": report_figures.arm_figures(canvas, arms, report_figures.HEALTH)
        + report_figures.untold_figures(canvas, arms),
        "prm_rows": report_tables.prm_table([(record.name, record.prm_summary) for record in shown.records]),
        "prm_figures": [figure for folder in folders for figure in folder["prm_figures"]],
        "labels": [folder for folder in folders if folder["label_rows"] or folder["matrices"]],
        "sft": [figure for folder in folders for figure in folder["sft"]],
        "samples": samples,
        "how": [folder for folder in folders if folder["config"] or folder["command"] or folder["versions"]],
    }
    return parts | {
        "settings": differing(arms),
        "title": " · ".join(record.name for record in shown.records),
        "several": several,
        "seeds": shown.seeds,
        "headline": report_headline.headline(shown),
        "facts": [] if parts["arms_table"] else report_headline.facts(shown),
        "contents": contents(parts, shown),
        "arms": [{"name": arm.name, "runs": len(arm.runs), "style": canvas.style_of(arm.name)} for arm in arms],
        "alarms": [
            {"arm": arm.name, "run": run, "style": canvas.style_of(arm.name), "alarm": alarm}
            for arm in arms
            for run, rows in zip(arm.folders, arm.runs, strict=True)
            for alarm in alarms(rows)
        ],
        "paired": report_tables.paired_table(canvas, shown.evaluation),
        "other": report_figures.other_figures(canvas, arms),
        "prm_other": [folder for folder in folders if folder["prm_other"]],
        "sample_arms": list(dict.fromkeys(sample.arm for sample in samples)),
        "samples_total": f"{len(shown.samples):,}",
        "per_kind": per_kind,
        "threshold": " or ".join(sorted(thresholds)),
    }


def folder_parts(canvas: Canvas, record: RunRecord, of: str) -> dict[str, Any]:
    """What the page shows of each folder by itself; ``of`` ends the titles of its pictures."""
    shown_elsewhere = frozenset({"auc", "calibration_error", "brier", "step_accuracy", "first_error", "baseline"})
    return {
        "name": record.name,
        "command": record.command,
        "config": record.config,
        "config_name": record.config_name,
        "versions": report_tables.scalar_rows(record.versions),
        "prm_figures": report_figures.prm_figures(canvas, record, of),
        "prm_other": report_tables.scalar_rows(record.prm_summary, shown_elsewhere),
        "label_rows": report_tables.scalar_rows(record.labels),
        "matrices": report_tables.agreement_matrices(record.labels),
        "sft": report_figures.sft_figures(canvas, record, of),
    }


def contents(parts: dict[str, object], shown: Study) -> list[tuple[str, str]]:
    """(anchor, name) of the sections that the page has, in order."""
    there = {
        ("arms", "Arms"): parts["arms_table"],
        ("results", "Results"): parts["final"],
        ("learning", "Learning"): parts["learning"],
        ("alarms", "Alarms"): shown.arms,
        ("proxy", "Proxy and gold"): parts["proxy"],
        ("behaviour", "Solutions’ shape"): parts["behaviour"],
        ("health", "Health"): parts["health"],
        ("prm", "Reward model"): parts["prm_rows"] or parts["prm_figures"],
        ("labels", "Labels"): parts["labels"],
        ("sft", "Supervised start"): parts["sft"],
        ("samples", "Solutions"): parts["samples"],
        ("how", "Run it again"): parts["how"],
    }
    return [place for place, present in there.items() if present]


def content_hash(text: str) -> str:
    """The source expression that allows exactly this inline text (Content Security Policy level 2, section 4.2.5)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
