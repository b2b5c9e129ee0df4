"""What travels: the requests' shapes, the limits they keep to, the solutions in them, and the answers."""

import uuid
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from prm.scores import Aggregation
from rung.serving.batcher import Scored
from rung.serving.config import Limits
from rung.web.guard import Refusal
from verifiers.solution import Problem, Solution
from verifiers.split import Separator, join_steps, split_steps, steps_at


class Spans(BaseModel):
    """A text whose steps are spans of it: [start, end) in characters (code points), in order."""

    model_config = ConfigDict(extra="forbid", strict=True)
    text: str
    steps: list[list[int]]


class ScoreRequest(BaseModel):
    """/v1/score: solutions of one question, each a text (cut into steps), a list of steps, or a text with spans."""

    model_config = ConfigDict(extra="forbid", strict=True)
    question: str
    solutions: list[str | list[str] | Spans] = Field(min_length=1)
    separator: Separator = "line"
    aggregate: Aggregation | None = None
    model: str | None = None


class Document(BaseModel):
    """A document as an object, as Cohere's clients send it."""

    text: str


class RerankRequest(BaseModel):
    """/v1/rerank in the shape of Cohere, Jina and vLLM; fields of theirs that mean nothing here are ignored."""

    model_config = ConfigDict(strict=True)
    query: str
    documents: list[str | Document] = Field(min_length=1)
    top_n: int | None = Field(default=None, ge=0)
    return_documents: bool | None = None  # null is what clients send for what nobody set: the documents come back
    separator: Separator = "line"
    model: str | None = None


def solutions_to_score(request: ScoreRequest, limits: Limits) -> list[Solution]:
    """The request's solutions; Refusal 413 over a limit, 422 for a blank step or spans that do not fit the text."""
    _count("solutions", len(request.solutions), limits.solutions)
    solutions = []
    for index, given in enumerate(request.solutions):
        try:
            if isinstance(given, str):
                text, steps = given, split_steps(given, request.separator)
            elif isinstance(given, list):
                if blank := [i for i, step in enumerate(given) if not step.strip()]:
                    raise ValueError(f"step {blank[0]} is blank")
                text, steps = join_steps(given, request.separator)
            else:
                text, steps = given.text, steps_at(given.text, given.steps)
        except ValueError as error:
            raise Refusal(422, f"solutions[{index}]: {error}") from None
        solutions.append(Solution(Problem(f"solutions[{index}]", request.question, ""), text, steps))
        _check(solutions[-1], limits)
    return solutions


def documents_to_score(request: RerankRequest, limits: Limits) -> list[Solution]:
    """The request's documents as solutions of its query; Refusal 413 over a limit."""
    _count("documents", len(request.documents), limits.solutions)
    solutions = []
    for index, document in enumerate(request.documents):
        text = document if isinstance(document, str) else document.text
        problem = Problem(f"documents[{index}]", request.query, "")
        solutions.append(Solution(problem, text, split_steps(text, request.separator)))
        _check(solutions[-1], limits)
    return solutions


def _check(solution: Solution, limits: Limits) -> None:
    where = solution.problem.id
    try:
        (solution.problem.question + solution.text).encode()
    except UnicodeEncodeError:  # JSON can spell half of a surrogate pair, which is no character
        raise Refusal(422, f"{where} or its question holds half of a surrogate pair; send valid Unicode") from None
    _count(f"{where}: steps", len(solution.steps), limits.steps)
    size = len(solution.problem.question) + len(solution.text)
    _count(f"{where} with its question: characters", size, limits.characters)


def _count(what: str, count: int, limit: int) -> None:
    if count > limit:
        raise Refusal(413, f"{what}: {count}, at most {limit} are served in one request; send less at once")


def score_answer(solutions: Sequence[Solution], scored: Scored, aggregate: Aggregation, model: str) -> dict[str, Any]:
    """What /v1/score answers: for each solution its score and its steps, each with P(right | the steps before it)."""
    rows = [
        {
            "score": scores.aggregate(aggregate),
            "step_scores": scores.probabilities.tolist(),
            "steps": [step.text for step in solution.steps],
        }
        | ({"unsaid_steps": list(scores.unsaid)} if scores.unsaid else {})
        | ({"outcome": True} if scores.outcome else {})
        for solution, scores in zip(solutions, scored.scores, strict=True)
    ]
    return {
        "id": f"score-{uuid.uuid4().hex}",
        "model": model,
        "aggregate": aggregate,
        "solutions": rows,
        "usage": {"total_tokens": scored.tokens},
    }


def rerank_answer(
    request: RerankRequest, solutions: Sequence[Solution], scored: Scored, aggregate: Aggregation, model: str
) -> dict[str, Any]:
    """What /v1/rerank answers: the ``top_n`` best documents (0 or null: all), best first; equal ones in their order."""
    relevance = [scores.aggregate(aggregate) for scores in scored.scores]
    order = sorted(range(len(relevance)), key=lambda i: -relevance[i])
    results: list[dict[str, Any]] = [
        {"index": i, "relevance_score": relevance[i]}
        | ({"document": {"text": solutions[i].text}} if request.return_documents is not False else {})
        for i in order[: request.top_n or None]
    ]
    return {
        "id": f"rerank-{uuid.uuid4().hex}",
        "model": model,
        "results": results,
        "usage": {"total_tokens": scored.tokens},
    }
