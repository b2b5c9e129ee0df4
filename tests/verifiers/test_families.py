"""Built-in problems: every family and level, worked by an independent evaluator, and never in two splits."""

import re
from fractions import Fraction
from itertools import islice

import pytest

from verifiers.families import FAMILIES, FAR, LARGEST, Split, distinct, generate, split_of, steps_right
from verifiers.solution import Example, Problem
from verifiers.split import split_steps
from verifiers.verify import verify

EVERY = [(family, level) for family in FAMILIES for level in (1, 2, 3, 4)]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def some(family: str, level: int, count: int = 120, slips: float = 0.0) -> list[Example]:
    return list(islice(generate([family], [level], "train", 7, slips), count))


def python_value(text: str, x: Fraction | None = None) -> Fraction:
    """A reading of its own: a precedence climb over the five signs that the families write."""
    tokens = re.findall(r"\d+|[-+*/()x]", text)
    assert "".join(tokens) == text

    def atom() -> Fraction:
        token = tokens.pop(0)
        if token == "(":
            value = climb(1)
            assert tokens.pop(0) == ")"
            return value
        if token == "x":
            assert x is not None
            return x
        return Fraction(int(token))

    def climb(lowest: int) -> Fraction:
        value = atom()
        while tokens and tokens[0] != ")":
            sign = tokens[0] if tokens[0] in "+-*/" else ""  # "3x" and "2(x+1)" are products
            if (rank := 1 if sign in ("+", "-") else 2) < lowest:
                break
            del tokens[: len(sign)]
            right = climb(rank + 1)
            value = {"+": value + right, "-": value - right, "/": value / right if right else value}.get(
                sign, value * right
            )
        return value

    result = climb(1)
    assert not tokens
    return result


def story_value(story: str) -> Fraction:
    first, *rest = re.findall(r"[^.?]+[.?]", story)
    value = int(re.fullmatch(r"\w+ has (\d+) \w+\.", first)[1])  # type: ignore[index]
    for sentence in rest[:-1]:
        number = int(re.search(r"\d+", sentence)[0])  # type: ignore[index]
        if "times as many" in sentence:
            value *= number
        elif re.search(r"\b(buys|finds|wins|gets)\b", sentence):
            value += number
        else:
            assert re.search(r"\b(loses|sells|eats|gives away)\b", sentence)
            value -= number
    return Fraction(value)


@pytest.mark.parametrize(("family", "level"), EVERY)
def test_gold_answers_are_right_by_another_reading(family: str, level: int) -> None:
    for example in some(family, level):
        question, answer = example.problem.question, Fraction(example.problem.answer)
        if family == "word":
            assert story_value(question) == answer
        elif family == "linear":
            left, right = question.split("=")
            solutions = [x for x in range(100) if python_value(left, Fraction(x)) == python_value(right, Fraction(x))]
            assert solutions == [answer]
        else:
            assert python_value(question) == answer


@pytest.mark.parametrize(("family", "level"), EVERY)
def test_every_worked_step_is_right_and_so_is_the_verdict(family: str, level: int) -> None:
    for example in some(family, level):
        problem, solution = example.problem, example.solution
        assert solution is not None
        steps = [step.text for step in split_steps(solution)]
        assert steps[-1] == f"#### {problem.answer}"
        assert all(steps_right(problem, steps))
        assert verify(problem, solution).correct
        assert problem.question not in steps  # a step says something new
        assert len(set(steps)) == len(steps)


def test_after_an_error_a_step_is_right_where_it_follows() -> None:
    problem = Problem("p", "8+4-3", "9")
    assert steps_right(problem, ["12-3", "10", "#### 10"]) == [True, False, True]
    assert steps_right(problem, ["11-3", "8", "#### 9"]) == [
        False,
        True,
        False,
    ]  # two errors, though the answer is right
    assert steps_right(problem, ["12-3", "hm", "9", "#### 8"]) == [True, False, True, False]  # words say nothing
    assert steps_right(Problem("q", "2x+1=7", "3"), ["2x=8", "x=4", "#### 4"]) == [False, True, True]
    assert steps_right(problem, []) == []


@pytest.mark.parametrize(("family", "level"), EVERY)
def test_steps_with_one_number_off_are_wrong(family: str, level: int) -> None:
    """Another answer is wrong; a number changed within a step is wrong unless the value happens to stay (0·x, x−x)."""
    for example in some(family, level, 40):
        problem = example.problem
        off = Fraction(problem.answer) + 1
        for text in (f"#### {off}", f"{off}", "####", "", "#### nine", "x=x", "0=0", f"x={off}", "????"):
            assert not steps_right(problem, [text])[0], text
        assert example.solution is not None
        for step in example.solution.split("\n"):
            for m in re.finditer(r"\d+", step):
                changed = step[: m.start()] + str(int(m[0]) + 1) + step[m.end() :]
                body = changed.removeprefix("#### ")
                if "=" in body:
                    left, right = body.split("=")
                    at = Fraction(problem.answer)
                    still_true = python_value(left, at) == python_value(right, at)
                else:
                    still_true = python_value(body) == Fraction(problem.answer)
                assert steps_right(problem, [changed])[0] == still_true, changed


