"""The routes of `rung annotate`: the next thing to judge goes out, a checked answer comes back."""

import hashlib
import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from rung.annotation.export import Merge, Neutral, labeled, pairs, rankings, raw
from rung.annotation.store import Store
from rung.annotation.summary import summarize
from rung.annotation.tasks import Task
from rung.web.guard import Refusal
from rung.web.page import load_page
from rung.web.refusals import explain_errors

if TYPE_CHECKING:
    from fastapi import FastAPI

OPEN = frozenset({"/", "/health"})


class Given(BaseModel):
    """What an annotator sends: ratings of S steps, a ranking, or null for a task that is skipped."""

    model_config = ConfigDict(extra="forbid", strict=True)
    annotator: str = Field(min_length=1, max_length=60, pattern=r"^[^\s\x00-\x1f+](?:[^\x00-\x1f+]*[^\s\x00-\x1f+])?$")
    task: str = Field(pattern=r"^\w{1,64}$")
    answer: list[Any] | None
    seconds: float = Field(ge=0, le=86_400)


def build_app(store: Store, *, overlap: int, stop_at_error: bool, merge: Merge, neutral: Neutral) -> "FastAPI":
    """The FastAPI application; wrap it in a Guard. Its functions are plain ones, so that FastAPI runs each in a thread
    of its own and a busy database holds up nobody else."""
    from fastapi import FastAPI, Response
    from fastapi.responses import HTMLResponse, JSONResponse

    app = FastAPI(title="Rung: annotate", docs_url=None, redoc_url=None)
    page, headers = load_page(Path(__file__).parent)

    def shown(task: Task | None, annotator: str) -> JSONResponse:
        answer = {
            "task": None if task is None else show(task, annotator),
            "given": None if task is None else store.answer_of(task.id, annotator),
            "done": store.done(annotator),
            "left": store.left(annotator, overlap),
            "stop_at_error": stop_at_error,
        }
        return JSONResponse(answer, headers={"cache-control": "no-store"})

    def next_task(annotator: str) -> JSONResponse:
        return shown(store.next_task(annotator, overlap), annotator)

    def one_task(task: str, annotator: str) -> JSONResponse:
        return shown(find(store, task), annotator)

    def answer(given: Given) -> JSONResponse:
        check(find(store, given.task), given.answer)
        store.save(given.task, given.annotator, given.answer, given.seconds)
        return JSONResponse({"saved": True})

    def summary() -> JSONResponse:
        return JSONResponse(summarize(store.answers()), headers={"cache-control": "no-store"})

    def download(name: str) -> Response:
        answers = store.answers()
        files = {
            "labels": lambda: (item.to_json() for item in labeled(answers, merge, neutral)),
            "rankings": lambda: rankings(answers),
            "pairs": lambda: pairs(answers),
            "annotations": lambda: raw(answers),
        }
        if name not in files:
            raise Refusal(404, f"no export {name!r}; one of {', '.join(files)}")
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in files[name]())
        return Response(lines, media_type="application/x-ndjson; charset=utf-8")

    def front() -> HTMLResponse:
        return HTMLResponse(page, headers=headers)

    def health() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    for method, path, function in (
        ("GET", "/", front),
        ("GET", "/health", health),
        ("GET", "/api/next", next_task),
        ("GET", "/api/task", one_task),
        ("POST", "/api/answer", answer),
        ("GET", "/api/summary", summary),
        ("GET", "/api/export/{name}.jsonl", download),
    ):
        app.add_api_route(path, function, methods=[method], response_model=None)
    explain_errors(app)
    return app


def find(store: Store, task: str) -> Task:
    """The task, or Refusal 404."""
    found = store.task(task)
    if found is None:
        raise Refusal(404, f"there is no item {task[:40]!r}; reload the page")
    return found


def show(task: Task, annotator: str) -> dict[str, Any]:
    """What an annotator sees: no score and no verdict, which would lead them. Solutions to rank stand in an order of
    each annotator's own, so that no place on the page is favoured; ``index`` is the place in the answer."""
    order = list(range(len(task.candidates)))
    random.Random(hashlib.sha256(f"{task.id} {annotator}".encode("utf-8", "replace")).digest()).shuffle(order)
    problem = task.candidates[0].solution.problem
    return {
        "id": task.id,
        "kind": task.kind,
        "question": problem.question,
        "answer": problem.answer,
        "solutions": [{"index": i, "steps": [s.text for s in task.candidates[i].solution.steps]} for i in order],
    }


def check(task: Task, answer: list[Any] | None) -> None:
    """Refusal 422 unless the answer is one to this task, or null (skipped)."""
    if answer is None:
        return
    if task.kind == "steps":
        steps = len(task.candidates[0].solution.steps)
        known = all(rating is None or (type(rating) is int and rating in (-1, 0, 1)) for rating in answer)
        if len(answer) != steps or not known or all(rating is None for rating in answer):
            raise Refusal(422, f"answer: give {steps} ratings, each 1, 0, -1 or null, and at least one not null")
        return
    listed = [index for place in answer if isinstance(place, list) and place for index in place]
    whole = all(isinstance(place, list) and place for place in answer)
    if not whole or not all(type(i) is int for i in listed) or sorted(listed) != list(range(len(task.candidates))):
        count = len(task.candidates)
        raise Refusal(422, f"answer: give places, best first, that hold each of 0 to {count - 1} once: [[2], [0, 1]]")
