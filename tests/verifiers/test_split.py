"""Steps are exact, ordered, non-blank spans."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifiers.solution import Step
from verifiers.split import join_steps, split_steps, steps_at


def test_lines() -> None:
    assert split_steps(" a\n\n b c \r\n") == (Step("a", 1, 2), Step("b c", 5, 8))


def test_paragraphs() -> None:
    assert split_steps("a\nb\n \nc", "paragraph") == (Step("a\nb", 0, 3), Step("c", 6, 7))


def test_blank_text_has_no_steps() -> None:
    assert split_steps(" \n \n") == split_steps("", "paragraph") == ()


def test_an_unknown_separator_is_named() -> None:
    with pytest.raises(ValueError, match="'word'"):
        split_steps("a", "word")  # type: ignore[arg-type]


@given(st.text(alphabet="ab \n\t\r\x0c\u2028", max_size=40), st.sampled_from(["line", "paragraph"]))
def test_spans(text: str, separator: str) -> None:
    steps = split_steps(text, separator)  # type: ignore[arg-type]
    end = 0
    for step in steps:
        assert step.text == text[step.start : step.end] == step.text.strip() != ""
        assert step.start >= end
        end = step.end
    assert "".join("".join(s.text.split()) for s in steps) == "".join(text.split())


def test_joined_steps_stand_where_they_say() -> None:
    text, steps = join_steps(["a\nb", " c"], "paragraph")
    assert (text, steps) == ("a\nb\n\n c", (Step("a\nb", 0, 3), Step(" c", 5, 7)))
    assert join_steps(["a", "b"]) == ("a\nb", split_steps("a\nb"))
    assert join_steps([]) == ("", ())
    assert join_steps(["a", "", "b"]) == ("a\n\nb", (Step("a", 0, 1), Step("", 2, 2), Step("b", 3, 4)))


def test_steps_at_their_spans() -> None:
    assert steps_at("abc", [[0, 1], [1, 3]]) == (Step("a", 0, 1), Step("bc", 1, 3))
    for spans in ([[0, 2], [1, 3]], [[0, 4]], [[1, 1]], [[-1, 2]], [[0]], [[0, 1, 2]], [[0, "1"]], [7]):
        with pytest.raises(ValueError, match=r"not \[start, end\] from"):
            steps_at("abc", spans)
