"""The first sentence of a report: what was gained, with its interval, or plainly that nothing was."""

import math
from dataclasses import dataclass

from rung.report_axes import compact, percent, points, signed
from rung.report_data import Measurement, Row, RunRecord, arm_name, column, measurements, metric_name, number

BASE = "sft"


@dataclass(frozen=True)
class Comparison:
    """a − b on the same problems and its 95% interval, in fractions."""

    a: str
    b: str
    metric: str
    mean: float
    low: float
    high: float

    @property
    def settled(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0


def comparisons(evaluation: Row) -> list[Comparison]:
    """The paired differences of an evaluation, turned so that a trained arm is measured against its base.

    One without an interval is left out: it would look like a result and is none.
    """
    found = []
    for row in evaluation.get("paired", []):
        a, b, metric = arm_name(str(row.get("a"))), arm_name(str(row.get("b"))), metric_name(str(row.get("metric", "")))
        mean, low, high = (number(row.get(key)) for key in ("mean", "low", "high"))
        if a == BASE or (a == "outcome" and b == "process"):
            a, b, mean, low, high = b, a, -mean, -high, -low
        if math.isfinite(mean + low + high):
            found.append(Comparison(a, b, metric, mean, low, high))
    return found


def headline(run: RunRecord) -> list[str]:
    """One to three sentences; the first is the page's headline."""
    cells = measurements(run.evaluation)
    pairs = comparisons(run.evaluation)
    against_base = _first([p for p in pairs if p.b == BASE], "process")
    if against_base:
        sentences = [gain_sentence(against_base, cells)]
        rivals = [p for p in pairs if {p.a, p.b} == {"process", "outcome"} and p.metric == against_base.metric]
        return sentences + [rival_sentence(p) for p in rivals[:1]]
    if cells:
        return [unpaired_sentence(cells)]
    return [unfinished_sentence(run)]


def gain_sentence(pair: Comparison, cells: list[Measurement]) -> str:
    """What an arm gained over the base, in points; says so where the interval does not allow the claim."""
    means = {cell.arm: cell.mean for cell in cells if cell.metric == pair.metric}
    path = f" from {percent(means[pair.b])} to {percent(means[pair.a])}" if {pair.a, pair.b} <= means.keys() else ""
    what = f"{pair.metric} accuracy" if pair.metric == "greedy" else pair.metric
    change = f"{points(pair.mean)} points, 95% interval {interval_words(pair)}"
    if not pair.settled:
        return f"No gain can be claimed: {name_of(pair.a)} took {what}{path} ({change}, which holds zero)."
    verb = "raised" if pair.mean > 0 else "lowered"
    start = name_of(pair.a)
    return f"{start[0].upper()}{start[1:]} {verb} {what}{path}: {change}."


def rival_sentence(pair: Comparison) -> str:
    """Process against outcome rewards, on the same problems."""
    change = f"{points(pair.mean)} points, 95% interval {interval_words(pair)}"
    if not pair.settled:
        return f"Between the two kinds of reward the difference is not settled: process − outcome is {change}."
    better, worse = ("process", "outcome") if pair.mean > 0 else ("outcome", "process")
    return f"{better.capitalize()} rewards beat {worse} rewards on the same problems: process − outcome is {change}."


def unpaired_sentence(cells: list[Measurement]) -> str:
    """Where no paired interval was recorded, the means alone and a warning."""
    metric = cells[0].metric
    shown = [f"{c.arm} {percent(c.mean)}" for c in cells if c.metric == metric]
    return f"{metric.capitalize()} on held-out problems: {', '.join(shown)}; no paired interval was recorded."


def unfinished_sentence(run: RunRecord) -> str:
    """How far a run got that has not been evaluated."""
    if not run.arms:
        return "An unfinished run: no policy has been trained with rewards yet."
    states = []
    for arm in run.arms:
        accuracy = column(arm.rows, "step", "accuracy")[1]
        now = f", {percent(accuracy[-1])} of its last samples right" if accuracy else ""
        states.append(f"{arm.name} at step {len(arm.rows):,}{now}")
    return f"An unfinished run: {'; '.join(states)}."


def facts(run: RunRecord) -> list[str]:
    """The size of the run in a few words each."""
    found = []
    for arm in run.arms:
        tokens = column(arm.rows, "step", "sampled_tokens")[1]
        size = f", {compact(tokens[-1])} sampled tokens" if tokens else ""
        found.append(f"{arm.name}: {len(arm.rows):,} PPO steps{size}")
    problems = number(run.evaluation.get("problems"))
    if math.isfinite(problems):
        found.append(f"{problems:,.0f} held-out problems")
    return found


def name_of(arm: str) -> str:
    """An arm as the subject of a sentence."""
    return {"process": "process rewards", "outcome": "outcome rewards"}.get(arm, f"the {arm} arm")


def interval_words(pair: Comparison) -> str:
    """The ends of an interval in points: −2.1 to 3.6."""
    return f"{signed(pair.low * 100, 1)} to {signed(pair.high * 100, 1)}"


def _first(pairs: list[Comparison], arm: str) -> Comparison | None:
    """The comparison that matters most: the process arm's, on greedy answers, where there is one."""
    return min(pairs, key=lambda p: (p.a != arm, p.metric != "greedy"), default=None)
