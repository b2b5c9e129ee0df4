"""A real server process for tests: a tiny random PRM behind `rung serve`, and plain HTTP to talk to it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForTokenClassification

from lm.checkpoint import save_model
from lm.models import ModelConfig, build_causal_lm
from lm.tokenizer import train_tokenizer

ROOT = Path(__file__).resolve().parents[2]
LINES = ["3+4=7 eggs", "7-2=5 eggs", "#### 5"]


def save_tiny_prm(folder: Path, *, width: int = 32, positions: int = 512) -> str:
    """A random two-class Llama and a tokenizer, as `load_prm` reads them."""
    tokenizer = train_tokenizer(["How many eggs? " + "\n".join(LINES)], 280)
    sizes = ModelConfig(hidden_size=width, layers=1, heads=2, intermediate_size=48, max_positions=positions)
    config = build_causal_lm(sizes, tokenizer).config
    config.num_labels = 2
    torch.manual_seed(0)
    save_model(folder, AutoModelForTokenClassification.from_config(config))
    tokenizer.save_pretrained(folder)
    return str(folder)


class Process:
    """A running verb that says where it listens."""

    def __init__(self, *arguments: str, env: dict[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "rung", *arguments, "port=0"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"} | (env or {})
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert " at http://" in line, (line, self.process.communicate(timeout=30))
        self.url = line.split(" at ")[1].split()[0]
        self.host, port = self.url.removeprefix("http://").partition("/")[0].split(":")
        self.port = int(port)

    def connect(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout=120)

    def send(self, data: bytes) -> tuple[int, dict[str, str], Any]:
        """One request as raw bytes over a connection of its own."""
        with self.connect() as sock:
            sock.sendall(data)
            return read_response(sock)

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, dict[str, str], Any]:
        return self.send(request_bytes("POST", path, body, **headers))

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], Any]:
        return self.send(request_bytes("GET", path, b"", **headers))

    def stop(self, sig: int = signal.SIGTERM, timeout: float = 120) -> tuple[int, str]:
        """(exit status, standard error) after a signal."""
        self.process.send_signal(sig)
        _, err = self.process.communicate(timeout=timeout)
        return self.process.returncode, err


@contextmanager
def serving(*arguments: str, env: dict[str, str] | None = None) -> Iterator[Process]:
    """A verb's server while the block runs; it must not have complained unless the block stopped it itself."""
    server = Process(*arguments, env=env)
    try:
        yield server
        if server.process.poll() is None:
            status, err = server.stop()
            assert (status, err) == (0, "")
    finally:
        server.process.kill()
        server.process.communicate()


def request_bytes(method: str, path: str, body: Any, **headers: str) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": str(len(data))}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in sent.items() if value)
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + data


def read_response(sock: socket.socket) -> tuple[int, dict[str, str], Any]:
    """(status, headers, JSON or text) of one response with a Content-Length."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        assert piece, f"closed after {data!r}"
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers["content-length"]):
        piece = sock.recv(65536)
        assert piece, "closed in the middle of a body"
        body += piece
    is_json = headers.get("content-type", "").startswith("application/json")
    return int(first.split()[1]), headers, json.loads(body) if is_json else body.decode()


def wait_until(true: Any, seconds: float = 120.0) -> None:
    """Wait for a condition; AssertionError where it does not come."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
