"""The door of a server: who may come in, how much they may carry, and how long they may take.

An ASGI middleware, so that a body is bounded while it arrives, before any of it is parsed.
"""

import asyncio
import hmac
import json
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_PORT = re.compile(r":\d*$")
_DISCARDED = 16  # times the limit is read and thrown away, so that a client that only sends still hears the answer
LOCAL = frozenset({"127.0.0.1", "::1", "localhost"})  # addresses that only this machine reaches
_KINDS = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
}
_KINDS |= {413: "too_large", 422: "bad_request", 429: "too_busy", 500: "internal_error", 503: "stopping"}


class Refusal(Exception):
    """A request that is not served: an HTTP status, a line that says why and what helps, seconds to wait before more.

    ``closes`` ends the connection as well, where the rest of the request would otherwise be in the way.
    """

    def __init__(self, status: int, message: str, retry_after: int | None = None, closes: bool = False) -> None:
        super().__init__(message)
        self.status, self.message, self.retry_after, self.closes = status, message, retry_after, closes

    def headers(self) -> dict[str, str]:
        """What goes out with it."""
        headers = {"retry-after": str(self.retry_after)} if self.retry_after is not None else {}
        headers |= {"www-authenticate": "Bearer"} if self.status == 401 else {}
        return headers | ({"connection": "close"} if self.closes else {})

    def body(self) -> dict[str, Any]:
        """{"error": {"message", "type", "code"}}, the shape OpenAI's and vLLM's servers have."""
        kind = _KINDS.get(self.status, "error")
        return {"error": {"message": self.message, "type": kind, "code": self.status}}


@dataclass(frozen=True)
class Guard:
    """Passes a request on to ``app`` with its whole body, or answers it itself.

    ``host`` is where the server listens. On this machine alone and without a key, a request must name this machine: a
    web page elsewhere could otherwise point a name of its own at it and use the reader's browser (DNS rebinding): 403.
    401 without ``api_key`` (except for ``open_paths``), 413 for a body over ``body_bytes`` whatever its headers claim,
    408 for one not there in ``body_seconds``, and what ``refuse()`` raises, as a server that stops does.
    ``observe(path, status, seconds)`` hears of every answer; status 499 is a client that went away.
    """

    app: App
    host: str
    body_bytes: int
    body_seconds: float
    api_key: str | None = None
    open_paths: frozenset[str] = frozenset()
    refuse: Callable[[str], None] | None = None
    observe: Callable[[str, int, float], None] | None = None

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started, status = time.perf_counter(), 499

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            self._admit(scope)
            body = await self._body(scope, receive)
            if body is not None:
                await self.app(scope, _replay(body, receive), noting)
        except Refusal as refusal:
            await answer(noting, refusal)
        finally:
            if self.observe is not None:
                self.observe(scope["path"], status, time.perf_counter() - started)

    def _admit(self, scope: MutableMapping[str, Any]) -> None:
        if self.refuse is not None:
            self.refuse(scope["path"])
        if self.api_key is None and self.host in LOCAL:
            named = _PORT.sub("", _header(scope, b"host").decode("latin-1").lower()).strip("[]")
            if named and named not in LOCAL:
                raise Refusal(403, f"this server is for its own machine, not for {named!r}; see host and api_key_env")
        if self.api_key is None or scope["path"] in self.open_paths:
            return
        scheme, _, given = _header(scope, b"authorization").partition(b" ")
        same = hmac.compare_digest(given.strip(), self.api_key.encode())  # in a time that tells nothing of the key
        if scheme.lower() != b"bearer" or not same:
            raise Refusal(401, "send the API key as 'Authorization: Bearer KEY'", closes=True)

    async def _body(self, scope: MutableMapping[str, Any], receive: Receive) -> bytes | None:
        """The whole body; None where the client went away before it was there."""
        too_large = Refusal(413, f"the body has over {self.body_bytes} bytes; send less at once", closes=True)
        announced = _header(scope, b"content-length")
        announces_more = announced.isdigit() and int(announced) > self.body_bytes
        if announces_more and _header(scope, b"expect").lower() == b"100-continue":
            raise too_large  # the client waits for our word before it sends
        pieces: list[bytes] = []
        size, more = 0, True
        try:
            async with asyncio.timeout(self.body_seconds):
                while more and size <= _DISCARDED * self.body_bytes:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    piece, more = message.get("body", b""), message.get("more_body", False)
                    size += len(piece)
                    if size <= self.body_bytes:
                        pieces.append(piece)
                    else:
                        pieces.clear()
        except TimeoutError:
            if size > self.body_bytes:
                raise too_large from None
            raise Refusal(
                408, f"the body did not arrive within {self.body_seconds:g} s; send it faster or in parts", closes=True
            ) from None
        if size > self.body_bytes:
            raise too_large
        return b"".join(pieces)


async def answer(send: Send, refusal: Refusal) -> None:
    """Send a refusal as JSON."""
    body = json.dumps(refusal.body()).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body))} | refusal.headers()
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


def _replay(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that hands the body over in one piece, and after that says what the connection says."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return waiting.pop() if waiting else await receive()

    return next_message


def _header(scope: MutableMapping[str, Any], name: bytes) -> bytes:
    return next((value for key, value in scope["headers"] if key == name), b"")
