"""``python -m verifiers A B``: what it prints and its exit status."""

import pytest

from verifiers.__main__ import main


@pytest.mark.parametrize(
    ("a", "b", "status", "says"),
    [
        ("\\frac12", "0.5", 0, "equal: decided by the exact rung"),
        ("3", "4", 1, "different: decided by the string rung"),
        ("3", "\\strange", 2, "could not tell: decided by the limit rung"),
    ],
)
def test_explains(capsys: pytest.CaptureFixture[str], a: str, b: str, status: int, says: str) -> None:
    assert main([a, b]) == status
    assert says in capsys.readouterr().out


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["one"]) == 2
    assert "usage" in capsys.readouterr().err
