"""Why do searches by steps beat best-of-n, or not? The same ones under better and worse scorers, and what they met.

    python -m benchmarks.search_reasons --run runs/demo --problems 100

Scorers: the run's PRM; the exact check of every step, which knows the answer; and that check with a share of its
verdicts turned round, for the same partial solution always the same ones. All cost what the PRM would read. For each
the table of benchmarks.search, then a row a search. Siblings are the candidates for the next step of one partial
solution that is right so far:

    offered       how often one of the siblings is right
    ranked first  of siblings both right and wrong, how often the best score is a right one's
    in the pool   how often the candidates at the end hold a right solution (beside the table's "right": one is given)
    answers       different ones among the candidates at the end
"""

import argparse
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.search import Point, pool_points, searched, table
from lm.engine import Completion, Finished, Sampling, TransformersEngine, in_groups, request_seeds
from lm.models import default_device, load_causal_lm, load_tokenizer
from lm.torch_setup import prepare_torch
from prm.choice import answer_classes
from prm.labelling import symbolic_labels
from prm.loading import load as load_prm
from prm.problems import ProblemsConfig, load_problems
from prm.scorer import Advance, Scorer
from prm.scores import StepScores
from prm.search import Pools, SearchConfig
from prm.search_tree import Explorer
from verifiers.solution import Problem, Solution
from verifiers.verify import verify_solution

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SEARCHES = (
    SearchConfig("beam_search", 16, 4),
    SearchConfig("beam_search", 16, 16),
    SearchConfig("dvts", 16, 4),
    SearchConfig("dvts", 16, 8),
)
SURE = 0.95  # the score that the check gives to a step that it calls right; 1 - SURE to others
Prefix = tuple[str, ...]  # the steps of a partial solution, the problem's question first


class Remembering(TransformersEngine):
    """Answers the same request once, so that all scorers meet the same samples at the price of one.

    ``max_tokens`` is no part of the request: it bounds a whole solution here, and no step comes near it.
    """

    def __init__(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
        super().__init__(model, tokenizer, 512)
        self.known: dict[tuple[object, ...], list[Completion]] = {}

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        seed: int | Sequence[int],
        finished: Finished | None = None,
    ) -> list[Completion]:
        seeds, n = request_seeds(seed, len(prompts)), sampling.n
        keys = [(tuple(p), s, n, sampling.stop) for p, s in zip(prompts, seeds, strict=True)]
        new = [i for i, key in enumerate(keys) if key not in self.known]
        if new:
            found = super().generate([prompts[i] for i in new], sampling, [seeds[i] for i in new], finished)
            self.known |= dict(zip([keys[i] for i in new], in_groups(found, n), strict=True))
        return [completion for key in keys for completion in self.known[key]]


@dataclass
class Watched:
    """A scorer that keeps the score of every partial solution it was asked for: the PRM, or where ``turned`` is a
    number the exact check with that share of its verdicts turned round."""

    prm: Scorer
    turned: float | None
    seen: dict[Prefix, tuple[float, bool]] = field(default_factory=dict)  # the last step's score; is it right

    def score(self, solutions: Sequence[Solution], advance: Advance | None = None) -> list[StepScores]:
        """As any scorer."""
        rights = [[label == 1.0 for label in symbolic_labels(s, built_in=True).labels] for s in solutions]
        if self.turned is None:
            found = self.prm.score(solutions, advance)
        else:
            found = [self._checked(s, right, self.turned) for s, right in zip(solutions, rights, strict=True)]
        for solution, scores, right in zip(solutions, found, rights, strict=True):
            for i, prefix in enumerate(prefixes(solution)):
                self.seen[prefix] = (float(scores.probabilities[i]), right[i])
        return found

    def measure(self, solutions: Sequence[Solution]) -> list[int | str]:
        """What the PRM would read."""
        return self.prm.measure(solutions)

    def _checked(self, solution: Solution, right: Sequence[bool], turned: float) -> StepScores:
        said = [r != (_draw(prefix) < turned) for r, prefix in zip(right, prefixes(solution), strict=True)]
        return StepScores(np.array([SURE if yes else 1 - SURE for yes in said]))

    def siblings(self) -> Iterator[list[tuple[float, bool]]]:
        """The candidates that followed each partial solution that was right so far."""
        groups: dict[Prefix, list[tuple[float, bool]]] = {}
        for prefix, met in self.seen.items():
            if all(self.seen[prefix[:end]][1] for end in range(2, len(prefix))):
                groups.setdefault(prefix[:-1], []).append(met)
        yield from groups.values()


