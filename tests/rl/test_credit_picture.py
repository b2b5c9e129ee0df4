"""The page on credit shows what the code computes now."""

from pathlib import Path

import pytest

from benchmarks.credit_picture import FORMS, credited, picture, table

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_picture_and_the_table_are_up_to_date() -> None:
    rows = [credited(form, temperature) for form, temperature in FORMS]
    assert (DOCS / "credit.svg").read_text(encoding="utf-8") == picture(rows)
    assert table(rows) in (DOCS / "credit.md").read_text(encoding="utf-8")


def test_a_row_by_hand() -> None:
    """p = .95, .9, .15, .4, .1: the smallest so far falls by .05, .05, .75, 0 and .05."""
    row = credited("running_min", 0.0)
    assert row.rewards.tolist() == pytest.approx([-0.05, -0.05, -0.75, 0, -0.05])
    assert row.returns.tolist() == pytest.approx([-0.9, -0.85, -0.8, -0.05, -0.05])
