"""rung.client in front of servers that are not `rung serve`: what they say is a line, never a crash or a score."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from lm.errors import UserError
from rung.client import Client, Ranked


@contextmanager
def answering(*answers: tuple[int, bytes, dict[str, str]]) -> Iterator[str]:
    """A server that gives these answers one after the other, the last of them for ever."""
    left: list[tuple[int, bytes, dict[str, str]]] = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, body, headers = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Silence."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b"[]", b'{"results": 3}', b'{"data": []}', b"\xff"])
def test_another_server_s_answer_is_none(body: bytes) -> None:
    with answering((200, body, {})) as url, pytest.raises(UserError, match=r"answers 200: .*is this its address\?"):
        Client(url).rerank("q", ["a"])


def test_a_proxy_that_says_a_date_is_asked_again() -> None:
    late = (503, b"busy", {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"})
    with answering(late, (200, b'{"results": [{"index": 0, "relevance_score": 0.5}]}', {})) as url:
        assert Client(url).rerank("q", ["a"]) == [Ranked(0, 0.5)]
    with answering(late) as url, pytest.raises(UserError, match="answers 503: busy"):
        Client(url, patience=0.2).rerank("q", ["a"])
