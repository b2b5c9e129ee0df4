"""``prm=symbolic``: the check of a step's mathematics in the place of a reward model. No weights, no training."""

from collections.abc import Sequence

import numpy as np

from prm.labelling import symbolic_labels
from prm.scorer import Advance, empty_step
from prm.scores import StepScores
from verifiers.families import is_built_in
from verifiers.solution import Solution


class SymbolicPRM:
    """1 for a step that holds, 0 for one that fails; 0.5, and named in ``StepScores.unsaid``, where it cannot tell.

    A built-in problem has an exact check of every step, which starts from the gold answer: the ceiling of any PRM, and
    an oracle where it ranks solutions. Any other problem's steps are judged by the equations that they state
    (``verifiers.steps``), without a look at the answer.
    """

    def score(self, solutions: Sequence[Solution], advance: Advance | None = None) -> list[StepScores]:
        """As ``StepPRM.score``."""
        found = []
        for solution in solutions:
            labels = symbolic_labels(solution, is_built_in(solution.problem)).labels
            unsaid = tuple(i for i, label in enumerate(labels) if label is None)
            found.append(StepScores(np.array([0.5 if x is None else x for x in labels]), unsaid=unsaid))
            if advance is not None:
                advance(1)
        return found

    def measure(self, solutions: Sequence[Solution]) -> list[int | str]:
        """As ``StepPRM.measure``: a step counts as one token, and only an empty one is in the way."""
        return [empty_step(solution) or max(1, len(solution.steps)) for solution in solutions]
