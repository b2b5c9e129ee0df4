"""Which curves a report draws, from which columns of the metrics; a curve nobody recorded is left out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rung.report_axes import Kind, smooth
from rung.report_bands import band
from rung.report_data import Row, RunRecord, column, number
from rung.report_plots import FEW, Axis, Canvas, Series
from rung.report_study import Arm

STYLES = {"sft": "c-sft", "process": "c-process", "outcome": "c-outcome"}
COLOURS = 8  # classes c-arm1 to c-arm8 of report.css, for every other arm; a ninth arm starts again
LEARNING: list[tuple[str, str, Kind]] = [
    ("accuracy", "Accuracy on the sampled rollouts", "percent"),
    ("eval_accuracy", "Greedy accuracy on held-out problems", "percent"),
    ("reward", "Mean reward", "number"),
    ("kl", "KL from the starting policy (nats a response)", "number"),
]
HEALTH: list[tuple[str, str, Kind]] = [
    ("entropy", "Entropy (nats a token)", "number"),
    ("clip_fraction", "Share of tokens clipped", "percent"),
    ("ratio_max", "Largest policy ratio", "number"),
    ("explained_variance", "Explained variance of the critic", "number"),
    ("no_signal", "Groups in which all earned the same", "percent"),
    ("prm_auc", "AUC of the reward model against verdicts on fresh samples", "number"),
    ("guard_accuracy", "Greedy accuracy on the guard’s problems", "percent"),
    ("val_loss", "Loss on held-out worked solutions (nats a token)", "number"),
]
BEHAVIOUR: list[tuple[str, str, Kind]] = [
    ("response_length", "Response length (tokens)", "number"),
    ("steps_per_solution", "Steps a solution", "number"),
    ("repeated_steps", "Repeated steps a solution", "number"),
    ("empty_steps", "Empty steps a solution", "number"),
    ("answer_only", "Solutions that are a bare answer", "percent"),
    ("delimiter_density", "Line breaks a token", "number"),
]
REWARD_BY = [("reward_by_steps", "steps"), ("reward_by_length", "tokens")]
EVALUATED = {"eval_accuracy", "guard_accuracy", "val_loss"}  # measured now and then: joined as they are
UNTOLD = [("no_answer", "no answer"), ("unparsable", "unparsable"), ("timeout", "timeout"), ("truncated", "truncated")]
PLOTTED = (
    {key for key, _, _ in LEARNING + HEALTH + BEHAVIOUR}
    | {key for key, _ in UNTOLD}
    | {"step", "sampled_tokens", "prm_score"}
)


@dataclass(frozen=True)
class Figure:
    """A titled picture."""

    title: str
    svg: Markup


def styles_of(arms: Sequence[str]) -> dict[str, str]:
    """The colour class of each arm: its own, or the next of those for all others."""
    others = [arm for arm in dict.fromkeys(arms) if arm not in STYLES]
    return STYLES | {arm: f"c-arm{index % COLOURS + 1}" for index, arm in enumerate(others)}


def progress_axis(arms: Sequence[Arm]) -> tuple[str, Axis]:
    """Sampled tokens, the honest price of both arms, where every row has them; else the step."""
    if all(math.isfinite(number(row.get("sampled_tokens"))) for arm in arms for rows in arm.runs for row in rows):
        return "sampled_tokens", Axis("sampled tokens")
    return "step", Axis("steps")


def arm_figures(canvas: Canvas, arms: list[Arm], wanted: list[tuple[str, str, Kind]]) -> list[Figure]:
    """One figure a column, a line an arm; an arm of several runs has a band."""
    x_key, x_axis = progress_axis(arms)
    figures = []
    for key, title, kind in wanted:
        smoothing = 0.0 if key in EVALUATED else 0.05
        lines = [series_of(arm, arm.name, canvas.style_of(arm.name), x_key, key, smoothing) for arm in arms]
        figures += _figure(canvas, title, lines, x_axis, Axis(title, kind))
    return figures


def series_of(arm: Arm, label: str, style: str, x_key: str, key: str, smoothing: float = 0.05) -> Series:
    """A column of one run, or the mean of several in their band: each is smoothed by itself, then they are averaged."""
    curves = [curve for curve in (column(rows, x_key, key) for rows in arm.runs) if curve[0]]
    if len(curves) < 2:
        return Series(label, style, *(curves[0] if curves else ([], [])), smoothing=smoothing)
    found = band([(x, smooth(y, smoothing) if smoothing and len(x) >= FEW else y) for x, y in curves])
    if found is None:
        return Series(label, style, [], [])
    return Series(label, style, found.x, found.mean, low=found.low, high=found.high)


def untold_figures(canvas: Canvas, arms: list[Arm]) -> list[Figure]:
    """One figure an arm: the outcomes that say nothing about the mathematics."""
    x_key, x_axis = progress_axis(arms)
    figures = []
    for arm in arms:
        lines = [series_of(arm, label, f"c-kind{index}", x_key, key) for index, (key, label) in enumerate(UNTOLD)]
        title = f"Outcomes that could not be told, {arm.name}"
        figures += _figure(canvas, title, lines, x_axis, Axis(title, "percent"))
    return figures


def overoptimisation_figures(canvas: Canvas, arms: list[Arm]) -> list[Figure]:
    """Proxy and gold over √KL, one figure an arm with the steps of all its runs (the axes of Gao et al. 2022,
    arXiv:2210.10760)."""
    figures = []
    for arm in arms:
        rows = sorted(
            (
                {**row, "root_kl": math.sqrt(max(number(row.get("kl")), 0.0))}
                for run in arm.runs
                for row in run
                if _has_kl(row)
            ),
            key=lambda row: row["root_kl"],
        )
        proxy, gold = column(rows, "root_kl", "prm_score"), column(rows, "root_kl", "accuracy")
        if proxy[0] and gold[0]:
            style = canvas.style_of(arm.name)
            lines = [
                Series("PRM score", style, *proxy, dashed=True, smoothing=0.12),
                Series("verifier", style, *gold, smoothing=0.12),
            ]
            axis, title = Axis("√KL from the starting policy"), f"Proxy and gold, {arm.name}"
            figures.append(Figure(title, canvas.lines(title, lines, axis, Axis("", "percent"), peak=lines[1])))
    return figures


def reward_by_figures(canvas: Canvas, arms: list[Arm]) -> list[Figure]:
    """What solutions of each size earned in the first and in the last fifth of a run: what it pays to be long."""
    figures = []
    for arm in arms:
        first = [row for rows in arm.runs for row in rows[: fifth(rows)]]
        last = [row for rows in arm.runs for row in rows[-fifth(rows) :]]
        for key, unit in REWARD_BY:
            lines = [
                Series("first", canvas.style_of(arm.name), *pooled(first, key), dashed=True, smoothing=0.0),
                Series("last", canvas.style_of(arm.name), *pooled(last, key), smoothing=0.0),
            ]
            figures += _figure(canvas, f"Reward by {unit}, {arm.name}", lines, Axis(unit), Axis("reward"))
    return figures


def fifth(rows: list[Row]) -> int:
    """A fifth of the rows, rounded up."""
    return -(-len(rows) // 5)


def pooled(rows: list[Row], key: str, most: int = 8) -> tuple[list[float], list[float]]:
    """The [size, rollouts, mean reward] of several rows as at most ``most`` points, each of about as many rollouts."""
    points = [tuple(map(number, point)) for row in rows for point in row.get(key) or () if len(point) == 3]
    points = sorted(p for p in points if math.isfinite(sum(p)) and p[1] > 0)
    total, seen = sum(p[1] for p in points), 0.0
    bins: dict[int | float, list[tuple[float, ...]]] = {}
    sizes = {p[0] for p in points}
    for p in points:
        bins.setdefault(p[0] if len(sizes) <= most else int(most * seen / total), []).append(p)
        seen += p[1]
    weights = [sum(p[1] for p in inside) for inside in bins.values()]
    means = [
        tuple(sum(p[1] * p[axis] for p in inside) / weight for axis in (0, 2))
        for inside, weight in zip(bins.values(), weights, strict=True)
    ]
    return [x for x, _ in means], [y for _, y in means]


def sft_figures(canvas: Canvas, run: RunRecord, of: str = "") -> list[Figure]:
    """The loss of supervised fine-tuning, on training and validation data; ``of`` ends the titles, as in every picture
    of a single folder."""
    lines = [
        Series("training", "c-sft", *column(run.sft, "step", "loss")),
        Series("validation", "c-prm", *column(run.sft, "step", "val_loss"), smoothing=0.0),
    ]
    return _figure(canvas, f"Loss of supervised fine-tuning{of}", lines, Axis("steps"), Axis("loss"))


def prm_figures(canvas: Canvas, run: RunRecord, of: str = "") -> list[Figure]:
    """The reward model's loss curve and its reliability diagram."""
    lines = [
        Series("training", "c-sft", *column(run.prm, "step", "loss")),
        Series("validation", "c-prm", *column(run.prm, "step", "val_loss"), smoothing=0.0),
    ]
    figures = _figure(canvas, f"Loss of the reward model{of}", lines, Axis("steps"), Axis("loss"))
    keys = ("mean_probability", "fraction_right", "count")
    rows = [tuple(number(row.get(key)) for key in keys) for row in run.prm_summary.get("reliability", [])]
    bins = [(p, f, int(n)) for p, f, n in rows if math.isfinite(p + f + n) and n > 0]
    if bins:
        title = f"Reliability: fraction right against predicted probability{of}"
        figures.insert(0, Figure(title, canvas.reliability(bins)))
    return figures


def other_figures(canvas: Canvas, arms: list[Arm]) -> list[Figure]:
    """Every further number in the metrics, so that nothing recorded is out of sight."""
    keys = {key for arm in arms for rows in arm.runs for row in rows for key in row} - PLOTTED
    wanted: list[tuple[str, str, Kind]] = [(key, key.replace("_", " "), "number") for key in sorted(keys)]
    return arm_figures(canvas, arms, wanted)


def _has_kl(row: Row) -> bool:
    return math.isfinite(number(row.get("kl")))


def _figure(canvas: Canvas, title: str, lines: list[Series], x_axis: Axis, y_axis: Axis) -> list[Figure]:
    """The figure in a list, or an empty one where there is no point to draw."""
    if not any(line.x for line in lines):
        return []
    return [Figure(title, canvas.lines(title, lines, x_axis, y_axis))]
