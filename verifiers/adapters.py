"""Reward functions with the signatures that other libraries expect; none of those libraries is imported.

What "could not tell" (``unparsable``, ``timeout``, ``no answer``) earns is the caller's choice: ``unknown``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from verifiers.solution import Problem, Verdict
from verifiers.verify import verify

UNTOLD = frozenset({"unparsable", "timeout", "no answer"})

TrlReward = Callable[..., list[float | None]]


def reward(verdict: Verdict, unknown: float | None = 0.0) -> float | None:
    """1 for a match, 0 for a mismatch, ``unknown`` where the verifier could not tell."""
    if verdict.reason in UNTOLD:
        return unknown
    return 1.0 if verdict.correct else 0.0


def trl_reward(unknown: float | None = None, column: str = "solution") -> TrlReward:
    """A reward function for TRL's ``GRPOTrainer(reward_funcs=...)``; None tells TRL to leave the sample out.

    ``column`` is the data set's column with the gold answers.  Completions may be texts or lists of chat messages.
    """

    def accuracy_reward(completions: Sequence[Any], **columns: Any) -> list[float | None]:
        golds = columns[column]
        return [
            reward(verify(Problem("", "", str(gold)), _text(completion)), unknown)
            for completion, gold in zip(completions, golds, strict=True)
        ]

    return accuracy_reward


def _text(completion: Any) -> str:
    """A completion's text: itself, or the contents of its chat messages."""
    if isinstance(completion, str):
        return completion
    return "\n".join(str(message["content"]) for message in completion)


def verl_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: Mapping[str, Any] | None = None
) -> dict[str, float | str]:
    """verl's ``custom_reward_function``: the score, and the reason to log beside it.

    ``extra_info["question"]``, where given, lets multiple-choice answers name an option by its text.
    """
    question = str((extra_info or {}).get("question", ""))
    verdict = verify(Problem(data_source, question, str(ground_truth)), solution_str)
    return {"score": reward(verdict) or 0.0, "acc": float(verdict.correct), "reason": verdict.reason}


def lm_eval_results(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """lm-evaluation-harness's ``process_results``: exact match of the first result with ``doc["answer"]``."""
    gold = str(doc["answer"] if "answer" in doc else doc["target"])
    verdict = verify(Problem(str(doc.get("id", "")), str(doc.get("question", "")), gold), results[0])
    return {"exact_match": float(verdict.correct), "untold": float(verdict.reason in UNTOLD)}
