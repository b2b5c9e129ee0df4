"""A run folder as one self-contained page: no request leaves it, nothing a model wrote can run in it.

The folder holds any of these; what is missing is left out of the page, so an unfinished run has a report too:

- ``ladder.yaml`` or ``config.yaml``, ``command.txt``, ``versions.json``: how to run it again
- ``sft/metrics.jsonl``: step, loss, val_loss
- ``labels/summary.json``: any numbers; a dict with "table" (counts) may name its "table_rows" and "table_columns"
- ``prm/metrics.jsonl``: step, loss, val_loss; ``prm/summary.json``: auc, calibration_error, first_error, baseline,
  threshold, reliability (the fields of prm.metrics)
- ``ppo-*/metrics.jsonl``: step, sampled_tokens, accuracy, reward, prm_score, kl, eval_accuracy, ... (report_figures)
- ``eval/summary.json``: arms, paired, problems (report_data.measurements); ``eval/samples.jsonl``: arm, question,
  gold, text, steps (start, end, score, label), correct, predicted, reason
"""

import base64
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

from lm.config import key
from rl.alarms import alarms
from rung import report_figures, report_headline, report_samples, report_tables
from rung.report_data import RunRecord, number, read_run
from rung.report_plots import Canvas, safe

HERE = Path(__file__).parent
DEFAULT_THRESHOLD = 0.5  # what counts as a high score where the reward model brought no threshold of its own


@dataclass(frozen=True)
class ReportConfig:
    """One HTML page about the runs in a folder."""

    folder: Path = key(Path("runs/demo"), "the folder of a ladder: its stages' folders are inside")


def main(config: ReportConfig) -> None:
    """``rung report``: write the page and print its path."""
    print(write_report(config.folder))


def write_report(folder: Path) -> Path:
    """Write ``folder/report.html`` from what the run has left there so far, and return its path.

    UserError if the folder is missing or a file in it cannot be read.
    """
    page = render(read_run(folder))
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def render(run: RunRecord) -> str:
    """The page as HTML. Every value is escaped on its way in (``finalize``), and the policy in its head lets
    only the style and the script of this package act, by their hashes, should an escape ever be missed."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, finalize=safe, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["arm_style"] = report_figures.style_of
    template = environment.from_string((HERE / "report.html").read_text(encoding="utf-8"))
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    return template.render(
        **content(run),
        style=Markup(style),
        script=Markup(script),
        style_hash=content_hash(style),
        script_hash=content_hash(script),
    ).lstrip()


def content(run: RunRecord) -> dict[str, object]:
    """Everything the template shows; an empty value leaves its section out."""
    canvas = Canvas()
    arms = run.arms
    threshold = number(run.prm_summary.get("threshold"))
    threshold = threshold if math.isfinite(threshold) else DEFAULT_THRESHOLD
    samples = report_samples.choose(run.samples, threshold)
    shown_elsewhere = frozenset({"auc", "calibration_error", "brier", "step_accuracy", "first_error", "baseline"})
    parts: dict[str, object] = {
        "final": report_tables.final_table(canvas, run.evaluation),
        "learning": report_figures.arm_figures(canvas, arms, report_figures.LEARNING),
        "proxy": report_figures.overoptimisation_figures(canvas, arms),
        "behaviour": report_figures.arm_figures(canvas, arms, report_figures.BEHAVIOUR)
        + report_figures.reward_by_figures(canvas, arms),
        "health": report_figures.arm_figures(canvas, arms, report_figures.HEALTH)
        + report_figures.untold_figures(canvas, arms),
        "prm_rows": report_tables.prm_table(run.prm_summary),
        "prm_figures": report_figures.prm_figures(canvas, run),
        "label_rows": report_tables.scalar_rows(run.labels),
        "matrices": report_tables.agreement_matrices(run.labels),
        "sft": report_figures.sft_figures(canvas, run),
        "samples": samples,
        "versions": report_tables.scalar_rows(run.versions),
    }
    return parts | {
        "run": run,
        "headline": report_headline.headline(run),
        "facts": report_headline.facts(run),
        "contents": contents(parts, run),
        "arms": [{"name": arm.name, "style": report_figures.style_of(arm.name)} for arm in arms],
        "alarms": [
            {"arm": arm.name, "style": report_figures.style_of(arm.name), "alarm": alarm}
            for arm in arms
            for alarm in alarms(arm.rows)
        ],
        "paired": report_tables.paired_table(canvas, run.evaluation),
        "other": report_figures.other_figures(canvas, arms),
        "prm_other": report_tables.scalar_rows(run.prm_summary, shown_elsewhere),
        "sample_arms": list(dict.fromkeys(sample.arm for sample in samples)),
        "samples_total": f"{len(run.samples):,}",
        "per_kind": report_samples.PER_KIND,
        "threshold": f"{threshold:.2g}",
    }


def contents(parts: dict[str, object], run: RunRecord) -> list[tuple[str, str]]:
    """(anchor, name) of the sections that the page has, in order."""
    there = {
        ("results", "Results"): parts["final"],
        ("learning", "Learning"): parts["learning"],
        ("alarms", "Alarms"): run.arms,
        ("proxy", "Proxy and gold"): parts["proxy"],
        ("behaviour", "Solutions’ shape"): parts["behaviour"],
        ("health", "Health"): parts["health"],
        ("prm", "Reward model"): parts["prm_rows"] or parts["prm_figures"],
        ("labels", "Labels"): parts["label_rows"] or parts["matrices"],
        ("sft", "Supervised start"): parts["sft"],
        ("samples", "Solutions"): parts["samples"],
        ("how", "Run it again"): run.config or run.command or parts["versions"],
    }
    return [place for place, present in there.items() if present]


def content_hash(text: str) -> str:
    """The source expression that allows exactly this inline text (Content Security Policy level 2, section 4.2.5)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
