"""Which curves a report draws, from which columns of the metrics; a curve nobody recorded is left out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rung.report_axes import Kind
from rung.report_data import Arm, Row, RunRecord, column, number
from rung.report_plots import Axis, Canvas, Series

STYLES = {"sft": "c-sft", "process": "c-process", "outcome": "c-outcome"}
LEARNING: list[tuple[str, str, Kind]] = [
    ("accuracy", "Accuracy on the sampled rollouts", "percent"),
    ("eval_accuracy", "Greedy accuracy on held-out problems", "percent"),
    ("reward", "Mean reward", "number"),
    ("kl", "KL from the starting policy (nats a response)", "number"),
]
HEALTH: list[tuple[str, str, Kind]] = [
    ("entropy", "Entropy (nats a token)", "number"),
    ("clip_fraction", "Share of tokens clipped", "percent"),
    ("explained_variance", "Explained variance of the critic", "number"),
    ("response_length", "Response length (tokens)", "number"),
    ("steps_per_solution", "Steps a solution", "number"),
]
UNTOLD = [("no_answer", "no answer"), ("unparsable", "unparsable"), ("timeout", "timeout"), ("truncated", "truncated")]
PLOTTED = (
    {key for key, _, _ in LEARNING + HEALTH} | {key for key, _ in UNTOLD} | {"step", "sampled_tokens", "prm_score"}
)


@dataclass(frozen=True)
class Figure:
    """A titled picture."""

    title: str
    svg: Markup


def style_of(arm: str) -> str:
    """The colour class of an arm, one for all that have no colour of their own."""
    return STYLES.get(arm, "c-other")


def progress_axis(arms: Sequence[Arm]) -> tuple[str, Axis]:
    """Sampled tokens, the honest price of both arms, where every row has them; else the step."""
    if all(math.isfinite(number(row.get("sampled_tokens"))) for arm in arms for row in arm.rows):
        return "sampled_tokens", Axis("sampled tokens")
    return "step", Axis("steps")


def arm_figures(canvas: Canvas, arms: list[Arm], wanted: list[tuple[str, str, Kind]]) -> list[Figure]:
    """One figure a column, a line an arm."""
    x_key, x_axis = progress_axis(arms)
    figures = []
    for key, title, kind in wanted:
        lines = [
            Series(
                arm.name,
                style_of(arm.name),
                *column(arm.rows, x_key, key),
                smoothing=0.0 if key == "eval_accuracy" else 0.05,
            )
            for arm in arms
        ]
        figures += _figure(canvas, title, lines, x_axis, Axis(title, kind))
    return figures


def untold_figures(canvas: Canvas, arms: list[Arm]) -> list[Figure]:
    """One figure an arm: the outcomes that say nothing about the mathematics."""
    x_key, x_axis = progress_axis(arms)
    figures = []
    for arm in arms:
        lines = [
            Series(label, f"c-kind{index}", *column(arm.rows, x_key, key)) for index, (key, label) in enumerate(UNTOLD)
        ]
        title = f"Outcomes that could not be told, {arm.name}"
        figures += _figure(canvas, title, lines, x_axis, Axis(title, "percent"))
    return figures


def overoptimisation_figures(canvas: Canvas, arms: list[Arm]) -> list[Figure]:
    """Proxy and gold over √KL, one figure an arm (the axes of Gao et al. 2022, arXiv:2210.10760)."""
    figures = []
    for arm in arms:
        rows = sorted(
            ({**row, "root_kl": math.sqrt(max(number(row.get("kl")), 0.0))} for row in arm.rows if _has_kl(row)),
            key=lambda row: row["root_kl"],
        )
        proxy, gold = column(rows, "root_kl", "prm_score"), column(rows, "root_kl", "accuracy")
        if proxy[0] and gold[0]:
            style = style_of(arm.name)
            lines = [
                Series("PRM score", style, *proxy, dashed=True, smoothing=0.12),
                Series("verifier", style, *gold, smoothing=0.12),
            ]
            axis = Axis("√KL from the starting policy")
            figures += _figure(canvas, f"Proxy and gold, {arm.name}", lines, axis, Axis("", "percent"))
    return figures


def sft_figures(canvas: Canvas, run: RunRecord) -> list[Figure]:
    """The loss of supervised fine-tuning, on training and validation data."""
    lines = [
        Series("training", "c-sft", *column(run.sft, "step", "loss")),
        Series("validation", "c-prm", *column(run.sft, "step", "val_loss"), smoothing=0.0),
    ]
    return _figure(canvas, "Loss of supervised fine-tuning", lines, Axis("steps"), Axis("loss"))


def prm_figures(canvas: Canvas, run: RunRecord) -> list[Figure]:
    """The reward model's loss curve and its reliability diagram."""
    lines = [
        Series("training", "c-sft", *column(run.prm, "step", "loss")),
        Series("validation", "c-prm", *column(run.prm, "step", "val_loss"), smoothing=0.0),
    ]
    figures = _figure(canvas, "Loss of the reward model", lines, Axis("steps"), Axis("loss"))
    keys = ("mean_probability", "fraction_right", "count")
    rows = [tuple(number(row.get(key)) for key in keys) for row in run.prm_summary.get("reliability", [])]
    bins = [(p, f, int(n)) for p, f, n in rows if math.isfinite(p + f + n) and n > 0]
    if bins:
        title = "Reliability: fraction right against predicted probability"
        figures.insert(0, Figure(title, canvas.reliability(bins)))
    return figures


def other_figures(canvas: Canvas, arms: list[Arm]) -> list[Figure]:
    """Every further number in the metrics, so that nothing recorded is out of sight."""
    keys = {key for arm in arms for row in arm.rows for key in row} - PLOTTED
    wanted: list[tuple[str, str, Kind]] = [(key, key.replace("_", " "), "number") for key in sorted(keys)]
    return arm_figures(canvas, arms, wanted)


def _has_kl(row: Row) -> bool:
    return math.isfinite(number(row.get("kl")))


def _figure(canvas: Canvas, title: str, lines: list[Series], x_axis: Axis, y_axis: Axis) -> list[Figure]:
    """The figure in a list, or an empty one where there is no point to draw."""
    if not any(line.x for line in lines):
        return []
    return [Figure(title, canvas.lines(title, lines, x_axis, y_axis))]
