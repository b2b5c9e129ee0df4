"""Steps with their arithmetic right, wrong, or not to be worked out; and GSM8K's own worked solutions."""

import gzip
import json
from pathlib import Path

import pytest

from verifiers.steps import check_step

GSM8K = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "gsm8k" / "test.jsonl.gz"


@pytest.mark.parametrize(
    ("step", "outcome"),
    [
        ("Natalia sold 48/2 = <<48/2=24>>24 clips in May.", "holds"),
        ("She sold <<48/2=25>>25 clips.", "fails"),
        ("He buys 12 x 2 = 24 inches of rope", "holds"),
        ("He buys 12 x 2 = 26 inches of rope", "fails"),
        ("In all 5 pounds + 3 pounds = 9 pounds.", "fails"),
        ("So 2 + 3 = 5 = 10/2", "holds"),
        ("So 2 + 3 = 5 = 10/5", "fails"),
        ("20% of 50 is 10", "holds"),
        ("20% of $50 is $12", "fails"),
        ("10/3 = 3.33", "holds"),
        ("10/3 = 3.35", "unknown"),
        ("Since 10/3 = 3 we round down", "holds"),
        ("\\[ \\frac{12}{4} + 1 = 4 \\]", "holds"),
        ("\\( \\frac{12}{4} + 1 = 5 \\)", "fails"),
        ("$\\sqrt{18} = 3\\sqrt{2}$", "holds"),
        ("$\\sqrt{18} = 2\\sqrt{3}$", "fails"),
        ("2x + 3 = 7", "unknown"),
        ("Week 3 + Week 4 = 48 + 48 hours", "unknown"),
        ("1 hour - 20 minutes = 40 minutes", "unknown"),
        ("$20% of the price = 0.2 * 50", "unknown"),
        ("14 / 1/4 = 56", "unknown"),
        ("Let x be the number of apples.", "unknown"),
        ("", "unknown"),
    ],
)
def test_step(step: str, outcome: str) -> None:
    assert check_step(step).outcome == outcome


def test_the_failing_part_and_the_right_value_are_named() -> None:
    assert check_step("First 2 * 3 = 6. Then 7 * 8 = 54 remain").detail == "7 * 8 = 54: the value is 56"


def test_rounding_announced_before_counts() -> None:
    assert check_step("100/3 = 33", "We round to whole numbers.").outcome == "holds"


@pytest.mark.skipif(not GSM8K.exists(), reason="shared/data/gsm8k is not here")
def test_authors_solutions_are_hardly_ever_called_wrong() -> None:
    with gzip.open(GSM8K, "rt", encoding="utf-8") as rows:
        steps = [line for row in rows for line in json.loads(row)["solution"].split("\n")]
    outcomes = [check_step(step).outcome for step in steps]
    assert outcomes.count("fails") < 0.003 * len(steps)
    assert outcomes.count("holds") > 0.85 * len(steps)


@pytest.mark.parametrize(
    ("step", "outcome"),
    [
        ("\\[ \\text{Total fruits} = 52 + 24 + 44 + 48 \\] \\[ \\text{Total fruits} = 178 \\]", "fails"),
        ("Earnings = $3.00 (dishes) + $3.00 (laundry) + $1.50 (trash). Earnings = $8.00.", "fails"),
        ("Distance = 10,000 - 6,000. Distance = 4,000 feet.", "holds"),
        ("x = 2 + 3 or x = 2 - 3", "unknown"),
        ("x = 2 + 3. y = 7", "unknown"),
        ("x = 2 + 3. x = 7 - 2", "unknown"),
        ("\\(\\cos(0) = 1\\)", "holds"),
    ],
)
def test_one_name_two_statements(step: str, outcome: str) -> None:
    assert check_step(step).outcome == outcome
