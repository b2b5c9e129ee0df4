"""benchmarks.hacking: the two runs differ in the remedy alone, and what is told of a run is what its metrics raise."""

from dataclasses import replace
from typing import Any

from benchmarks.hacking import CONFIGS, as_it_must, table, told
from lm.config import load
from rl.config import RLConfig

HACK = [
    {"step": i, "accuracy": 0.2 - 0.01 * i, "steps_per_solution": 5 + i, "response_length": 40 + 8 * i}
    for i in range(20)
]
HACK[0]["eval_accuracy"], HACK[-1]["eval_accuracy"] = 0.25, 0.05
SOUND: list[dict[str, Any]] = [row | {"steps_per_solution": 5, "response_length": 40} for row in HACK]


def test_the_remedy_is_three_keys() -> None:
    hack, remedied = (load(RLConfig, CONFIGS / f"{name}.yaml") for name in ("hack", "hack_remedied"))
    assert (hack.credit.form, hack.credit.outcome_weight) == ("sum", 0.0)
    credit = replace(hack.credit, form="min", outcome_weight=1.0)
    assert remedied == replace(hack, credit=credit, advantage=replace(hack.advantage, kl_coefficient=0.03))


def test_what_is_told_of_a_run() -> None:
    assert told(HACK).startswith("step inflation at step 16 (steps per solution went from 8.5 to 17.5 while")
    assert told(SOUND) == "no alarm"


def test_the_table_of_a_seed_and_of_two() -> None:
    assert "| steps_per_solution | 8.50 | 20.50 |" in table([HACK])
    assert "| eval_accuracy | 0.25 | 0.05 |" in table([HACK])
    # 8.5 and 5: mean 6.75, half width t(0.975, 1) * 3.5 / 2 = 12.706 * 1.75 = 22.24
    assert "| steps_per_solution | 6.75 [-15.49, 28.99] | 12.75 [-85.72, 111.22] |" in table([HACK, SOUND])


def test_every_seed_of_both_arms_must_be_as_it_must() -> None:
    assert as_it_must({"hack": [HACK, HACK], "remedied": [SOUND, SOUND], "refreshed": [HACK, SOUND]})
    assert not as_it_must({"hack": [HACK, SOUND], "remedied": [SOUND, SOUND]})
    assert not as_it_must({"hack": [HACK, HACK], "remedied": [SOUND, HACK]})
