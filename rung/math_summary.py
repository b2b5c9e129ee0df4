"""From the rows of ``rung eval math``, one a sample, to its figures."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from prm.choice import answer_classes
from rung.statistics import best_of_n_from_pool, bootstrap_interval, majority_at_k, pass_at_k

Row = dict[str, Any]


def summarise(rows: Sequence[Row], seed: int) -> dict[str, Any]:
    """{set: {"problems", "greedy": interval, "pass@k": {k: interval}, ..., "tokens", "reasons"}} of a results file."""
    sets: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        sets[row["set"]].append(row)
    return {name: _summary(own, seed) for name, own in sets.items()}


def _summary(rows: Sequence[Row], seed: int) -> dict[str, Any]:
    problems = list(by_problem(rows).values())
    found: dict[str, Any] = {"problems": len(problems)}
    values: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for group in problems:
        for measure_name, k, value in _measures(group):
            values[measure_name][k].append(value)
    for measure_name, curve in values.items():
        intervals = {str(k): asdict(bootstrap_interval(v, seed)) for k, v in curve.items()}
        found[measure_name] = intervals["1"] if measure_name == "greedy" else intervals
    found["tokens"] = {
        "sampled": sum(row["tokens"] for row in rows),
        "prompts": sum(group[0]["prompt_tokens"] * len({row["sample"] < 0 for row in group}) for group in problems),
        "a_solution": float(np.mean([row["tokens"] for row in rows])),
    }
    found["reasons"] = dict(Counter(row["reason"] for row in rows))
    found["cut"] = float(np.mean([row["finish"] == "length" for row in rows]))
    return found


def by_problem(rows: Sequence[Row]) -> Mapping[tuple[str, str], list[Row]]:
    """The rows of each problem, under (benchmark, id), in the order of the file."""
    groups: defaultdict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["set"], row["id"]].append(row)
    return groups


def _measures(group: Sequence[Row]) -> Iterator[tuple[str, int, float]]:
    """(measure, k, value in [0, 1]) of one problem's samples, k = 1, 2, 4, ..., all."""
    drawn = [row for row in group if row["sample"] >= 0]
    for row in group:
        if row["sample"] < 0:
            yield "greedy", 1, float(row["correct"])
    if not drawn:
        return
    right = [row["correct"] for row in drawn]
    answers = answer_classes([row["predicted"] for row in drawn])
    n = len(drawn)
    for k in sorted({*(2**i for i in range(n.bit_length()) if 2**i < n), n}):
        yield "pass@k", k, pass_at_k(n, sum(right), k)
        yield "majority@k", k, majority_at_k(answers, right, k)
        if "score" in drawn[0]:
            yield "best_of_k", k, best_of_n_from_pool([row["score"] for row in drawn], right, k)


def table(summary: Mapping[str, Any]) -> Iterator[str]:
    """Lines for a terminal: per cent with 95 % intervals, and what it took."""
    for name, found in summary.items():
        told = ", ".join(f"{count} {reason}" for reason, count in found["reasons"].items())
        yield f"{name}: {found['problems']} problems; {told}; {100 * found['cut']:.1f} % cut off"
        if "greedy" in found:
            yield f"  {'greedy':<12} {_percent(found['greedy'])}"
        for measure_name, said in (("pass@k", "pass@"), ("majority@k", "majority@"), ("best_of_k", "best of ")):
            for k, interval in found.get(measure_name, {}).items():
                yield f"  {said + k:<12} {_percent(interval)}"
        spent = found["tokens"]
        yield f"  {spent['sampled']:,} tokens sampled ({spent['a_solution']:.0f} a solution), {spent['prompts']:,} read"


def _percent(interval: Mapping[str, float]) -> str:
    return f"{100 * interval['mean']:.1f} % [{100 * interval['low']:.1f}, {100 * interval['high']:.1f}]"
