"""The table of arms side by side: how many runs of each, how far they went and where they ended."""

import math
from dataclasses import dataclass

from rung.report_axes import compact, percent
from rung.report_bands import over_seeds
from rung.report_headline import last_mean, last_values, most_steps
from rung.report_plots import Canvas
from rung.report_study import Study


@dataclass(frozen=True)
class ArmRow:
    """An arm as shown."""

    name: str
    style: str
    runs: int
    steps: str
    tokens: str
    accuracy: str
    interval: str
    folders: str
    seeds: str


def arms_table(canvas: Canvas, study: Study) -> list[ArmRow]:
    """A row an arm; empty for a single folder whose arms ran once, of which the rest of the page says it all."""
    if len(study.records) == 1 and study.seeds == 1 and len(study.arms) < 3:
        return []
    rows = []
    for arm in study.arms:
        tokens, values = last_mean(arm, "sampled_tokens"), last_values(arm, "eval_accuracy")
        accuracy = over_seeds(values) if values else None
        bounded = accuracy is not None and math.isfinite(accuracy.low)
        rows.append(
            ArmRow(
                name=arm.name,
                style=canvas.style_of(arm.name),
                runs=len(arm.runs),
                steps=f"{most_steps(arm):,}",
                tokens=compact(tokens) if tokens is not None else "–",
                accuracy=percent(accuracy.mean) if accuracy else "–",
                interval=f"{percent(accuracy.low)} to {percent(accuracy.high)}" if accuracy and bounded else "",
                folders=", ".join(arm.folders),
                seeds=", ".join(filter(None, arm.seeds)),
            )
        )
    return rows
