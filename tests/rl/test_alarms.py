"""Alarms on rows made by hand: each is raised where it should be, and not where it nearly should."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rl.alarms import WINDOW, History, Watch, alarms, best_so_far

Row = dict[str, Any]
STEPS = 48


def rows(seed: int = 0, **courses: Callable[[float], float] | None) -> list[Row]:
    """A healthy run of 48 steps with a little noise; a course is a column as a function of time from 0 to 1."""
    healthy: dict[str, Callable[[float], float] | None] = {
        "accuracy": lambda t: 0.2 + 0.4 * t, "prm_score": lambda t: 0.3 + 0.3 * t, "reward": lambda t: 0.5 + 0.5 * t,
        "steps_per_solution": lambda t: 5 + t, "response_length": lambda t: 40 + 10 * t, "answer_only": lambda t: 0.02,
        "entropy": lambda t: 0.3 - 0.2 * t, "prm_auc": lambda t: 0.85 - 0.05 * t, "no_signal": lambda t: 0.5 + 0.2 * t,
        "explained_variance": lambda t: min(4 * t, 0.6) - 0.1, "truncated": lambda t: 0.05,
    }  # fmt: skip
    noise = np.random.default_rng(seed)
    made = []
    for step in range(STEPS):
        t = step / (STEPS - 1)
        row: Row = {"step": step}
        for name, course in (healthy | courses).items():
            if course is not None:
                row[name] = course(t) * (1 + 0.02 * noise.standard_normal())
        if step % 8 == 0:
            row["guard_accuracy"] = 0.5 - 0.05 * t
        made.append(row)
    return made


def names(made: list[Row]) -> set[str]:
    return {alarm.name for alarm in alarms(made)}


def falls(t: float) -> float:
    """Up until the middle, then down: 0.2, 0.5, 0.1."""
    return 0.2 + 0.6 * t if t < 0.5 else 0.5 - 0.8 * (t - 0.5)


@pytest.mark.parametrize("seed", range(5))
def test_a_healthy_run_raises_none(seed: int) -> None:
    assert alarms(rows(seed)) == []
    flat = rows(seed, accuracy=lambda t: 0.5, prm_score=lambda t: 0.6, reward=lambda t: 1.0)
    assert alarms(flat) == []


def test_no_rows_and_few_rows_raise_none() -> None:
    assert alarms([]) == []
    assert alarms(rows(truncated=lambda t: 1.0)[: WINDOW - 1]) == []
    assert names(rows(truncated=lambda t: 1.0)[:WINDOW]) == {"truncation"}


def test_step_inflation() -> None:
    grown = {"steps_per_solution": lambda t: 4 + 6 * t, "response_length": lambda t: 40 + 60 * t}
    unpaid: Any = {"prm_score": lambda t: 0.3, "reward": lambda t: 1.0}
    [alarm] = alarms(rows(accuracy=lambda t: 0.3 - 0.2 * t, **grown, **unpaid))
    assert alarm.name == "step inflation"
    assert 40 <= alarm.step <= 44  # a window's mean is 4 + 6 (i - 3.5) / 47: 4.45 at 7, twice that at 42
    assert "steps per solution went from 4.4 to" in alarm.text
    assert "likely step inflation; try credit.form=min" in alarm.text
    assert "while verified accuracy fell from 29% to 14%: " in alarm.text
    assert names(rows(accuracy=lambda t: 0.3 + 0.3 * t, **grown)) == set()  # longer and better is no inflation
    almost = {"steps_per_solution": lambda t: 4 + 4 * t}
    assert names(rows(accuracy=lambda t: 0.3 - 0.2 * t, **almost, **unpaid)) == set()


def test_length_inflation_is_not_told_twice() -> None:
    longer: Any = {"response_length": lambda t: 40 + 60 * t, "accuracy": lambda t: 0.3 - 0.2 * t}
    longer |= {"prm_score": lambda t: 0.3, "reward": lambda t: 1.0}
    assert names(rows(**longer)) == {"length inflation"}
    assert names(rows(**longer, steps_per_solution=lambda t: 4 + 6 * t)) == {"step inflation"}


def test_step_collapse() -> None:
    assert names(rows(answer_only=lambda t: 0.1 + 0.8 * t)) == {"step collapse"}
    assert names(rows(answer_only=lambda t: 0.9)) == set()  # short answers were there before
    assert names(rows(answer_only=lambda t: 0.3 * t)) == set()


def test_over_optimisation_needs_the_proxy_up_and_the_gold_down() -> None:
    [alarm] = alarms(rows(accuracy=falls))
    assert alarm.name == "over-optimisation"
    assert 24 < alarm.step < 40
    assert "the PRM's score rose from 0.4" in alarm.text
    assert "advantage.kl_coefficient" in alarm.text
    down = {"prm_score": falls, "reward": falls}
    assert names(rows(accuracy=falls, **down)) == set()  # all fall together: a bad run, no over-optimisation
    [alarm] = alarms(rows(accuracy=falls, **(down | {"reward": lambda t: 1 + t})))
    assert "the reward rose from" in alarm.text


def test_noise_around_a_plateau_is_no_fall() -> None:
    """Accuracies of 64 rollouts of a policy that does not change, while the PRM's score creeps up."""
    noise = np.random.default_rng(3)
    for _ in range(20):
        plateau = [row | {"accuracy": noise.binomial(64, 0.5) / 64} for row in rows()]
        assert "over-optimisation" not in names(plateau)


def test_entropy_collapse() -> None:
    assert names(rows(entropy=lambda t: 0.3 * (1 - t) ** 2)) == {"entropy collapse"}
    solved = rows(entropy=lambda t: 0.3 * (1 - t) ** 2, accuracy=lambda t: 0.95)
    assert names(solved) == set()


