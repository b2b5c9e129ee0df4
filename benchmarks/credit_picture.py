"""What each credit form does to one worked solution: the picture and the table of docs/credit.md.

python -m benchmarks.credit_picture docs/credit.svg      writes the picture, prints the table as Markdown
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lm.checkpoint import write_atomic
from rl.credit import CreditConfig, Form, last_potential, step_rewards

# 3 · (14 − 6) + 5 = 29, solved with a slip in the third step, and what a good reward model says of each step.
STEPS = ("14 − 6 = 8", "3 · 8 = 24", "24 + 5 = 28", "so 28", "#### 28")
SCORES = (0.95, 0.90, 0.15, 0.40, 0.10)
# Two other rollouts of the same problem, for the forms that look at all of them.
OTHERS = ((0.90, 0.85, 0.90, 0.95), (0.60, 0.20, 0.10))
FORMS: tuple[tuple[Form, float], ...] = (
    ("outcome", 0.0),
    ("sum", 0.0),
    ("clip", 0.0),
    ("delta", 0.0),
    ("clip_delta", 0.0),
    ("min", 0.0),
    ("min", 0.2),
    ("running_min", 0.0),
    ("potential", 0.0),
    ("progress", 0.0),
    ("group", 0.0),
)
LEFT, TOP, CELL, ROW, HALF = 150, 64, 112, 58, 20
STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #444 } .form { font-weight: 600 } .number { font-size: 10.5px }
.zero { stroke: #999 } .up { fill: #2a8f6f } .down { fill: #c8553d }
.return { fill: none; stroke: #3867b0; stroke-width: 2 }
.slip { fill: #c8553d22 }
@media (prefers-color-scheme: dark) { text { fill: #ccc } .return { stroke: #7fa8e8 } .up { fill: #4fb896 } }
</style>"""


@dataclass(frozen=True)
class Credited:
    """A form, the reward of each step (S,), and the return from each step on (S,), the final token's included."""

    name: str
    rewards: np.ndarray
    returns: np.ndarray


def credited(form: Form, temperature: float) -> Credited:
    """What ``form`` makes of the solution, whose answer is wrong and earns nothing."""
    scores = [np.array(p) for p in (SCORES, *OTHERS)]
    rewards = step_rewards(scores, CreditConfig(form=form, min_temperature=temperature), len(scores))[0]
    paid = rewards.copy()
    if form == "potential":
        paid[-1] -= last_potential(rewards)  # at the last token, which ends the last step
    name = f"{form}, T = {temperature}" if temperature else form
    return Credited(name, paid + 0.0, paid[::-1].cumsum()[::-1] + 0.0)  # + 0.0: no minus before a zero


def table(rows: list[Credited]) -> str:
    """Markdown: the reward of each step, and the return from it on, of every form."""
    lines = ["| form | " + " | ".join(STEPS) + " |", "| --- |" + " --- |" * len(STEPS)]
    lines.append("| *P(right)* | " + " | ".join(f"*{p:.2f}*" for p in SCORES) + " |")
    for row in rows:
        cells = [f"{reward:+.2f} → {total:+.2f}" for reward, total in zip(row.rewards, row.returns, strict=True)]
        lines.append(f"| `{row.name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def picture(rows: list[Credited]) -> str:
    """SVG: a row a form, a column a step; bars are rewards, the line is the return from each step on."""
    width, height = LEFT + CELL * len(STEPS) + 10, TOP + ROW * len(rows) + 30
    slip = min(i for i, p in enumerate(SCORES) if p < 0.5)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        "<title>Rewards and returns of each step of one solution, by credit form</title>",
        STYLE,
        f'<rect class="slip" x="{LEFT + CELL * slip}" y="8" width="{CELL}" height="{height - 38}"/>',
    ]
    for i, (step, score) in enumerate(zip(STEPS, SCORES, strict=True)):
        x = LEFT + CELL * (i + 0.5)
        out.append(f'<text x="{x}" y="26" text-anchor="middle">{step}</text>')
        out.append(f'<text x="{x}" y="44" text-anchor="middle" class="number">P(right) = {score:.2f}</text>')
    for number, row in enumerate(rows):
        out += _row(row, TOP + ROW * number + ROW / 2)
    note = "bars: the reward of a step · line: the return from it on · shaded: the first wrong step"
    return "\n".join([*out, f'<text x="{LEFT}" y="{height - 10}">{note}</text>', "</svg>"]) + "\n"


def _row(row: Credited, zero: float) -> list[str]:
    """One form; each row has a scale of its own, so that its shape shows."""
    unit = HALF / max(1.0, float(np.abs(np.concatenate([row.rewards, row.returns])).max()))
    right = LEFT + CELL * len(STEPS)
    out = [
        f'<text class="form" x="8" y="{zero + 4:.1f}">{row.name}</text>',
        f'<line class="zero" x1="{LEFT}" y1="{zero:.1f}" x2="{right}" y2="{zero:.1f}"/>',
    ]
    points = []
    for i, (reward, total) in enumerate(zip(row.rewards, row.returns, strict=True)):
        x, size = LEFT + CELL * (i + 0.5), abs(reward) * unit
        top, sign = (zero - size, "up") if reward > 0 else (zero, "down")
        if abs(reward) > 0.004:
            out.append(f'<rect class="{sign}" x="{x - 12}" y="{top:.1f}" width="24" height="{size:.1f}"/>')
            out.append(f'<text class="number" x="{x + 16}" y="{zero - 4:.1f}">{reward:+.2f}</text>')
        points.append(f"{x:.1f},{zero - total * unit:.1f}")
    return [*out, f'<polyline class="return" points="{" ".join(points)}"/>']


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    rows = [credited(form, temperature) for form, temperature in FORMS]
    write_atomic(parser.parse_args().file, picture(rows))
    print(table(rows), end="")


if __name__ == "__main__":
    main()
