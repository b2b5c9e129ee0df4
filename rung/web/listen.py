"""A socket, and a server on it that ends well: what was accepted is finished, what comes later is told so."""

import asyncio
import resource
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

from lm.errors import UserError

_BACKLOG = 4096  # connections that may wait to be accepted
_LAST_WORDS = 5  # seconds at the end for requests still under way, such as a body that never arrives


def open_socket(host: str, port: int) -> socket.socket:
    """A listening socket (port 0: any free one); UserError where the address is taken or not ours."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"cannot listen on {host} port {port}: {reason}; choose another host=... or port=..."
        ) from error


def address(sock: socket.socket) -> str:
    """Where a browser finds it."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run_server(
    app: Any,
    sock: socket.socket,
    *,
    stopping: Callable[[], None],
    idle: Callable[[], bool],
    header_seconds: float = 20.0,
) -> None:
    """Serve until SIGTERM or Ctrl-C; then ``stopping()`` is called once and serving goes on until ``idle()``.

    What is still under way then has five seconds. A second signal does not wait. A connection that has not sent a
    request's head within ``header_seconds`` is closed.
    """
    import uvicorn
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    allow_many_connections()

    class Server(uvicorn.Server):
        asked = 0

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            self.asked += 1
            if self.asked == 1:
                stopping()
            else:
                self.should_exit = self.force_exit = True

        async def on_tick(self, counter: int) -> bool:
            return await super().on_tick(counter) or (self.asked > 0 and idle())

    protocol: Any = AutoHTTPProtocol

    class Impatient(protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self.loop.call_later(header_seconds, self.close_if_silent)

        def close_if_silent(self) -> None:
            if self.cycle is None:
                self.transport.close()

    config = uvicorn.Config(
        app,
        http=Impatient,
        lifespan="off",
        ws="none",
        log_level="error",
        access_log=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=_LAST_WORDS,
    )
    Server(config).run(sockets=[sock])


def allow_many_connections() -> None:
    """Raise the number of files this process may have open to what the system allows: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
