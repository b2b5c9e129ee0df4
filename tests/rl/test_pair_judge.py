"""The judge of pairs: what it says to the letter, both orders put together by hand, and one behind a real server."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chat_server import message, serving

from lm.errors import UserError
from rl.pair_judge import ChatJudge, Match, PairJudgeConfig, messages, read_better, schema, tally

MATCHES = [Match(f"q{i}", "a long response", "short") for i in range(3)]


def config(url: str, **changes: Any) -> PairJudgeConfig:
    return replace(PairJudgeConfig(url=url, model="m", patience=0.01, timeout=5.0, concurrency=4), **changes)


def responses(body: dict[str, Any]) -> tuple[str, str]:
    """What the two responses in a request say."""
    _, _, rest = body["messages"][1]["content"].partition("\n\nResponse A:\n")
    a, _, rest = rest.partition("\n\nResponse B:\n")
    return a, rest.rpartition("\n\n")[0]


def saying(decide: Callable[[str, str], str]) -> Callable[[dict[str, Any], int], Any]:
    return lambda body, number: message(json.dumps({"critique": "well", "better": decide(*responses(body))}), 50, 5)


def shorter(a: str, b: str) -> str:
    return "tie" if len(a) == len(b) else "A" if len(a) < len(b) else "B"


@pytest.mark.parametrize(
    ("text", "better"),
    [
        ('{"better": "A"}', "A"),
        ('{"critique": "B is {better}", "better": "B"}', "B"),
        ('<think>{"better": "A"}</think> So:\n```json\n{"better": "tie"}\n```', "tie"),
        ('{"better": "a"}', None),
        ('{"better": "A", "better": "B"}', None),
        ('{"better": ["A"]}', None),
        ('{"better": "A", "score": 3}', None),
        ('{"critique": "A"}', None),
        ("A", None),
        ("", None),
    ],
)
def test_verdicts_are_read_to_the_letter(text: str, better: str | None) -> None:
    assert read_better(text) == better


def test_both_orders_by_hand() -> None:
    """In the second order the responses have changed places, so A then B is one response, and A twice a place."""
    said: list[tuple[str | None, bool]] = [
        ("A", False), ("B", False),  # the first
        ("B", False), ("A", False),  # the second
        ("A", False), ("A", False),  # the place
        ("tie", False), ("B", False),
        (None, False), ("A", False),
        (None, True), ("A", False),
    ]  # fmt: skip
    verdicts = tally(said, [{"requests": 1, "retries": 0, "prompt_tokens": 7, "completion_tokens": 2}] * 12)
    assert verdicts.better == [0, 1, None, None, None, None]
    assert verdicts.counts == {
        "ties": 1, "inconsistent": 1, "unreadable": 1, "refused": 1, "first_place": 6, "sides": 9,
        "requests": 12, "retries": 0, "prompt_tokens": 84, "completion_tokens": 24,
    }  # fmt: skip


def test_a_judge_behind_a_server_is_asked_in_both_orders(tmp_path: Path) -> None:
    with serving(saying(shorter)) as served:
        judge = ChatJudge(config(served.url), tmp_path / "kept.jsonl")
        verdicts = judge.compare([*MATCHES, Match("q", "same", "size")], "step 0")
        assert verdicts.better == [1, 1, 1, None]
        assert {k: v for k, v in verdicts.counts.items() if v} == {
            "ties": 1, "first_place": 3, "sides": 6, "requests": 8, "prompt_tokens": 400, "completion_tokens": 40,
        }  # fmt: skip
        asked = [responses(body) for body in served.requests]
        assert sorted(asked) == sorted(3 * [("a long response", "short"), ("short", "a long response")]
                                       + [("same", "size"), ("size", "same")])  # fmt: skip
        assert served.requests[0]["response_format"]["json_schema"]["schema"] == schema(True)
        assert "helpful, honest and harmless" in served.requests[0]["messages"][0]["content"]

        # What was asked once is kept, also for a process that comes later; a line torn within a letter does no harm to
        # those before it, nor to those after it.
        with (tmp_path / "kept.jsonl").open("ab") as file:
            file.write('{"key": "x", "said": "é'.encode()[:-1])
        judge = ChatJudge(config(served.url), tmp_path / "kept.jsonl")
        again = judge.compare(MATCHES, "step 0")
        assert (again.better, again.counts["requests"], len(served.requests)) == ([1, 1, 1], 6, 8)
        judge.compare(MATCHES, "step 1")
        assert len(served.requests) == 14
        ChatJudge(config(served.url), tmp_path / "kept.jsonl").compare(MATCHES, "step 1")
        assert len(served.requests) == 14


def test_a_judge_that_prefers_a_place_decides_nothing(tmp_path: Path) -> None:
    with serving(saying(lambda a, b: "A")) as served:
        verdicts = ChatJudge(config(served.url), tmp_path / "kept.jsonl").compare(MATCHES, "step 0")
    assert verdicts.better == [None] * 3
    assert (verdicts.counts["inconsistent"], verdicts.counts["first_place"], verdicts.counts["sides"]) == (3, 6, 6)


def test_unreadable_answers_are_asked_again_and_counted(tmp_path: Path) -> None:
    with serving(lambda body, number: message("I like both.")) as served:
        verdicts = ChatJudge(config(served.url, attempts=3), tmp_path / "kept.jsonl").compare(MATCHES[:1], "step 0")
    assert (verdicts.better, verdicts.counts["unreadable"], verdicts.counts["requests"]) == ([None], 1, 6)
    assert [body["temperature"] for body in served.requests].count(0.7) == 4


def test_refusals_of_all_and_no_model_are_errors(tmp_path: Path) -> None:
    with serving(lambda body, number: 400) as served, pytest.raises(UserError, match=r"judge\.schema=false may help"):
        ChatJudge(config(served.url), tmp_path / "kept.jsonl").compare(MATCHES, "step 0")
    with pytest.raises(UserError, match=r"judge\.model is not set"):
        ChatJudge(PairJudgeConfig(), tmp_path / "kept.jsonl")


def test_a_match_s_own_criterion_is_the_one_put_to_the_judge() -> None:
    system, _ = messages(Match("q", "a", "b", "Which is kinder?"), "a", "b", config("http://x"))
    assert system["content"].endswith("Which is kinder?")
