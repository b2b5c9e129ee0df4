"""Asking a model behind an OpenAI-compatible endpoint: one POST an answer, with retries, and what it cost."""

import http.client
import json
import os
import random
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from lm.config import key
from lm.errors import UserError
from lm.progress import progress

T = TypeVar("T")
R = TypeVar("R")
Messages = Sequence[Mapping[str, str]]
Cost = dict[str, int]  # what asking took, by name

# An endpoint may move, or turn out to want other manners, in the middle of a run: keys that a resumed run may change.
MANNERS = ("url", "key_variable", "concurrency", "retries", "patience", "timeout", "schema")

_BUSY = {408, 409, 425, 429}  # and every 5xx: worth another try
_OURS = {401, 403, 404}  # no other request will fare better


@dataclass(frozen=True)
class ChatConfig:
    """An OpenAI-compatible endpoint and the model to ask there."""

    url: str = key("http://localhost:8000/v1", "the endpoint, up to and with /v1")
    model: str = key("", "the model's name, as the endpoint calls it")
    key_variable: str = key("OPENAI_API_KEY", "environment variable with the API key; unset: none is sent")
    max_tokens: int = key(2048, "longest answer, in tokens", low=1)
    temperature: float = key(0.0, "of the sampling; 0 is greedy", low=0)
    concurrency: int = key(8, "requests at once", low=1)
    retries: int = key(6, "further tries where the endpoint is busy, away or breaks off", low=0)
    patience: float = key(1.0, "seconds before the first retry; each next waits twice as long, up to a minute", low=0)
    timeout: float = key(120.0, "seconds without a word from the endpoint before a try is given up", low=0.01)


@dataclass(frozen=True)
class Reply:
    """What came back: ``text``, or None where the endpoint ``refused`` this request (400, 413, 422), and why.

    ``prompt_tokens`` and ``completion_tokens`` are as the endpoint counts them, 0 where it does not.
    """

    text: str | None
    refused: str
    prompt_tokens: int
    completion_tokens: int
    tries: int


class _TryAgainError(Exception):
    """This try failed in a way that the next one may not; ``wait`` is what the endpoint asked for, in seconds."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def ask(config: ChatConfig, messages: Messages, schema: Mapping[str, Any] | None = None) -> Reply:
    """One answer to ``messages``; ``schema`` is a JSON schema that the endpoint is told to hold its answer to.

    Tries again and raises UserError as ``post`` does.
    """
    body: dict[str, Any] = {
        "model": config.model,
        "messages": list(messages),
        "max_tokens": config.max_tokens,
        "temperature": config.temperature,
    }
    if schema is not None:
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    said, refused, tries = post(config, "chat/completions", body, _read_chat)
    return Reply(None, refused, 0, 0, tries) if said is None else Reply(said[0], "", said[1], said[2], tries)


def post(config: ChatConfig, path: str, body: Mapping[str, Any], read: Callable[[Any], T]) -> tuple[T | None, str, int]:
    """What ``read`` makes of the JSON that ``config.url``/``path`` answers, or None and why the endpoint refused this
    request (400, 413, 422); and the tries it took. ``read`` may raise ValueError, KeyError, IndexError, TypeError or
    AttributeError for an answer that is not of the protocol.

    Tries again, waiting twice as long each time and as long as the endpoint asks, where it is busy (429), broken (5xx),
    away, silent for ``timeout`` seconds, or answers in no JSON of the protocol. Raises UserError where the last try
    fails too, and at once where no request can succeed: a wrong key, a model or a path that is not there.
    """
    if not config.url.startswith(("http://", "https://")):
        raise UserError(f"{config.url!r} is no address of an endpoint; give one like http://localhost:8000/v1")
    reason = ""
    for tries in range(1, config.retries + 2):
        try:
            return (*_try(config, path, json.dumps(body).encode(), read), tries)
        except _TryAgainError as error:
            reason = str(error)
            if tries <= config.retries:
                longest = min(60.0, config.patience * 2 ** (tries - 1))
                # Drawn, so that requests that failed together do not come back together.
                time.sleep(min(60.0, error.wait) if error.wait is not None else random.uniform(longest / 2, longest))
    raise UserError(f"{config.url} does not answer ({reason}; {config.retries + 1} tries): resume when it does")


def ask_until_read(
    config: ChatConfig,
    messages: Messages,
    read: Callable[[str], Any],
    attempts: int,
    schema: Mapping[str, Any] | None = None,
) -> list[Reply]:
    """The answers to ``messages``, asked again up to ``attempts`` times while ``read`` makes nothing (None) of one."""
    replies = [ask(config, messages, schema)]
    while len(replies) < attempts and replies[-1].text is not None and read(replies[-1].text) is None:
        # Asked the same way, a greedy model would say the same again.
        replies.append(ask(replace(config, temperature=max(config.temperature, 0.7)), messages, schema))
    return replies


def ask_all(config: ChatConfig, items: Sequence[T], ask_one: Callable[[T], R], label: str) -> list[R]:
    """``ask_one`` of each item, ``config.concurrency`` at a time, in their order."""
    pool = ThreadPoolExecutor(config.concurrency)
    found = []
    try:
        with progress(label, len(items)) as bar:
            for answer in pool.map(ask_one, items):
                found.append(answer)
                bar.advance(1)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # after an error, the answers still to come are of no use
    return found


def cost_of(replies: Sequence[Reply]) -> Cost:
    """Requests, the retries among them, and tokens as the endpoint counts them."""
    return {
        "requests": len(replies),
        "retries": sum(reply.tries - 1 for reply in replies),
        "prompt_tokens": sum(reply.prompt_tokens for reply in replies),
        "completion_tokens": sum(reply.completion_tokens for reply in replies),
    }


def _read_chat(answer: Any) -> tuple[str, int, int]:
    """(text, prompt tokens, completion tokens) of an answer of the chat-completions protocol."""
    text = answer["choices"][0]["message"]["content"]
    usage = answer.get("usage") or {}
    prompt, completion = (int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens"))
    return text if isinstance(text, str) else "", prompt, completion


def _try(config: ChatConfig, path: str, body: bytes, read: Callable[[Any], T]) -> tuple[T | None, str]:
    headers = {"Content-Type": "application/json"}
    if secret := os.environ.get(config.key_variable):
        headers["Authorization"] = f"Bearer {secret}"
    request = urllib.request.Request(f"{config.url.rstrip('/')}/{path}", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=config.timeout) as response:
            answer = response.read()
    except urllib.error.HTTPError as error:
        return None, _refusal(config, error)
    except (OSError, http.client.HTTPException) as error:  # URLError, timeouts and resets are OSErrors
        raise _TryAgainError(f"{type(error).__name__}: {error}") from error
    try:
        return read(json.loads(answer)), ""
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise _TryAgainError(f"an answer that is not of the protocol: {answer[:80]!r}") from error


def _refusal(config: ChatConfig, error: urllib.error.HTTPError) -> str:
    said = " ".join(error.read(2000).decode("utf-8", "replace").split())[:200]
    if error.code in _BUSY or error.code >= 500:
        wait = error.headers.get("Retry-After", "")
        raise _TryAgainError(f"HTTP {error.code}", float(wait) if wait.strip().isdecimal() else None) from error
    if error.code in _OURS:
        cure = f"is {config.key_variable} set to its key?" if error.code != 404 else "are url and model right?"
        raise UserError(f"{config.url} refuses {config.model!r}: HTTP {error.code}, {said or error.reason}; {cure}")
    return f"HTTP {error.code}: {said}"