def prefixes(solution: Solution) -> list[Prefix]:
    """The solution up to each of its steps."""
    steps = (solution.problem.question, *(step.text for step in solution.steps))
    return [steps[:end] for end in range(2, len(steps) + 1)]


def _draw(prefix: Prefix) -> float:
    """A number in [0, 1) that is always the same for a partial solution, and for two of them independent."""
    return int.from_bytes(hashlib.blake2b("\n".join(prefix).encode(), digest_size=6).digest(), "big") / 2**48


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/demo"))
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--levels", type=int, nargs="+", default=[4], help="of the problems: more operations")
    parser.add_argument("--stream", type=int, default=9, help="another number: other problems, to choose settings on")
    parser.add_argument("--samples", type=int, default=32, help="of the pool")
    parser.add_argument("--aggregate", default="product")
    parser.add_argument("--scorers", nargs="+", default=["prm", "0", "0.1", "0.2"], help="prm, or the share turned")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=None)
    arguments = parser.parse_args()
    prepare_torch(arguments.seed, arguments.threads)
    path = str(arguments.run / "sft/model")
    tokenizer, policy = load_tokenizer(path), load_causal_lm(path, "float32").to(default_device())  # type: ignore[arg-type]
    engine, prm = Remembering(policy, tokenizer), load_prm(str(arguments.run / "prm/model"))
    config = ProblemsConfig(levels=tuple(arguments.levels))
    problems = [e.problem for e in load_problems(config, "test", arguments.problems, stream=arguments.stream)]
    for name in arguments.scorers:
        turned = None if name == "prm" else float(name)

        def explorer(scorer: Scorer) -> Explorer:
            return Explorer(
                engine, tokenizer, scorer, problems, sampling=Sampling(max_tokens=96),
                aggregate=arguments.aggregate, seed=arguments.seed,
            )  # fmt: skip

        points = pool_points(explorer(Watched(prm, turned)), arguments.samples, arguments.seed)
        rows = []
        for search in SEARCHES:
            watched = Watched(prm, turned)
            point, pools = searched(explorer(watched), search)
            points.append(point)
            rows.append(met(point, watched, problems, pools))
        print(f"\nscorer: {'the PRM' if turned is None else f'the check, {turned:.0%} of it turned round'}\n")
        print(table(points, arguments.seed))
        print("\n| search | size | offered % | ranked first % | in the pool % | right % | answers |")
        print("|---|---|---|---|---|---|---|", *rows, sep="\n", flush=True)


def met(point: Point, watched: Watched, problems: Sequence[Problem], pools: Pools) -> str:
    """A row of Markdown: what a search had to choose from, what it chose and what it ended with."""
    siblings = list(watched.siblings())
    mixed = [group for group in siblings if len({right for _, right in group}) == 2]
    first = [np.mean([right for score, right in group if score == max(group)[0]]) for group in mixed]
    solutions = [
        [Solution(problems[s.node.problem], s.node.text, ()) for s in pool if s.node.end == "finished"]
        for pool in pools
    ]
    verdicts = [[verify_solution(solution) for solution in group] for group in solutions]
    answers = [len(set(answer_classes([v.predicted for v in group])) - {None}) for group in verdicts]
    shares = (
        np.mean([any(right for _, right in group) for group in siblings]),
        np.mean(first),
        np.mean([any(v.correct for v in group) for group in verdicts]),
        point.right.mean(),
    )
    cells = [point.curve, point.setting, *(f"{100 * share:.1f}" for share in shares), f"{np.mean(answers):.1f}"]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
