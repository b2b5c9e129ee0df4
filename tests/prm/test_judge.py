"""prm.judge: the reading of verdicts to the letter, and a judge behind a real HTTP server (and, where it is, vLLM)."""

import json
import time
from dataclasses import replace
from typing import Any

import pytest
from chat_server import message, serving
from toy_models import solution

from lm.errors import UserError
from lm.vllm_server import VLLMServer
from prm.judge import JudgeConfig, judge_labels, messages, read_verdicts, schema
from verifiers.solution import Problem, Solution

PROBLEM = Problem("chain", "8+4-3", "9")


def config(url: str, **changes: Any) -> JudgeConfig:
    return replace(JudgeConfig(url=url, model="m", patience=0.01, retries=4, timeout=5.0, concurrency=4), **changes)


def verdicts(*said: str, **more: str) -> str:
    return json.dumps(more | {str(i): verdict for i, verdict in enumerate(said, start=1)})


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ('{"1": "right", "2": "wrong", "3": "unsure"}', (1.0, 0.0, None)),
        ('{"critique": "a } in it", "3": "right", "1": "right", "2": "right"}', (1.0, 1.0, 1.0)),
        ('Sure!\n```json\n{"1": "right", "2": "wrong", "3": "wrong"}\n```', (1.0, 0.0, 0.0)),
        ('<think>{"1": "wrong"}</think>{"1": "right", "2": "right", "3": "right"}', (1.0, 1.0, 1.0)),
        ('{"1": "right", "2": "wrong"}', None),  # a step is missing
        ('{"1": "right", "2": "wrong", "3": "right", "4": "right"}', None),
        ('{"1": "right", "1": "wrong", "2": "wrong", "3": "right"}', None),  # two things of one step
        ('{"1": "Right", "2": "wrong", "3": "right"}', None),
        ('{"1": true, "2": false, "3": true}', None),
        ('{"1": ["right"], "2": "wrong", "3": "right"}', None),
        ('{"verdicts": ["right", "wrong", "right"]}', None),
        ('["right", "wrong", "right"]', None),
        ("All steps are right.", None),
        ('{"1": "right", "2": "wr', None),
        ("}{", None),
        ("", None),
    ],
)
def test_verdicts_are_read_to_the_letter(text: str, labels: Any) -> None:
    assert read_verdicts(text, 3) == labels


def test_the_judge_sees_the_problem_the_steps_and_the_form() -> None:
    system, user = messages(solution("12-3\n9", PROBLEM), critique=True)
    assert (system["role"], user["role"]) == ("system", "user")
    for part in ("8+4-3", "Step 1:\n12-3", "Step 2:\n9", '"critique"', "all 2 steps"):
        assert part in user["content"]
    assert "9" not in messages(solution("12-3", PROBLEM), critique=False)[1]["content"].replace("8+4-3", "")  # no gold
    form = schema(2, config(""))
    assert form["required"] == ["critique", "1", "2"]
    assert form["properties"]["2"]["enum"] == ["right", "wrong", "unsure"]
    assert schema(1, config("", critique=False))["required"] == ["1"]


def marked(request: dict[str, Any]) -> str:
    """A judge that calls the steps with an x in them wrong and those with a question mark unsure."""
    steps = request["messages"][1]["content"].split("Solution:\n\n")[1].split("\n\nAnswer with")[0].split("\n\n")
    bodies = [step.split("\n", 1)[1] for step in steps]
    return verdicts(*("wrong" if "x" in body else "unsure" if "?" in body else "right" for body in bodies))


def test_labels_come_back_in_order_with_their_cost() -> None:
    texts = ["a\nx\n?", "b", "x\nx"] * 10

    def answer(request: dict[str, Any], number: int) -> Any:
        time.sleep(0.02 * (number % 3))
        return message(marked(request), 10, 5)

    with serving(answer) as server:
        items, cost = judge_labels(config(server.url), [solution(text, PROBLEM) for text in texts])
    assert [item.labels for item in items] == [(1.0, 0.0, None), (1.0,), (0.0, 0.0)] * 10
    assert items[0].origins == ("judge", "judge", None)
    assert {name: n for name, n in cost.items() if n} == {
        "requests": 30,
        "prompt_tokens": 300,
        "completion_tokens": 150,
    }
    assert 2 <= server.most_open <= 4


