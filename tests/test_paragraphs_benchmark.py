"""benchmarks.paragraphs: what a joined step is labelled, by hand."""

import random

from benchmarks.paragraphs import joined
from prm.scores import LabeledSolution
from verifiers.solution import Problem, Solution
from verifiers.split import join_steps


def test_a_paragraph_is_wrong_where_a_step_in_it_is_and_right_where_all_are() -> None:
    class Even(random.Random):
        def uniform(self, a: float, b: float) -> float:
            return (a + b) / 2

    labels = (1.0, 1.0, None, 1.0, None, 0.0, None)
    text, steps = join_steps(["four"] * 7, "paragraph")
    given = LabeledSolution(
        Solution(Problem("p", "q", ""), text, steps), labels, tuple("h" if x else None for x in labels)
    )
    found = joined(given, 9, Even())
    assert found.solution.text == "four four\n\nfour four\n\nfour four\n\nfour"
    assert found.labels == (1.0, None, 0.0, None)
    assert found.origins == ("joined", None, "joined", None)
    assert found.first_error() == 2
