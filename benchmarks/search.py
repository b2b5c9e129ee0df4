"""Accuracy against tokens for each way of searching with a PRM, on the demo's problems: a table and a picture.

    python -m benchmarks.search --run runs/demo --picture docs/search.svg

The argument is the folder of a finished ``rung demo``: its SFT policy writes, its PRM judges. The blind and best-of-n
curves come from one pool of samples a problem, averaged over all its subsets of each size; every other point is a
search of its own. Tokens are means a problem, of policy and PRM together with no cache between requests, and sampled
ones alone, which is what is left where both keep their caches. A point is compared with best-of-n at the same tokens,
read off its curve between two sizes (linear in the logarithm of the tokens), problem by problem.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from lm.checkpoint import write_atomic
from lm.engine import Sampling, TransformersEngine
from lm.models import default_device, load_causal_lm, load_tokenizer
from lm.torch_setup import prepare_torch
from prm.choice import answer_classes
from prm.loading import load as load_prm
from prm.problems import ProblemsConfig, load_problems
from prm.search import Pools, SearchConfig, pick, search
from prm.search_tree import Cost, Explorer
from rung.evaluate_bon import weighted_majority
from rung.statistics import (
    best_of_n_from_pool,
    bootstrap_interval,
    majority_at_k,
    paired_bootstrap,
    pass_at_k,
)
from verifiers.verify import verify_solution

# The size of a step's choice, M, matters as much as the strategy: 8, the default, and others beside it.
SEARCHES = (
    *(SearchConfig("beam_search", n, 8) for n in (8, 16, 32)),
    *(SearchConfig("dvts", n, 8) for n in (16, 32)),  # one tree of dvts is a beam of one
    SearchConfig("beam_search", 16, 4),
    SearchConfig("dvts", 16, 4),
    SearchConfig("beam_search", 16, 16),
    *(SearchConfig("mcts", width=8, simulations=simulations) for simulations in (4, 8, 16)),
    *(SearchConfig("lookahead", n, 8) for n in (8, 16)),
)
DRAWS = 32  # subsets a problem for weighted majority, which has no closed form


@dataclass(frozen=True)
class Point:
    """A strategy at one size: P(right) of each problem (P,), and mean tokens a problem."""

    curve: str
    setting: str
    right: np.ndarray
    sampled: float
    total: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/demo"))
    parser.add_argument("--picture", type=Path, default=Path("docs/search.svg"))
    parser.add_argument("--points", type=Path, default=Path("runs/search.jsonl"), help="points done are not done again")
    parser.add_argument("--problems", type=int, default=150)
    parser.add_argument("--samples", type=int, default=32, help="of the pool")
    parser.add_argument("--minutes", type=float, default=8.0, help="no search is begun later; the next call goes on")
    parser.add_argument("--aggregate", default="product")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=None)
    arguments = parser.parse_args()
    prepare_torch(arguments.seed, arguments.threads)
    began = time.perf_counter()
    explorer = _explorers(arguments)
    asked = (arguments.run, arguments.problems, arguments.aggregate, arguments.seed)
    kept = Kept(arguments.points, " ".join(map(str, asked)))
    points = kept.points(
        f"pool {arguments.samples}", lambda: pool_points(explorer(), arguments.samples, arguments.seed)
    )
    for config in SEARCHES:
        if str(config) not in kept and time.perf_counter() - began > 60 * arguments.minutes:
            continue
        points += kept.points(str(config), lambda config=config: [searched(explorer(), config)[0]])  # type: ignore[misc]
        print(f"# {points[-1].curve} {points[-1].setting}: {time.perf_counter() - began:.0f} s", flush=True)
    print(table(points, arguments.seed))
    write_atomic(arguments.picture, picture(points))


@dataclass(frozen=True)
class Kept:
    """Points that an earlier call with the same ``settings`` measured, a line each group of them."""

    file: Path
    settings: str

    def points(self, name: str, measured: Callable[[], list[Point]]) -> list[Point]:
        """The points kept under ``name``, or else those that ``measured`` makes, which are then kept."""
        if name not in self:
            rows = [asdict(point) | {"right": point.right.tolist()} for point in measured()]
            lines = [*self._lines(), {"settings": self.settings, "name": name, "points": rows}]
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self.file, "".join(json.dumps(line) + "\n" for line in lines))
        return [Point(**row | {"right": np.array(row["right"])}) for row in self._found(name)[0]["points"]]

    def __contains__(self, name: str) -> bool:
        return bool(self._found(name))

    def _found(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self._lines() if (line["settings"], line["name"]) == (self.settings, name)]

    def _lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []


def _explorers(arguments: argparse.Namespace) -> Callable[[], Explorer]:
    """Each call gives the same problems with nothing spent on them."""
    path = str(arguments.run / "sft/model")
    tokenizer = load_tokenizer(path)
    policy = load_causal_lm(path, "float32").to(default_device())  # type: ignore[arg-type]
    engine, scorer = TransformersEngine(policy, tokenizer, 512), load_prm(str(arguments.run / "prm/model"))
    problems = [e.problem for e in load_problems(ProblemsConfig(), "test", arguments.problems, stream=9)]
    aggregate, seed = arguments.aggregate, arguments.seed
    return lambda: Explorer(
        engine, tokenizer, scorer, problems, sampling=Sampling(max_tokens=96), aggregate=aggregate, seed=seed
    )


def pool_points(explorer: Explorer, samples: int, seed: int) -> list[Point]:
    """The curves over n that one pool of samples holds: any right, a majority, a weighted one, the best score."""
    pools = search(explorer, SearchConfig("best_of_n", samples))
    verdicts = [[verify_solution(explorer.solution(s.node)) for s in pool] for pool in pools]
    ended = [[s.node.end == "finished" for s in pool] for pool in pools]
    right = [[v.correct and e for v, e in zip(*group, strict=True)] for group in zip(verdicts, ended, strict=True)]
    answers = [answer_classes([v.predicted for v in group]) for group in verdicts]
    scores = [[s.value for s in pool] for pool in pools]
    rows = list(zip(answers, right, scores, strict=True))
    draw = np.random.default_rng(seed)
    spent = sum(explorer.costs, Cost())
    count = len(pools)
    points = []
    for n in (2**k for k in range(samples.bit_length())):
        subsets = [draw.permutation(samples)[:n].tolist() for _ in range(1 if n == samples else DRAWS)]
        weighted = [np.mean([weighted_majority(a, r, s, chosen) for chosen in subsets]) for a, r, s in rows]
        sampled, scored = spent.sampled / count * n / samples, spent.scored / count * n / samples
        blind = sampled + spent.prefilled / count
        points += [
            Point("oracle", f"{n}", np.array([pass_at_k(samples, sum(r), n) for r in right]), sampled, blind),
            Point("majority", f"{n}", np.array([majority_at_k(a, r, n) for a, r, _ in rows]), sampled, blind),
            Point("weighted majority", f"{n}", np.array(weighted), sampled, blind + scored),
            Point(
                "best of n",
                f"{n}",
                np.array([best_of_n_from_pool(s, r, n) for _, r, s in rows]),
                sampled,
                blind + scored,
            ),
        ]
    return points


def searched(explorer: Explorer, config: SearchConfig) -> tuple[Point, Pools]:
    """What a search is worth and costs, and the candidates that it ended with."""
    pools = search(explorer, config)
    given = [pick(explorer, pool, "best").node for pool in pools]
    # Of these problems a half-written solution has the answer's value in its last line: only a finished one counts.
    right = [node.end == "finished" and verify_solution(explorer.solution(node)).correct for node in given]
    spent, count = sum(explorer.costs, Cost()), len(pools)
    name = f"{config.strategy.replace('_', ' ')}, M = {config.width}"
    setting = f"{config.simulations} simulations" if config.strategy == "mcts" else f"{config.n}"
    return Point(name, setting, np.array(right, float), spent.sampled / count, spent.total / count), pools


def best_of_n_at(points: Sequence[Point], tokens: float, kind: str) -> np.ndarray | None:
    """(P,) what best-of-n is worth at ``tokens`` of the ``kind``; None beyond its curve."""
    curve = sorted((p for p in points if p.curve == "best of n"), key=lambda p: getattr(p, kind))
    for low, high in pairwise(curve):
        a, b = (math.log(getattr(p, kind)) for p in (low, high))
        if a <= math.log(tokens) <= b:
            share = (math.log(tokens) - a) / (b - a)
            return (1 - share) * low.right + share * high.right
    return None


def table(points: Sequence[Point], seed: int) -> str:
    """Markdown: every point with its interval, and searches against best-of-n at the same tokens."""
    lines = ["| strategy | size | sampled | all tokens | right % [95 %] | − best of n, all | − best of n, sampled |"]
    lines.append("|---|---|---|---|---|---|---|")
    for point in sorted(points, key=lambda p: (p.curve, p.total)):
        interval = bootstrap_interval(point.right, seed)
        mean, low, high = (100 * x for x in (interval.mean, interval.low, interval.high))
        gaps = []
        for kind in ("total", "sampled"):
            compared = point.curve not in ("oracle", "majority", "best of n")
            other = best_of_n_at(points, getattr(point, kind), kind) if compared else None
            gap = paired_bootstrap(point.right, other, seed) if other is not None else None
            gaps.append("–" if gap is None else f"{100 * gap.mean:+.1f} [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]")
        lines.append(
            f"| {point.curve} | {point.setting} | {point.sampled:.0f} | {point.total:.0f} | "
            f"{mean:.1f} [{low:.1f}, {high:.1f}] | {gaps[0]} | {gaps[1]} |"
        )
    return "\n".join(lines)


# --- the picture ------------------------------------------------------------------------------------------------------

COLOURS = {
    "best of n": "#3867b0",
    "weighted majority": "#8a63b8",
    "majority": "#8a8a8a",
    "beam search, M = 4": "#e0a08f",
    "beam search, M = 8": "#c8553d",
    "beam search, M = 16": "#8c2f1b",
    "dvts, M = 4": "#8fcbb5",
    "dvts, M = 8": "#2a8f6f",
    "mcts, M = 8": "#d07ab8",
    "lookahead, M = 8": "#c98a1b",
}
PANEL, TALL, LEFT, TOP = 360, 300, 46, 34
STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #555 } .title { font-weight: 600 } .grid { stroke: #8883 }
path { fill: none; stroke-width: 2 } @media (prefers-color-scheme: dark) { text { fill: #ccc } }
</style>"""


