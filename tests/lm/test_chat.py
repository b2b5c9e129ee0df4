"""lm.chat over real sockets: what is sent, what is tried again, and what ends the run."""

import time
from dataclasses import replace
from typing import Any

import pytest
from chat_server import message, serving

from lm.chat import ChatConfig, ask
from lm.errors import UserError

ASKED = [{"role": "user", "content": "2 + 3?"}]


def config(url: str, **changes: Any) -> ChatConfig:
    return replace(ChatConfig(url=url, model="m", patience=0.01, retries=3, timeout=5.0), **changes)


def test_what_is_sent_and_what_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "secret")
    with serving(lambda request, number: message("5", 11, 2)) as server:
        reply = ask(config(server.url + "/", key_variable="JUDGE_KEY"), ASKED, {"type": "object"})
        ask(config(server.url, key_variable="NO_SUCH_KEY"), ASKED)
    assert (reply.text, reply.prompt_tokens, reply.completion_tokens, reply.tries) == ("5", 11, 2, 1)
    first, second = server.requests
    assert first["path"] == "/v1/chat/completions"
    assert (first["model"], first["messages"], first["temperature"]) == ("m", ASKED, 0.0)
    assert first["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert "response_format" not in second
    assert server.headers[0]["Authorization"] == "Bearer secret"
    assert "Authorization" not in server.headers[1]


@pytest.mark.parametrize(
    "trouble",
    [
        429,
        500,
        503,
        "hang up",
        "",
        "<html>busy</html>",
        '{"choices": []}',
        b'{"choices": [{"message": {"content": "\xff"}}]}',
        "[1]",
        (b"cut", {"Content-Length": "100", "Connection": "close"}),
    ],
)
def test_trouble_that_passes_is_waited_out(trouble: Any) -> None:
    with serving(lambda request, number: trouble if number < 2 else message("5")) as server:
        reply = ask(config(server.url, timeout=0.5), ASKED)
    assert (reply.text, reply.tries, len(server.requests)) == ("5", 3, 3)


def test_silence_is_given_up() -> None:
    with serving(lambda request, number: 1.0 if number == 0 else message("5")) as server:
        reply = ask(config(server.url, timeout=0.1), ASKED)
    assert (reply.text, reply.tries) == ("5", 2)


def test_waits_grow_and_last_as_long_as_the_endpoint_asks() -> None:
    with serving(lambda request, number: (429, {"Retry-After": "1"}) if number == 0 else message("5")) as server:
        began = time.monotonic()
        ask(config(server.url), ASKED)
    assert 1.0 <= time.monotonic() - began < 10
    with serving(lambda request, number: 500 if number < 3 else message("5")) as server:
        began = time.monotonic()
        ask(config(server.url, patience=0.1), ASKED)
    assert 0.35 <= time.monotonic() - began < 10  # at least half of 0.1 + 0.2 + 0.4


def test_an_endpoint_that_is_away_ends_in_one_line() -> None:
    with serving(lambda request, number: 500) as server, pytest.raises(UserError, match=r"HTTP 500; 4 tries") as error:
        ask(config(server.url), ASKED)
    assert len(server.requests) == 4
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"does not answer \(.*refused"):
        ask(config(server.url), ASKED)  # nobody listens there any more
    with pytest.raises(UserError, match="is no address"):
        ask(config("localhost/v1"), ASKED)


@pytest.mark.parametrize(("status", "cure"), [(401, "is OPENAI_API_KEY set"), (403, "is OPENAI"), (404, "model right")])
def test_what_no_retry_can_mend_ends_at_once(status: int, cure: str) -> None:
    with serving(lambda request, number: status) as server, pytest.raises(UserError, match=cure):
        ask(config(server.url), ASKED)
    assert len(server.requests) == 1


def test_a_request_that_is_refused_is_told_from_trouble() -> None:
    with serving(lambda request, number: 400) as server:
        reply = ask(config(server.url), ASKED)
    assert (reply.text, reply.tries) == (None, 1)
    assert reply.refused.startswith("HTTP 400: ")


def test_an_answer_without_text_is_empty() -> None:
    with serving(lambda request, number: message(None)) as server:
        assert ask(config(server.url), ASKED).text == ""
