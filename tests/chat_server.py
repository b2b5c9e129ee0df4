"""A small HTTP server of the chat-completions protocol for tests: real sockets, and every way in which one can fail."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[dict[str, Any], int], Any]  # (request, how many came before it) -> what to do


class Served:
    """What the server has seen: requests as parsed, their headers, and how many stood open at once."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.open, self.most_open = 0, 0
        self.lock = threading.Lock()


def message(content: Any, prompt: int = 7, completion: int = 3) -> dict[str, Any]:
    """The body of an answer, as OpenAI and vLLM write it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}


@contextmanager
def serving(answer: Answer) -> Iterator[Served]:
    """Run a server whose ``answer`` says what becomes of each request.

    A dict is sent as JSON with status 200, a str or bytes as they are, an int is the status; any of them in a pair with
    headers. "hang up" resets the connection, and a float is silence for so many seconds.
    """
    served = Served()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with served.lock:
                served.requests.append(body | {"path": self.path})
                served.headers.append(dict(self.headers))
                number = len(served.requests) - 1
                served.open += 1
                served.most_open = max(served.most_open, served.open)
            try:
                what = answer(body, number)
            finally:  # before the reply: the client's next request may come before this thread runs again
                with served.lock:
                    served.open -= 1
            self.reply(what)

        def reply(self, what: Any) -> None:
            status, headers = 200, {}
            if what == "hang up":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                self.close_connection = True
                self.connection.close()
                return
            if isinstance(what, float):
                time.sleep(what)
                what = message("late")
            if isinstance(what, tuple):
                what, headers = what
            if isinstance(what, int):
                status, what = what, {"error": {"message": f"no luck ({what})"}}
            body = what if isinstance(what, bytes) else (what if isinstance(what, str) else json.dumps(what)).encode()
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a client that has given up on us is part of the game

    server = Server(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