def test_all_that_can_go_wrong_on_the_way_costs_tries_and_no_labels() -> None:
    troubles = [429, 500, "hang up", "{", 503, (b"cut", {"Content-Length": "100", "Connection": "close"})]

    def answer(request: dict[str, Any], number: int) -> Any:
        return troubles[number // 2 % len(troubles)] if number % 2 else message(marked(request))

    with serving(answer) as server:
        judge = config(server.url, concurrency=1, timeout=0.5)
        items, cost = judge_labels(judge, [solution("a\nx", PROBLEM)] * 12)
    assert [item.labels for item in items] == [(1.0, 0.0)] * 12
    assert (cost["requests"], cost["retries"]) == (12, 11)


def test_answers_that_cannot_be_read_or_had_leave_steps_unlabelled() -> None:
    """Never a guess: what the judge did not say in the form asked for is nobody's label."""

    def answer(request: dict[str, Any], number: int) -> Any:
        said = request["messages"][1]["content"]
        return 400 if "long" in said else message("They look fine." if "vague" in said else marked(request))

    texts = ["vague", "a", "long", "", "\n".join(["1"] * 10_000)]
    with serving(answer) as server:
        items, cost = judge_labels(config(server.url), [solution(text, PROBLEM) for text in texts])
    assert [set(item.labels) for item in items] == [{None}, {1.0}, {None}, set(), {None}]
    assert {k: cost[k] for k in ("requests", "unreadable", "refused", "too_long")} == {
        "requests": 4,  # the vague one is asked again
        "unreadable": 1,
        "refused": 1,
        "too_long": 1,
    }
    again = [r["temperature"] for r in server.requests if "vague" in r["messages"][1]["content"]]
    assert again == [0.0, 0.7]


def test_an_endpoint_that_cannot_judge_at_all_is_one_line() -> None:
    solutions: list[Solution] = [solution("a", PROBLEM)] * 6
    with (
        serving(lambda request, number: 400) as server,
        pytest.raises(UserError, match=r"refuses every solution .*400"),
    ):
        judge_labels(config(server.url), solutions)
    with serving(lambda request, number: 401) as server, pytest.raises(UserError, match="OPENAI_API_KEY"):
        judge_labels(config(server.url), solutions)
    with pytest.raises(UserError, match=r"judge\.model is not set"):
        judge_labels(JudgeConfig(), solutions)


# --- a real local vLLM server -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_real_vllm_server_judges_in_the_form_it_is_held_to(vllm_server: VLLMServer) -> None:
    """A random model says random things; held to the schema, it says them of every step."""
    judge = JudgeConfig(
        url=vllm_server.url, model=vllm_server.name, critique=False, temperature=1.0, max_tokens=200, timeout=60
    )
    solutions = [solution("12-3\n9\n#### 9", PROBLEM), solution("11-3\n#### 8", PROBLEM), solution("", PROBLEM)]
    items, cost = judge_labels(judge, solutions)
    assert [len(item.labels) for item in items] == [3, 2, 0]
    assert cost["requests"] >= 2
    assert cost["unreadable"] == 0
    assert cost["prompt_tokens"] > 2 * 100
    assert cost["completion_tokens"] > 10
    with pytest.raises(UserError, match=r"HTTP 404.*are url and model right\?"):
        judge_labels(replace(judge, model="other"), solutions)
    free = replace(judge, schema=False, attempts=1, max_tokens=16)
    items, cost = judge_labels(free, solutions)
    assert [set(item.labels) for item in items] == [{None}, {None}, set()]
    assert cost["unreadable"] == 2
    long = solution("\n".join(["12-3"] * 150), PROBLEM)
    (item,), cost = judge_labels(replace(judge, max_tokens=2000), [long])
    assert (set(item.labels), cost["refused"]) == ({None}, 1)  # longer than the model's context
