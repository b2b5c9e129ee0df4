"""What the rollouts of a step look like, in numbers."""

from collections.abc import Sequence

import numpy as np

from prm.scores import StepScores
from rl.batch import Rollout
from rl.losses import Metrics
from verifiers.solution import Verdict


def rollout_metrics(rollouts: Sequence[Rollout], verdicts: Sequence[Verdict], scores: Sequence[StepScores]) -> Metrics:
    """What the rollouts of a step look like; shares and means over rollouts."""
    share = {
        name: float(np.mean([v.reason == reason for v in verdicts]))
        for name, reason in (("no_answer", "no answer"), ("unparsable", "unparsable"), ("timeout", "timeout"))
    }
    return {
        "accuracy": float(np.mean([v.correct for v in verdicts])),
        "prm_score": float(np.mean([s.aggregate("min") for s in scores])),
        "response_length": float(np.mean([len(r.completion.token_ids) for r in rollouts])),
        "steps_per_solution": float(np.mean([len(r.solution.steps) for r in rollouts])),
        "truncated": float(np.mean([r.completion.finish == "length" for r in rollouts])),
        **share,
    }