def test_steps_by_hand() -> None:
    problem, equation = Problem("p", "8+4-3", "9"), Problem("q", "2x+1=8", "7/2")
    assert all(steps_right(problem, [s])[0] for s in ("12-3", "#### 9", " ####9 ", "9", "3*3", "18/2", "x=9", "2x=18"))
    assert not any(
        steps_right(problem, [s])[0] for s in ("12-4", "#### 8", "9 apples", "8+4=12", "9=9", "x", "1/0", "=9")
    )
    assert all(steps_right(equation, [s])[0] for s in ("2x=7", "x=7/2", "#### 7/2", "7/2", "3.5", "7=2x"))
    assert not any(steps_right(equation, [s])[0] for s in ("2x=8", "x=3", "0x=0", "x=7/2=3", "y=7/2"))
    with pytest.raises(ValueError, match="no rational answer"):
        steps_right(Problem("r", "?", "blue"), ["1"])


@pytest.mark.parametrize(("family", "level"), EVERY)
def test_numbers_stay_within_the_largest(family: str, level: int) -> None:
    for example in some(family, level, 300):
        numbers = [int(n) for n in re.findall(r"\d+", f"{example.problem.question}\n{example.solution}")]
        assert max(numbers) <= LARGEST


@pytest.mark.parametrize(("family", "level"), EVERY)
def test_higher_levels_have_more_operations(family: str, level: int) -> None:
    if family in ("chain", "nested"):
        counts = {len(re.findall(r"[-+*]", e.problem.question)) for e in some(family, level)}
        assert counts == {level + 1}
    assert {e.problem.id.rsplit("-", 1)[0] for e in some(family, level, 30)} == {f"{family}-{level}"}


def test_splits_share_no_question_and_have_their_shares() -> None:
    found = {
        split: {e.problem.question for e in islice(generate(list(FAMILIES), [1, 2, 3, 4], split, 0), 3000)}
        for split in SPLITS
    }
    assert not found["train"] & found["validation"]
    assert not found["train"] & found["test"]
    assert not found["validation"] & found["test"]
    assert all(split_of(question) == split for split, questions in found.items() for question in questions)
    shares = [split_of(f"question {i}") for i in range(20_000)]
    assert shares.count("test") / 20_000 == pytest.approx(0.1, abs=0.01)
    assert shares.count("validation") / 20_000 == pytest.approx(0.1, abs=0.01)


def test_a_question_has_one_id_and_an_id_one_question() -> None:
    examples = list(islice(generate(["chain", "linear"], [1, 2], "train", 0), 2000))
    pairs = {(e.problem.id, e.problem.question) for e in examples}
    assert len(pairs) == len({p for p, _ in pairs})


def test_the_same_arguments_give_the_same_stream() -> None:
    def stream(seed: int, *families: str) -> list[Example]:
        return list(islice(generate(families, [1, 3], "train", seed, 0.5), 50))

    assert stream(0, "chain", "word") == stream(0, "chain", "word")
    assert stream(0, "chain", "word") != stream(1, "chain", "word")
    assert stream(0, "chain") != stream(0, "nested")


def test_distinct_draws_without_repeats_or_says_how_many_there_are() -> None:
    examples = distinct(["nested"], [2], "validation", 3, 200)
    assert len({e.problem.question for e in examples}) == len(examples) == 200
    assert examples == distinct(["nested"], [2], "validation", 3, 200)
    assert examples[:50] == distinct(["nested"], [2], "validation", 3, 50)
    with pytest.raises(ValueError, match=r"only \d+ distinct train problems found for \['linear'\] at levels \[1\]"):
        distinct(["linear"], [1], "train", 0, 100)


@pytest.mark.parametrize(
    ("families", "levels"), [(["chains"], [1]), ([], [1]), (["chain"], []), (["chain"], [0]), (["chain"], [1, 5])]
)
def test_unknown_families_and_levels_are_refused(families: list[str], levels: list[int]) -> None:
    with pytest.raises(ValueError, match=r"unknown family 'chains'|need at least one family"):
        next(generate(families, levels, "train", 0))


@pytest.mark.parametrize("family", ["chain", "nested", "word", "linear", "fraction"])
def test_authors_who_slip_keep_the_problem_and_its_answer(family: str) -> None:
    right, slipped = some(family, 2, 200), some(family, 2, 200, slips=1.0)
    assert [e.problem for e in slipped] == [e.problem for e in right]
    assert 10 < sum(a.solution != b.solution for a, b in zip(right, slipped, strict=True)) < 190
    for careful, example in zip(right, slipped, strict=True):
        assert example.solution is not None
        if example.solution != careful.solution:  # a slip takes a second number of FAR or more
            assert any(int(n) >= FAR for n in re.findall(r"\d+", careful.problem.question + str(careful.solution)))


def test_a_slip_mixes_up_adding_and_taking_away() -> None:
    """Worked by hand: with slips=1 every second number of FAR or more goes the wrong way, and the author goes on."""
    for example in some("chain", 2, 300, slips=1.0):
        first, *_ = str(example.solution).split("\n")
        a, sign, b, rest = re.fullmatch(r"(\d+)([-+])(\d+)(.*)", example.problem.question).groups()  # type: ignore[union-attr]
        wrong = int(b) >= FAR
        plus = (sign == "+") != wrong
        value = int(a) + int(b) if plus else abs(int(a) - int(b))
        assert first == f"{value}{rest}"
