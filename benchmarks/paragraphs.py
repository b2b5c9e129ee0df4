"""Held-out solutions in ProcessBench's shape: steps of a sentence or two joined to paragraphs.

    python -m benchmarks.paragraphs RUN/validation.jsonl paragraphs.jsonl

reads the solutions that `rung prm` held out and writes them with longer steps, so that a threshold for long steps can
be chosen without a look at a test: `rung eval processbench paragraphs.jsonl gsm8k_dev.jsonl.gz
threshold=tune:paragraphs`.
"""

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

from prm.scores import LabeledSolution, read_labeled, write_labeled
from verifiers.solution import Solution
from verifiers.split import join_steps


def joined(item: LabeledSolution, characters: int, rng: random.Random) -> LabeledSolution:
    """The solution with consecutive steps made one, until it has half as many ``characters`` or up to 1.5 times.

    A step is wrong where one of those in it is, and right where all are.
    """
    texts, labels = list[str](), list[float | None]()
    start, wanted = 0, characters * rng.uniform(0.5, 1.5)
    for end in range(1, len(item.labels) + 1):
        text = " ".join(step.text for step in item.solution.steps[start:end])
        if len(text) >= wanted or end == len(item.labels):
            texts.append(text)
            labels.append(_least(item.labels[start:end]))
            start, wanted = end, characters * rng.uniform(0.5, 1.5)
    text, steps = join_steps(texts, "paragraph")
    origins = tuple(None if label is None else "joined" for label in labels)
    return LabeledSolution(Solution(item.solution.problem, text, steps), tuple(labels), origins)


def _least(labels: Sequence[float | None]) -> float | None:
    known = [label for label in labels if label is not None]
    return min(known) if known and (min(known) == 0 or len(known) == len(labels)) else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("validation", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--characters", type=int, default=200, help="of a paragraph, on average")
    arguments = parser.parse_args()
    rng = random.Random(0)
    found = [joined(item, arguments.characters, rng) for item in read_labeled(arguments.validation)]
    wrong = sum(item.first_error() >= 0 for item in found)
    count = write_labeled(arguments.out, found)
    print(f"{arguments.out}: {count} solutions, {wrong} of them wrong, {sum(len(i.labels) for i in found)} steps")


if __name__ == "__main__":
    main()
