"""Which characters count as the final answer, and by which rule."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifiers.extract import extract_answer


@pytest.mark.parametrize(
    ("text", "answer", "rule"),
    [
        (r"so \boxed{7}, no wait, \boxed{\frac{1}{2}}.", r"\frac{1}{2}", "boxed"),
        (r"\boxed{x = \boxed{3}}", r"x = \boxed{3}", "boxed"),
        (r"\boxed {5} then it stops at \boxed{6", "5", "boxed"),
        (r"$\boxed{\{1, 2\}}$", r"\{1, 2\}", "boxed"),
        (r"\boxed 8", "8", "boxed"),
        ("$\\boxed{42$ and so on\nmore", "42", "boxed"),
        ("<think>\\boxed{1}</think> The answer is 2.", "2", "the answer is"),
        ("work\n#### 1,024", "1,024", "hashes"),
        ("#### Heading\nand then 7 apples are left here", "7", "last line"),
        ("<answer> 12 </answer> bye", "12", "tag"),
        ("The answer is 5. Wait: the answer is 6.", "6", "the answer is"),
        ("The final answer is $x - 1$. I hope it is correct.", "x - 1", "the answer is"),
        ("\\boxed{255} is the interest. Final Answer: The final answer is $455$. Done", "455", "the answer is"),
        ("It follows.\nAnswer: 3/4", "3/4", "answer:"),
        ("3 + 4 = 7\nA: 7", "7", "A:"),
        ("Hence the area is **12**", "12", "bold"),
        ("So we find $y = 2$, and therefore $x = 3$.", "x = 3", "last line"),
        ("In 4 weeks she will eat 7 dozen eggs in 3 meals.", "7", "last line"),
        ("Then 48 + 24 = 72 clips in 2 months", "72", "last line"),
        ("Answer \\[\n 9 \n\\]", "9", "last line"),
        ("Thus there are 3! = 6 arrangements.", "6", "last line"),
        ("The answer is: No, it is not possible.", "No", "the answer is"),
        ("Therefore, the degree of \\(x^6 + b\\) is 15.", "15", "last line"),
        ("Paris", "Paris", "last line"),
    ],
)
def test_rule(text: str, answer: str, rule: str) -> None:
    found = extract_answer(text)
    assert found is not None
    assert (found.text, found.rule) == (answer, rule)
    assert text[found.start : found.end] == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"$\boxed{1}$ and $\boxed{2}$", "1, 2"),
        (r"\boxed{(2, 2)} \quad \text{or} \quad \boxed{(6, 2)}", "(2, 2), (6, 2)"),
        (r"first \boxed{1/3}, later \boxed{2/3}", "2/3"),
        (r"\boxed{1}. We square both sides and find \boxed{4}", "4"),
    ],
)
def test_several_boxes(text: str, answer: str) -> None:
    found = extract_answer(text)
    assert found is not None
    assert found.text == answer


def test_order_of_preference_is_the_callers() -> None:
    text = "The answer is 5. \\boxed{6}"
    assert extract_answer(text, ("the answer is", "boxed")).text == "5"  # type: ignore[union-attr]
    assert extract_answer("no box here", ("boxed",)) is None


@pytest.mark.parametrize("text", ["", "  \n ", "<think>5</think>  "])
def test_blank_or_draft_only(text: str) -> None:
    found = extract_answer(text)
    assert found is None or "<think>" in text


@given(st.text(alphabet="\\boxed{}$A: answeris#*<>/think\n .1", max_size=80))
def test_the_span_is_the_text(text: str) -> None:
    found = extract_answer(text)
    if found is not None and ", " not in found.text:
        assert text[found.start : found.end] == found.text != ""
