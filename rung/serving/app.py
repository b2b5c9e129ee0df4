"""The routes of `rung serve`: a request is read, its solutions wait for their turn, the scores go back."""

import asyncio
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm.errors import UserError
from prm.scores import Aggregation
from rung.serving.batcher import Batcher, Scored
from rung.serving.config import Limits
from rung.serving.metrics import Metrics
from rung.serving.wire import (
    RerankRequest,
    ScoreRequest,
    documents_to_score,
    rerank_answer,
    score_answer,
    solutions_to_score,
)
from rung.web.guard import Refusal
from rung.web.page import load_page
from rung.web.refusals import explain_errors
from verifiers.solution import Solution

if TYPE_CHECKING:
    from fastapi import FastAPI, Request

SCORE = ("/v1/score",)
RERANK = ("/v1/rerank", "/rerank", "/v2/rerank")  # as vLLM has it, so that Cohere's and Jina's clients find theirs
OPEN = frozenset({"/", "/health"})  # no key needed: nothing of anybody's is told there
PATHS = (*SCORE, *RERANK, *OPEN, "/metrics", "/openapi.json")


@dataclass
class Service:
    """A model being served. ``stopping`` is set once, when the server has been asked to end."""

    model: str
    batcher: Batcher
    metrics: Metrics
    limits: Limits
    aggregate: Aggregation
    stopping: bool = False

    def refuse_when_stopping(self, path: str) -> None:
        """Refusal 503 for new work once the server stops; looking at it still works."""
        if self.stopping and path in (*SCORE, *RERANK):
            raise Refusal(503, "this server is stopping; send the request to another", retry_after=5, closes=True)

    def stop(self) -> None:
        """From now on only finish what was accepted."""
        self.stopping = True

    def idle(self) -> bool:
        """Whether everything that was accepted has been answered."""
        return self.batcher.unanswered == 0


def build_app(service: Service) -> "FastAPI":
    """The FastAPI application; wrap it in a Guard, which bounds and admits what comes in."""
    from fastapi import FastAPI, Request, Response
    from fastapi.responses import HTMLResponse, JSONResponse

    app = FastAPI(title="Rung", summary=f"Step scores by {service.model}", docs_url=None, redoc_url=None)
    page, headers = load_page(Path(__file__).parent)

    async def score(body: ScoreRequest, request: Request) -> JSONResponse:
        solutions = solutions_to_score(body, service.limits)
        scored = await _scored(service, solutions, request)
        return JSONResponse(score_answer(solutions, scored, body.aggregate or service.aggregate, service.model))

    async def rerank(body: RerankRequest, request: Request) -> JSONResponse:
        solutions = documents_to_score(body, service.limits)
        scored = await _scored(service, solutions, request)
        return JSONResponse(rerank_answer(body, solutions, scored, service.aggregate, service.model))

    async def health() -> JSONResponse:
        state = "stopping" if service.stopping else "ok"
        report = {"status": state, "model": service.model, "waiting": service.batcher.waiting}
        return JSONResponse(report, status_code=503 if service.stopping else 200)

    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def front() -> HTMLResponse:
        return HTMLResponse(page, headers=headers)

    for paths, endpoint, method in (
        (SCORE, score, "POST"),
        (RERANK, rerank, "POST"),
        (("/health",), health, "GET"),
        (("/metrics",), metrics, "GET"),
    ):
        for path in paths:
            app.add_api_route(path, endpoint, methods=[method], response_model=None)
    app.add_api_route("/", front, methods=["GET"], response_model=None, include_in_schema=False)
    explain_errors(app)
    return app


async def _scored(service: Service, solutions: Sequence[Solution], request: "Request") -> Scored:
    """The scores when their turn has come; a client that goes away meanwhile takes its solutions out of the queue."""
    answer = service.batcher.submit(solutions)
    gone = asyncio.ensure_future(request.receive())  # the body is here already, so what comes next is the end
    try:
        waiting: set[asyncio.Future[Any]] = {answer, gone}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise Refusal(499, "the client went away")
        return answer.result()
    except (Refusal, UserError):
        raise
    except Exception as error:
        traceback.print_exception(error, file=sys.stderr)
        raise Refusal(500, f"scoring failed ({type(error).__name__}); the server's log has more") from error
    finally:
        answer.cancel()
        gone.cancel()
