"""A served process reward model, used from Python as if it were loaded here; needs nothing but the standard library."""

import http.client
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from lm.errors import UserError
from prm.scores import StepScores
from verifiers.solution import Solution

_TOGETHER = 32  # solutions of one question in a request
_TRY_AGAIN = (429, 503)  # the server is full, or it stops and another will take its place


@dataclass(frozen=True)
class Ranked:
    """A document's place in the list that was sent, and how well it scored."""

    index: int
    score: float


class Client:
    """``score`` as a loaded reward model has it, of one behind ``rung serve``, and ``rerank``.

    ``timeout`` is for one request, in seconds. A server that is full, stops, or cannot be reached is asked again, as it
    says or ever more slowly, for ``patience`` seconds in all; then, and where it refuses a request, UserError.
    Up to ``connections`` requests are under way at a time. Threads may share a client.

        [scores] = Client("http://127.0.0.1:8000").score([solution])
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        timeout: float = 60.0,
        patience: float = 300.0,
        connections: int = 8,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"{url!r} is no server's address; give one such as http://127.0.0.1:8000")
        self._url, self._parts = url, parts
        self._headers: dict[str, str | bytes] = {"Content-Type": "application/json"}
        self._headers |= {"Authorization": f"Bearer {api_key}".encode()} if api_key else {}
        self._timeout, self._patience, self._connections = timeout, patience, connections

    def score(self, solutions: Sequence[Solution], advance: Callable[[int], None] | None = None) -> list[StepScores]:
        """P(step right | the steps before it) of every step; steps travel as spans of their text, as they are."""
        requests = list(_requests(solutions))
        scores: list[StepScores] = []
        with ThreadPoolExecutor(self._connections) as pool:
            for rows in pool.map(lambda request: self._ask("/v1/score", request, "solutions"), requests):
                scores += [
                    StepScores(
                        np.array(row["step_scores"]), row.get("outcome", False), tuple(row.get("unsaid_steps", ()))
                    )
                    for row in rows
                ]
                if advance is not None:
                    advance(len(rows))
        return scores

    def rerank(self, question: str, documents: Sequence[str], top_n: int | None = None) -> list[Ranked]:
        """The ``top_n`` best (None: all) of the texts of solutions to a question, best first."""
        request = {"query": question, "documents": list(documents), "top_n": top_n, "return_documents": False}
        results = self._ask("/v1/rerank", request, "results")
        return [Ranked(result["index"], result["relevance_score"]) for result in results]

    def _ask(self, path: str, request: dict[str, Any], holds: str) -> list[Any]:
        """The list that the answer to one request ``holds``, asked again while that may help."""
        body, deadline, pause = json.dumps(request).encode(), time.monotonic() + self._patience, 0.1
        while True:
            try:
                status, headers, text = self._post(path, body)
            except (OSError, http.client.HTTPException) as error:
                status, reason, wait = 0, f"does not answer ({error or type(error).__name__})", pause
            else:
                found = _list(text, holds) if status == 200 else None
                if found is not None:
                    return found
                reason = f"answers {status}: {_message(text)}"
                wait = _wait(headers.get("retry-after", ""), pause) if status in _TRY_AGAIN else 0.0
            if wait == 0.0 or time.monotonic() + wait > deadline:
                refused = wait == 0.0 and status != 200
                cure = "see to the request" if refused else "is `rung serve` running, and is this its address?"
                raise UserError(f"{self._url} {reason}; {cure}")
            time.sleep(wait)
            pause = min(2 * pause, 10.0)

    def _post(self, path: str, body: bytes) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Status, headers and body of one request, over a connection of its own."""
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        with closing(kind(self._parts.hostname or "", self._parts.port, timeout=self._timeout)) as connection:
            connection.request("POST", self._parts.path.rstrip("/") + path, body, self._headers)
            response = connection.getresponse()
            return response.status, response.headers, response.read()


def _requests(solutions: Sequence[Solution]) -> Iterator[dict[str, Any]]:
    """Neighbours that share a question travel together."""
    for question, group in groupby(solutions, key=lambda solution: solution.problem.question):
        rows = [{"text": s.text, "steps": [[step.start, step.end] for step in s.steps]} for s in group]
        for start in range(0, len(rows), _TOGETHER):
            yield {"question": question, "solutions": rows[start : start + _TOGETHER]}


def _wait(said: str, otherwise: float) -> float:
    """Seconds to wait; a proxy may say a date, which is not what this server says."""
    return float(said) if said.strip().isdecimal() else otherwise


def _list(text: bytes, name: str) -> list[Any] | None:
    """The list of that name in an answer; None where it is another server's."""
    try:
        found = json.loads(text)[name]
    except (ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, list) else None


def _message(text: bytes) -> str:
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return " ".join(text.decode(errors="replace").split())[:200] or "nothing"
