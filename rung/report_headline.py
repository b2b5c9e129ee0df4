"""The first sentence of a report: what was gained, with its interval, or plainly that nothing was."""

import math

from rung.report_axes import compact, percent, points, signed
from rung.report_data import column, number
from rung.report_evaluation import BASE, Comparison, Measurement, comparisons, measurements
from rung.report_study import Arm, Study

NAMED = 4  # arms that a sentence names at most


def headline(study: Study) -> list[str]:
    """One to three sentences; the first is the page's headline."""
    cells = measurements(study.evaluation)
    pairs = comparisons(study.evaluation)
    gains = [p for p in pairs if p.b == BASE]
    against_base = _first(gains, "process")
    if against_base:
        sentences = [gain_sentence(against_base, cells), *price_sentences(against_base, gains)]
        rivals = [p for p in pairs if {p.a, p.b} == {"process", "outcome"} and p.metric == against_base.metric]
        repeated = [f"Means and intervals are over {study.seeds} seeds."] if study.seeds > 1 else []
        return sentences + [rival_sentence(p) for p in rivals[:1]] + repeated
    if cells:
        return ranking_sentences(cells, pairs)
    return [unfinished_sentence(study.arms)]


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


def price_sentences(told: Comparison, gains: list[Comparison]) -> list[str]:
    """What the arms lost against the base by other measures, a capability guard for example."""
    lost = [p for p in gains if p.settled and p.mean < 0 and p.metric != told.metric]
    names = [f"{p.a} {points(p.mean)} points of {p.metric} ({interval_words(p)})" for p in lost]
    return [f"It had a price: {_first_few(names)}."] if names else []


def rival_sentence(pair: Comparison) -> str:
    """Process against outcome rewards, on the same problems."""
    change = f"{points(pair.mean)} points, 95% interval {interval_words(pair)}"
    if not pair.settled:
        return f"Between the two kinds of reward the difference is not settled: process − outcome is {change}."
    better, worse = ("process", "outcome") if pair.mean > 0 else ("outcome", "process")
    return f"{better.capitalize()} rewards beat {worse} rewards on the same problems: process − outcome is {change}."


def ranking_sentences(cells: list[Measurement], pairs: list[Comparison]) -> list[str]:
    """The means, best first, and how sure the best one's lead is over the next that it was compared with."""
    metric = cells[0].metric
    best = sorted((c for c in cells if c.metric == metric), key=lambda cell: -cell.mean)
    shown = _first_few([f"{c.arm} {percent(c.mean)}" for c in best])
    ranking = f"{metric.capitalize()} on held-out problems: {shown}"
    if not pairs:
        return [f"{ranking}; no paired interval was recorded."]
    places = {cell.arm: place for place, cell in enumerate(best)}
    leads = [p for p in pairs if p.metric == metric and places.get(p.a) == 0 and p.b in places]
    return [f"{ranking}.", *(lead_sentence(p) for p in sorted(leads, key=lambda p: places[p.b])[:1])]


def lead_sentence(pair: Comparison) -> str:
    """Two arms on the same problems, and whether the difference can be believed."""
    unsettled = "" if pair.settled else ", which holds zero: not settled"
    change = f"{points(pair.mean)} points, 95% interval {interval_words(pair)}"
    return f"On the same problems {pair.a} − {pair.b} is {change}{unsettled}."


def unfinished_sentence(arms: list[Arm]) -> str:
    """How far runs got that have not been evaluated: by their last checks on held-out problems, or by their samples."""
    if not arms:
        return "An unfinished run: no policy has been trained with rewards yet."
    checked = {arm.name: mean for arm in arms if (mean := last_mean(arm, "eval_accuracy")) is not None}
    if len(checked) == len(arms):
        spent = spent_words(arms)
        best = sorted(checked, key=lambda name: -checked[name])
        shown = _first_few([f"{name} {percent(checked[name])}{spent[name]}" for name in best])
        return f"Greedy accuracy at the last check on held-out problems: {shown}."
    states = []
    for arm in arms:
        accuracy = last_mean(arm, "accuracy")
        now = f", {percent(accuracy)} of its last samples right" if accuracy is not None else ""
        states.append(f"{arm.name} at step {most_steps(arm):,}{now}")
    return f"No evaluation yet: {'; '.join(states)}."


def spent_words(arms: list[Arm]) -> dict[str, str]:
    """After how many tokens each arm stands where it does, said only where arms have not come equally far."""
    tokens = {arm.name: last_mean(arm, "sampled_tokens") or 0.0 for arm in arms}
    apart = max(tokens.values()) > 1.1 * min(tokens.values())
    return {name: f" after {compact(spent)} tokens" if apart else "" for name, spent in tokens.items()}


def last_values(arm: Arm, key: str) -> list[float]:
    """The last value of a column in each run of an arm that has one."""
    return [values[-1] for rows in arm.runs if (values := column(rows, "step", key)[1])]


def last_mean(arm: Arm, key: str) -> float | None:
    """The mean of ``last_values``, None without any."""
    values = last_values(arm, key)
    return sum(values) / len(values) if values else None


def most_steps(arm: Arm) -> int:
    """The steps of the run that went furthest."""
    return max(len(rows) for rows in arm.runs)


def facts(study: Study) -> list[str]:
    """The size of the run in a few words each."""
    found = []
    for arm in study.arms:
        tokens = last_mean(arm, "sampled_tokens")
        size = f", {compact(tokens)} sampled tokens" if tokens is not None else ""
        found.append(f"{arm.name}: {most_steps(arm):,} steps{size}")
    problems = number(study.evaluation.get("problems"))
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
    """The comparison that matters most: the process arm's, on greedy answers, where there is one; else the best."""

    def rank(pair: Comparison) -> tuple[bool, bool, bool, float]:
        return pair.a != arm, pair.metric != "greedy", pair.metric != pairs[0].metric, -pair.mean

    return min(pairs, key=rank, default=None)


def _first_few(names: list[str]) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
