"""rung.serving.batcher: what is scored together, what is refused, and whom a failure concerns."""

import asyncio
import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from prm.scores import StepScores
from rung.serving.batcher import Batch, Batcher, Scored
from rung.web.guard import Refusal
from verifiers.solution import Problem, Solution
from verifiers.split import split_steps


class Counting:
    """A scorer with a gate: a step scores 1/its length; "poison" breaks it; it keeps what it was given together."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.gate, self.entered = threading.Event(), threading.Event()

    def score(self, solutions: Sequence[Solution], advance: Callable[[int], None] | None = None) -> list[StepScores]:
        self.entered.set()
        assert self.gate.wait(10)
        self.calls.append([s.text for s in solutions])
        if any("poison" in s.text for s in solutions):
            raise RuntimeError("poison")
        return [StepScores(np.array([1 / len(step.text) for step in s.steps])) for s in solutions]

    def measure(self, solutions: Sequence[Solution]) -> list[int | str]:
        return [len(s.text) if len(s.text) <= 50 else f"{len(s.text)} tokens, at most 50" for s in solutions]


def solution(text: str) -> Solution:
    return Solution(Problem("", "", ""), text, split_steps(text))


async def collect(scorer: Counting, requests: list[list[str]], cancel: Sequence[int] = (), **limits: int) -> list:
    """Answers or exceptions of requests that all wait while a first one, "first", is being scored."""
    batches: list[Batch] = []
    limits = {"budget": 10, "capacity": 100} | limits
    batcher = Batcher(scorer, observe=batches.append, **limits)
    batcher.start()
    first = batcher.submit([solution("first")])
    while not scorer.entered.is_set():
        await asyncio.sleep(0.001)
    answers: list = []
    for texts in requests:
        try:
            answers.append(batcher.submit([solution(text) for text in texts]))
        except Refusal as refusal:
            answers.append(refusal)
    for index in cancel:
        answers[index].cancel()
    assert batcher.unanswered == 1 + sum(isinstance(a, asyncio.Future) for a in answers)
    scorer.gate.set()
    await first
    futures = [a for a in answers if isinstance(a, asyncio.Future)]
    results = iter(await asyncio.gather(*futures, return_exceptions=True))
    found = [next(results) if isinstance(a, asyncio.Future) else a for a in answers]
    while batcher.unanswered:
        await asyncio.sleep(0.001)
    batcher.stop()
    assert sum(batch.tokens for batch in batches) == sum(a.tokens for a in found if isinstance(a, Scored)) + 5
    return found


def test_requests_are_scored_together_up_to_the_budget_in_their_order() -> None:
    scorer = Counting()
    requests = [["aaaa", "bb"], ["cccc"], ["d"], ["e" * 12], ["f"]]
    answers = asyncio.run(collect(scorer, requests))
    # 6 + 4 reach the budget of 10; 1 would be over it with 12, which goes alone; then what is left
    assert scorer.calls == [["first"], ["aaaa", "bb", "cccc"], ["d"], ["e" * 12], ["f"]]
    assert [a.tokens for a in answers] == [6, 4, 1, 12, 1]
    assert [s.probabilities.tolist() for s in answers[0].scores] == [[0.25], [0.5]]


def test_a_full_queue_refuses_and_a_client_that_left_is_not_scored() -> None:
    scorer = Counting()
    answers = asyncio.run(collect(scorer, [["a"], ["b"], ["c"]], cancel=[0], capacity=2))
    assert scorer.calls == [["first"], ["b"]]
    assert isinstance(answers[0], asyncio.CancelledError)
    assert isinstance(answers[2], Refusal)
    assert (answers[2].status, answers[2].retry_after) == (429, 2)  # two wait, and one a second is the first guess


def test_a_failure_is_told_to_its_own_client_only() -> None:
    scorer = Counting()
    answers = asyncio.run(collect(scorer, [["a"], ["poison"], ["b"], ["x" * 51]]))
    assert [a.scores[0].probabilities.tolist() for a in (answers[0], answers[2])] == [[1.0], [1.0]]
    assert isinstance(answers[1], RuntimeError)
    assert isinstance(answers[3], Refusal)
    assert (answers[3].status, answers[3].message) == (413, "51 tokens, at most 50")


@pytest.mark.parametrize("budget", [1, 7, 1000])
def test_every_budget_gives_every_client_its_own_scores(budget: int) -> None:
    requests = [["x" * (1 + (7 * i) % 5)] * (1 + i % 3) for i in range(40)]
    answers = asyncio.run(collect(Counting(), requests, budget=budget))
    for texts, answer in zip(requests, answers, strict=True):
        assert [s.probabilities.tolist() for s in answer.scores] == [[1 / len(t)] for t in texts]


def test_it_ends_after_the_batch_in_hand_though_its_client_and_the_loop_are_gone() -> None:
    scorer = Counting()
    batcher = Batcher(scorer, budget=10, capacity=10, observe=lambda batch: None)

    async def leave() -> None:
        batcher.start()
        batcher.submit([solution("a")])
        while not scorer.entered.is_set():
            await asyncio.sleep(0.001)
        batcher.submit([solution("b")])

    asyncio.run(leave())
    threading.Timer(0.1, scorer.gate.set).start()
    batcher.stop()
    assert scorer.calls == [["a"]]
