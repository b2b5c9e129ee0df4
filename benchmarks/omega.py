"""What OmegaPRM's binary search saves over rolling out from every step, and what it costs in labels.

    python -m benchmarks.omega --policy runs/demo/sft/model --problems 300

Samples solutions of built-in problems and labels the wrong ones by flat Monte Carlo and by OmegaPRM, whose trees also
know the right ones of the same problem. Prints, for each, roll-outs and sampled tokens per first error found, and how
often that is the first error that an exact check of every step finds. A Markdown table for benchmarks/RESULTS.md.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass

from lm.engine import Sampling, TransformersEngine
from lm.models import load_causal_lm, load_tokenizer
from lm.torch_setup import prepare_torch
from prm.consensus import agreement, first_wrong
from prm.labelling import Cost, monte_carlo_labels, symbolic_labels
from prm.omega import omega_labels
from prm.problems import ProblemsConfig, load_problems
from prm.rollouts import Roller, Sample
from prm.sample import sample_solutions
from prm.scores import LabeledSolution
from verifiers.verify import verify_solution


@dataclass(frozen=True)
class Outcome:
    """One labeller on the wrong samples (W of them): what it said, what it took."""

    name: str
    items: list[LabeledSolution]
    cost: Cost
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="runs/demo/sft/model")
    parser.add_argument("--problems", type=int, default=300)
    parser.add_argument("--samples", type=int, nargs="+", default=[1, 4], help="solutions of each problem")
    parser.add_argument("--rollouts", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--levels", type=int, nargs="+", default=[2, 3, 4], help="of the problems, longest 4")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    prepare_torch(0, arguments.threads)
    tokenizer = load_tokenizer(arguments.policy)
    policy = load_causal_lm(arguments.policy, "float32")
    engine = TransformersEngine(policy, tokenizer, 512)
    source = ProblemsConfig(levels=tuple(arguments.levels))
    problems = [e.problem for e in load_problems(source, "validation", arguments.problems)]
    for n in arguments.samples:
        drawn = sample_solutions(engine, tokenizer, problems, Sampling(n=n), 1)
        samples = [Sample(solution, completion.finish == "stop") for solution, completion in drawn]
        for rollouts in arguments.rollouts:
            roller = Roller(engine, tokenizer, Sampling(n=rollouts))
            wrong = [i for i, s in enumerate(samples) if s.finished and not verify_solution(s.solution).correct]
            print(f"\n{len(samples)} solutions, {n} a problem; {rollouts} roll-outs a prefix")
            report([samples[i] for i in wrong], run(roller, samples, wrong))


def run(roller: Roller, samples: Sequence[Sample], wrong: Sequence[int]) -> list[Outcome]:
    began = time.perf_counter()
    flat, flat_cost = monte_carlo_labels(roller, [samples[i] for i in wrong], 2)
    middle = time.perf_counter()
    omega = omega_labels(roller, samples, 2)
    end = time.perf_counter()
    return [
        Outcome("flat Monte Carlo", flat, flat_cost, middle - began),
        Outcome("OmegaPRM", [omega.labeled[i] for i in wrong], omega.cost, end - middle),
    ]


def report(samples: Sequence[Sample], outcomes: Sequence[Outcome]) -> None:
    """The table of one setting."""
    exact = [symbolic_labels(sample.solution, built_in=True) for sample in samples]
    steps = sum(len(sample.solution.steps) for sample in samples) / max(1, len(samples))
    print(f"{len(samples)} of them are wrong, of {steps:.1f} steps\n")
    print(
        "| labeller | roll-outs | tokens | errors found | roll-outs each | tokens each | exact % | judged | kappa | s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for outcome in outcomes:
        pairs = [(first_wrong(x), first_wrong(y)) for x, y in zip(outcome.items, exact, strict=True)]
        found = [(ours, theirs) for ours, theirs in pairs if ours >= 0]
        each = max(1, len(found))
        compared = agreement(exact, outcome.items)
        print(
            f"| {outcome.name} | {outcome.cost['rollouts']:,} | {outcome.cost['tokens']:,} | {len(found)} | "
            f"{outcome.cost['rollouts'] / each:.1f} | {outcome.cost['tokens'] / each:.0f} | "
            f"{100 * sum(ours == theirs for ours, theirs in found) / each:.1f} | "
            f"{compared.both:,} | {compared.kappa:.3f} | {outcome.seconds:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
