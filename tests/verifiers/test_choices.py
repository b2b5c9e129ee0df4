"""The option letter that a text settles on."""

import pytest

from verifiers.choices import extract_choice, options


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        (r"\boxed{\text{(C)}}", "C"),
        ("So the answer is (B) 300.", "B"),
        ("### Final Answer: **(D)**\nThanks", "D"),
        ("It is not A, so I think it's B", "B"),
        ("D. it cannot be A or B", "D"),
        ("A circle has no corners", None),
        (r"\boxed{12}", None),
        ("The option is C because of B's weight.", "C"),
    ],
)
def test_choice(text: str, letter: str | None) -> None:
    found = extract_choice(text)
    assert (found.text if found else None) == letter


def test_options_are_read_from_a_on_without_gaps() -> None:
    question = "Which is largest? (A) 5 (B) 7 (C) \\frac{1}{2} (D) 6"
    assert options(question) == {"A": "5", "B": "7", "C": "\\frac{1}{2}", "D": "6"}
    assert options("Plan B) is better than plan D) here") == {}
