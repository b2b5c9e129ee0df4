"""From a model's text to a verdict."""

import asyncio
import multiprocessing
import threading

import pytest

from verifiers.solution import Problem, Solution
from verifiers.verify import gold_answer, verify, verify_solution

QUESTION = "Which is largest? (A) 5 (B) 7 (C) \\frac{1}{2} (D) 6"


@pytest.mark.parametrize(
    ("gold", "text", "reason"),
    [
        ("72", "The total is 72 clips, altogether.", "match"),
        ("72", "The total is 71 clips, altogether.", "mismatch"),
        ("72", "", "no answer"),
        ("72", "\\boxed{\\strange{72}}", "unparsable"),
        ("", "\\boxed{1}", "unparsable"),
        ("\\strange", "\\boxed{1}", "unparsable"),
        ("We get $x = 3$, so the sum is $\\boxed{12}$.", "Answer: 12", "match"),
        ("so it is 6\n#### 6", "6", "match"),
        ("B", "I think it's (B) 300.", "match"),
        ("B", "A is too small and so is C", "mismatch"),
        ("42", "\\boxed{42 \\text{ or } 43}", "mismatch"),
        ("$-2, 1$", "The roots are $\\boxed{1}$ and $\\boxed{-2}$.", "match"),
    ],
)
def test_reason(gold: str, text: str, reason: str) -> None:
    verdict = verify(Problem("p", "", gold), text)
    assert verdict.reason == reason
    assert verdict.correct == (reason == "match")


@pytest.mark.parametrize(
    ("gold", "text", "correct"),
    [
        ("B", "The answer is 7.", True),
        ("B", "The answer is 6.", False),
        ("7", "The answer is B.", True),
        ("C", "\\boxed{0.5}", True),
    ],
)
def test_options_in_the_question(gold: str, text: str, correct: bool) -> None:
    assert verify(Problem("p", QUESTION, gold), text).correct is correct


def test_gold_answer_of_a_bare_answer_is_itself() -> None:
    assert gold_answer("\\frac{3}{4}") == "\\frac{3}{4}"


def test_verify_solution() -> None:
    assert verify_solution(Solution(Problem("p", "", "5"), "\\boxed{5}", ())).correct


CASES = [("\\sqrt{8}", "\\boxed{2\\sqrt{2}}"), ("\\sin 2x", "\\boxed{2\\sin x\\cos x}"), ("\\pi", "\\boxed{3.14}")]


def verdicts() -> list[str]:
    return [verify(Problem("p", "", gold), text).reason for gold, text in CASES]


HERE = ["match", "match", "mismatch"]


def test_the_same_in_threads() -> None:
    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda: found.append(verdicts())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [HERE] * 4


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_the_same_in_daemonic_workers(start: str) -> None:
    assert verdicts() == HERE
    with multiprocessing.get_context(start).Pool(1) as workers:  # its workers are daemons
        assert workers.apply(verdicts) == HERE


def test_the_same_under_asyncio() -> None:
    async def both() -> tuple[list[str], list[str]]:
        return verdicts(), await asyncio.to_thread(verdicts)

    assert asyncio.run(both()) == (HERE, HERE)