def picture(points: Sequence[Point]) -> str:
    """SVG: accuracy against tokens, on the left all tokens, on the right sampled ones, one line a strategy."""
    width, height = 2 * PANEL + 2 * LEFT + 160, TALL + TOP + 46
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">']
    out += ["<title>Accuracy against tokens, by search strategy</title>", STYLE]
    out += _panel(points, "total", LEFT, "tokens a problem, policy and PRM, no caches")
    out += _panel(points, "sampled", 2 * LEFT + PANEL, "sampled tokens a problem")
    for i, (name, colour) in enumerate(COLOURS.items()):
        y = TOP + 16 + 20 * i
        x = 2 * PANEL + 2 * LEFT + 12
        out.append(f'<path d="M{x} {y}h14" stroke="{colour}"/><text x="{x + 20}" y="{y + 4}">{name}</text>')
    return "\n".join([*out, "</svg>\n"])


def _panel(points: Sequence[Point], kind: str, left: int, label: str) -> list[str]:
    shown = [p for p in points if p.curve in COLOURS]
    tokens = [getattr(p, kind) for p in shown]
    low, high = math.log2(min(tokens)) - 0.1, math.log2(max(tokens)) + 0.1
    top = math.ceil(10 * max(p.right.mean() for p in shown)) / 10

    def at(point: Point) -> tuple[float, float]:
        x = left + PANEL * (math.log2(getattr(point, kind)) - low) / (high - low)
        return x, TOP + TALL * (1 - float(point.right.mean()) / top)

    out = [f'<text class="title" x="{left}" y="18">right answers</text>']
    for tick in range(0, round(100 * top) + 1, 10):
        y = TOP + TALL * (1 - tick / 100 / top)
        out.append(f'<path class="grid" d="M{left} {y:.1f}h{PANEL}" style="stroke-width:1"/>')
        out.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{tick}%</text>')
    for power in range(math.ceil(low), math.floor(high) + 1):
        x = left + PANEL * (power - low) / (high - low)
        out.append(f'<text x="{x:.1f}" y="{TOP + TALL + 18}" text-anchor="middle">{2**power:,}</text>')
    out.append(f'<text x="{left + PANEL / 2}" y="{TOP + TALL + 38}" text-anchor="middle">{label}</text>')
    for name in dict.fromkeys(p.curve for p in shown):
        colour = COLOURS[name]
        places = [at(p) for p in sorted(points, key=lambda p: p.total) if p.curve == name]
        line = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places)
        out.append(f'<path d="M{line}" stroke="{colour}"/>{dots}')
    return out


if __name__ == "__main__":
    main()
