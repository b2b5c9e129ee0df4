"""The table of policies in docs/verifier.md holds, and each switch turns its example round."""

import re
from pathlib import Path

import pytest

from verifiers.equal import equal
from verifiers.policy import Policy

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "verifier.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| ([^|`]+\?) \| `(.+?)` \| `(.+?)` \| (equal|different) \|(?: `(\w+)=(\w+)` | )\|", re.MULTILINE)
ROWS = ROW.findall(PAGE)
VALUES = {"True": True, "False": False, "None": None}


def test_the_table_is_found() -> None:
    assert len(ROWS) == PAGE.count("? |") == 34
    assert {row[4] for row in ROWS} - {""} == set(Policy.__dataclass_fields__)


@pytest.mark.parametrize(("question", "a", "b", "default", "switch", "value"), ROWS)
def test_policy(question: str, a: str, b: str, default: str, switch: str, value: str) -> None:
    assert bool(equal(a, b)) == bool(equal(b, a)) == (default == "equal"), question
    if switch:
        turned = Policy(**{switch: VALUES[value]})
        assert bool(equal(a, b, turned)) == bool(equal(b, a, turned)) != (default == "equal"), question