def test_prm_drift() -> None:
    [alarm] = alarms(rows(prm_auc=lambda t: 0.9 - 0.3 * t))
    assert alarm.name == "PRM drift"
    assert "fell from 0.88 to 0.7" in alarm.text
    gaps = [row if i % 2 else {k: v for k, v in row.items() if k != "prm_auc"} for i, row in enumerate(rows())]
    assert names(gaps) == set()
    fell = [row | ({"prm_auc": row["prm_auc"] - 0.2} if row["step"] > 24 and "prm_auc" in row else {}) for row in gaps]
    assert names(fell) == {"PRM drift"}


def test_blind_critic_is_given_time() -> None:
    early = rows(explained_variance=lambda t: -0.5 if t < 0.1 else 0.5)
    assert names(early) == set()
    [alarm] = alarms(rows(explained_variance=lambda t: -0.5))
    assert (alarm.name, alarm.step) == ("blind critic", 2 * WINDOW - 1)
    assert names(rows(explained_variance=None)) == set()  # no critic


def test_silent_groups_and_truncation() -> None:
    assert names(rows(no_signal=lambda t: 0.7 + 0.2 * t)) == {"no signal"}
    assert names(rows(truncated=lambda t: 0.4 * t)) == {"truncation"}
    assert names(rows(truncated=lambda t: 0.18, no_signal=lambda t: 0.75)) == set()


def test_capability_loss() -> None:
    lost = [row | ({"guard_accuracy": 0.35} if row["step"] == 24 else {}) for row in rows()]
    [alarm] = alarms(lost)
    assert (alarm.name, alarm.step) == ("capability loss", 24)
    assert "fell from 50% to 35%" in alarm.text


HACKED = [3.01, 2.68, 2.76, 2.6, 2.57, 3.16, 2.52, 2.69, 2.76, 3.26, 3.13, 2.96, 3.21, 2.87, 2.83, 4.43, 4.27, 4.87,
          4.9, 4.37, 5.69, 5.4, 5.91, 5.54]  # fmt: skip
REMEDIED = [-0.64, -0.65, -0.45, -0.81, -0.59, -0.54, -0.62, -0.49, -0.73, -0.23, -0.65, -0.18, -0.4, -0.28, -0.24,
            0.14, -0.26, -0.2, -0.24, -0.38, -0.13, 0.27, 0.01, 0.18]  # fmt: skip


def measured(rewards: list[float], losses: dict[int, float]) -> list[Row]:
    found = [{"step": i, "reward": reward} for i, reward in enumerate(rewards)]
    return [row | ({"val_loss": losses[row["step"]]} if row["step"] in losses else {}) for row in found]


def test_forgetting_in_the_runs_of_the_hacking_benchmark() -> None:
    """As they were measured: configs/rl/hack.yaml raises it, and the same with the remedy does not."""
    lost = {0: 0.148, 8: 0.313, 16: 0.65, 23: 0.882}
    [alarm] = alarms(measured(HACKED, lost))
    assert (alarm.name, alarm.step) == ("forgetting", 16)
    assert "the SFT loss rose from 0.15 to 0.65 nats a token while the reward rose from 2.75 to 3.37: " in alarm.text
    assert alarms(measured(REMEDIED, {0: 0.147, 8: 0.246, 16: 0.344, 23: 0.458})) == []
    assert alarms(measured([2.7, 3.1] * 12, lost)) == []  # worse at what it was taught, and paid no better for it


def bad() -> list[Row]:
    """Everything at once."""
    made = rows(
        accuracy=falls, prm_auc=lambda t: 0.9 - 0.3 * t, steps_per_solution=lambda t: 3 + 9 * t, truncated=lambda t: t
    )
    return [row | {"guard_accuracy": 0.5 - row["step"] / 100} for row in made]


def test_what_is_raised_at_a_step_depends_on_no_later_one() -> None:
    whole = alarms(bad())
    assert len(whole) == 5
    for count in range(STEPS):
        assert alarms(bad()[:count]) == [alarm for alarm in whole if alarm.step < count]


def test_a_run_says_each_alarm_once_and_a_resumed_run_says_none_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from lm.run import Run
    from rl.config import RLConfig

    said = []
    run = Run.open(RLConfig(folder=tmp_path), verb="rl")
    for part in (bad()[:30], bad()[30:]):  # the second half as after a restart
        watch = Watch(tmp_path)
        for row in part:
            watch(run.log(**row))
        said.append(capsys.readouterr().err.splitlines())
    lines = list(itertools.chain(*said))
    assert [f"ALARM at step {a.step}, {a.name}: {a.text}" for a in alarms(bad())] == lines
    assert said[0]
    assert said[1]


def test_means_and_errors_by_hand() -> None:
    made: list[Row] = [{"x": float(i)} for i in range(10)]
    made[5]["x"] = None
    made[9]["x"] = "a word"
    h = History(made)
    assert np.isnan(h.mean("x")[: WINDOW - 1]).all()
    assert h.mean("x")[7] == pytest.approx(23 / 7)  # 0 + 1 + 2 + 3 + 4 + 6 + 7
    assert h.error("x")[7] == pytest.approx(np.std([0, 1, 2, 3, 4, 6, 7], ddof=1) / np.sqrt(7))
    assert h.start("x") == pytest.approx(23 / 7)
    assert np.isnan(h.start("nothing"))
    assert best_so_far(np.array([np.nan, 1.0, 0.5, 2.0, 2.0, np.nan])).tolist() == [0, 1, 1, 3, 3, 3]
