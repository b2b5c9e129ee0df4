"""An LLM as the labeller: a verdict on each step from any OpenAI-compatible endpoint, read strictly."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lm.chat import ChatConfig, Cost, Reply, ask_all, ask_until_read, cost_of
from lm.config import key
from lm.errors import UserError
from prm.scores import LabeledSolution
from verifiers.solution import Solution

JUDGE = "judge"
_VERDICTS: Mapping[str, float | None] = {"right": 1.0, "wrong": 0.0, "unsure": None}
_TASK = """You check solutions of mathematics problems, step by step. For each step say whether it is right, given the
problem and the steps before it: "right" if what it states follows or is a sound move, "wrong" if it holds an error of
calculation, logic or understanding, "unsure" if you cannot tell. A step that builds on an error is wrong too."""
_FORMAT = """Answer with one JSON object and nothing else: {%s"1": verdict of step 1, "2": verdict of step 2, ...}, \
with all %d steps, each verdict one of "right", "wrong", "unsure"."""

_HOPELESS = 5  # refusals in a row from the start: not these solutions are at fault, but how they are asked about


@dataclass(frozen=True)
class JudgeConfig(ChatConfig):
    """The endpoint of the judge, and how it is asked."""

    critique: bool = key(True, "let the judge write down its reasoning before its verdicts: dearer, and better")
    schema: bool = key(True, "hold the answer to a JSON schema; false for endpoints that know no response_format")
    start: bool = key(False, "start a vLLM server of the model for the run, as engine.* says; url is then its own")
    attempts: int = key(2, "times to ask where the answer cannot be read", low=1)
    max_steps: int = key(200, "solutions of more steps are not asked about", low=1)


def judge_labels(config: JudgeConfig, solutions: Sequence[Solution]) -> tuple[list[LabeledSolution], Cost]:
    """Labels 1, 0 and None ("unsure") by the judge, ``concurrency`` solutions at a time, in the order they came.

    All None where the answer could not be read in ``attempts`` tries, where the endpoint refuses the solution (too long
    for the model, say), or where it has more than ``max_steps`` steps; the cost counts each. Raises UserError where
    the endpoint cannot be had at all (:func:`lm.chat.ask`), or refuses the first few solutions, each and every one.
    """
    if not config.model:
        raise UserError("judge.model is not set: name the model to ask, as the endpoint calls it")
    cost = cost_of([]) | dict.fromkeys(("unreadable", "refused", "too_long"), 0)
    labeled: list[LabeledSolution] = []
    answers = ask_all(config, solutions, lambda solution: _replies(config, solution), "judge")
    for solution, replies in zip(solutions, answers, strict=True):
        labels, outcome = _labels(replies, solution, config)
        origins = tuple(None if label is None else JUDGE for label in labels)
        labeled.append(LabeledSolution(solution, labels, origins))
        if outcome is not None:
            cost[outcome] += 1
        cost |= {name: cost[name] + spent for name, spent in cost_of(replies).items()}
        if outcome == "refused" and cost["refused"] == cost["requests"] == _HOPELESS:
            raise UserError(f"the judge refuses every solution ({replies[-1].refused}); judge.schema=false may help")
    return labeled, cost


def _replies(config: JudgeConfig, solution: Solution) -> list[Reply]:
    """The judge's answers on one solution, the last of them readable if any is; none where there is nothing to ask."""
    steps = len(solution.steps)
    if not 0 < steps <= config.max_steps:
        return []
    asked, form = messages(solution, config.critique), schema(steps, config) if config.schema else None
    return ask_until_read(config, asked, lambda text: read_verdicts(text, steps), config.attempts, form)


def _labels(
    replies: Sequence[Reply], solution: Solution, config: JudgeConfig
) -> tuple[tuple[float | None, ...], str | None]:
    """(S,) labels, and what came of it where there are none."""
    steps = len(solution.steps)
    nobody: tuple[float | None, ...] = (None,) * steps
    if not replies:
        return nobody, "too_long" if steps > config.max_steps else None
    if replies[-1].text is None:
        return nobody, "refused"
    labels = read_verdicts(replies[-1].text, steps)
    return (nobody, "unreadable") if labels is None else (labels, None)


def messages(solution: Solution, critique: bool) -> list[dict[str, str]]:
    """What the judge is asked: the task, then the problem and the numbered steps."""
    steps = "\n\n".join(f"Step {i}:\n{step.text}" for i, step in enumerate(solution.steps, start=1))
    first = '"critique": what you find, step by step, ' if critique else ""
    form = _FORMAT % (first, len(solution.steps))
    asked = f"Problem:\n{solution.problem.question}\n\nSolution:\n\n{steps}\n\n{form}"
    return [{"role": "system", "content": _TASK}, {"role": "user", "content": asked}]


def schema(steps: int, config: JudgeConfig) -> dict[str, Any]:
    """The JSON schema of the answer: a verdict under each step's number, after the critique where there is one."""
    verdict = {"type": "string", "enum": list(_VERDICTS)}
    properties: dict[str, Any] = {"critique": {"type": "string"}} if config.critique else {}
    properties |= {str(i): verdict for i in range(1, steps + 1)}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def read_verdicts(text: str, steps: int) -> tuple[float | None, ...] | None:
    """(S,) labels of an answer that is one JSON object with a verdict for each step; None where it is anything else.

    What stands around the object (a code fence, thinking aloud) is passed over; what is in it is read to the letter.
    """
    answer = read_object(text)
    wanted = [str(i) for i in range(1, steps + 1)]
    if answer is None or set(answer) - {"critique"} != set(wanted):
        return None
    said = [answer[number] for number in wanted]
    if not all(isinstance(verdict, str) and verdict in _VERDICTS for verdict in said):
        return None
    return tuple(_VERDICTS[verdict] for verdict in said)


def read_object(text: str) -> dict[str, Any] | None:
    """The one JSON object that an answer holds, whatever stands around it; None where there is none to be read."""
    begin, end = text.find("{", text.rfind("</think>") + 1), text.rfind("}")
    try:
        answer = json.loads(text[begin : end + 1], object_pairs_hook=_each_once) if 0 <= begin < end else None
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON lets a name stand twice; a judge that says two things of a step has said nothing."""
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name stands twice")
    return dict(pairs)
