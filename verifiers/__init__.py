"""Is the final answer right?  Exact, bounded and free of torch: nothing here imports a model or evaluates text."""

from typing import TYPE_CHECKING, Any

from verifiers.choices import extract_choice
from verifiers.equal import Decision, decide, equal
from verifiers.extract import DEFAULT_RULES, Extraction, Rule, extract_answer
from verifiers.policy import DEFAULT_POLICY, Policy
from verifiers.rational import evaluate
from verifiers.solution import Problem, Reason, Solution, Step, Verdict
from verifiers.split import split_steps
from verifiers.steps import StepCheck, check_step
from verifiers.verify import verify, verify_solution

if TYPE_CHECKING:
    from verifiers.pool import verify_many

__all__ = [
    "DEFAULT_POLICY",
    "DEFAULT_RULES",
    "Decision",
    "Extraction",
    "Policy",
    "Problem",
    "Reason",
    "Rule",
    "Solution",
    "Step",
    "StepCheck",
    "Verdict",
    "check_step",
    "decide",
    "equal",
    "evaluate",
    "extract_answer",
    "extract_choice",
    "split_steps",
    "verify",
    "verify_many",
    "verify_solution",
]


def __getattr__(name: str) -> Any:
    if name == "verify_many":  # imports subprocess and selectors, which a single answer does not need
        from verifiers.pool import verify_many

        return verify_many
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
