"""Alarms: what looks wrong in a run of RL, in words, from its metrics alone.

A rule looks at whole columns of ``metrics.jsonl`` and says for every row whether it is raised there; what it says of a
row depends on no later one, so a report read afterwards raises what the run raised while it went. Means are over the
last ``WINDOW`` rows, and a change counts only where it is larger than the noise of those means.
"""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lm.run import read_metrics

WINDOW = 8
Row = dict[str, Any]


@dataclass(frozen=True)
class Alarm:
    """``name`` of the rule, the ``step`` at which it was first raised, and what to make of it."""

    name: str
    step: int
    text: str


class History:
    """The columns of some rows (N of them), and their means over the last ``WINDOW`` rows; nan where there is none."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self._means: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def column(self, name: str) -> np.ndarray:
        """(N,) as they stand."""
        values = [row.get(name) for row in self.rows]
        return np.array([v if isinstance(v, int | float) else math.nan for v in values], dtype=np.float64)

    def mean(self, name: str) -> np.ndarray:
        """(N,) the mean over the last rows, nan before the first ``WINDOW`` and where fewer than half have a value."""
        return self._trailing(name)[0]

    def error(self, name: str) -> np.ndarray:
        """(N,) the standard error of ``mean``: the scatter of its rows or, where that is more, the usual one so far."""
        error = self._trailing(name)[1]
        there = np.isfinite(error)
        usual = np.cumsum(np.where(there, error, 0) ** 2) / np.maximum(1, np.cumsum(there))
        return np.maximum(error, np.sqrt(usual))

    def start(self, name: str) -> float:
        """The first mean there is; nan without one."""
        there = self.mean(name)[np.isfinite(self.mean(name))]
        return float(there[0]) if len(there) else math.nan

    def _trailing(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        if name not in self._means:
            values = np.append(np.full(WINDOW - 1, math.nan), self.column(name))
            windows = np.lib.stride_tricks.sliding_window_view(values, WINDOW)
            there = np.isfinite(windows)
            count = there.sum(1)
            count = np.where((count >= WINDOW / 2) & (np.arange(len(count)) >= WINDOW - 1), count, math.nan)
            mean = np.where(there, windows, 0).sum(1) / count
            scatter = (np.where(there, windows - mean[:, None], 0) ** 2).sum(1) / (count - 1)
            self._means[name] = mean, np.sqrt(scatter / count)
        return self._means[name]


def best_so_far(values: np.ndarray) -> np.ndarray:
    """(N,) the row of the largest value up to each row, the first row where there is none yet."""
    known = np.where(np.isfinite(values), values, -math.inf)
    new = known > np.append(-math.inf, np.maximum.accumulate(known)[:-1])
    return np.maximum.accumulate(np.where(new, np.arange(len(values)), 0))


def fallen(h: History, name: str, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Where the mean of a column is below its best so far by ``least`` and by more than noise; and the best's row.

    The best of many noisy means is above their middle by luck: n of them range over about 2 √(2 ln n) of their errors.
    """
    mean, error = h.mean(name), h.error(name)
    best = best_so_far(mean)
    luck = 2 * np.sqrt(2 * np.log(np.arange(len(mean)) + 1)) * error
    return mean[best] - mean > np.maximum(least, luck), best


# --- the rules ------------------------------------------------------------------------------------------------------

Rule = Callable[[History], "tuple[np.ndarray, Callable[[int], str]]"]


def step_inflation(h: History) -> tuple[np.ndarray, Callable[[int], str]]:
    """Twice the steps while the verifier sees no gain: steps are paid for being there (the form "sum")."""
    steps, first = h.mean("steps_per_solution"), h.start("steps_per_solution")
    worse, since = _no_better(h)

    def text(i: int) -> str:
        return (
            f"steps per solution went from {first:.1f} to {steps[i]:.1f} while verified accuracy {_went(h, since, i)}: "
            "likely step inflation; try credit.form=min"
        )

    return (steps >= 2 * first) & worse, text


def length_inflation(h: History) -> tuple[np.ndarray, Callable[[int], str]]:
    """Twice the tokens, not by more steps, while the verifier sees no gain."""
    length, first = h.mean("response_length"), h.start("response_length")
    steps = h.mean("steps_per_solution") / h.start("steps_per_solution")
    worse, since = _no_better(h)

    def text(i: int) -> str:
        return (
            f"tokens per response went from {first:.0f} to {length[i]:.0f} while verified accuracy "
            f"{_went(h, since, i)}: likely length inflation; try credit.overlong_buffer or normaliser=constant"
        )

    return (length >= 2 * first) & ~(steps >= 1.5) & worse, text


def step_collapse(h: History) -> tuple[np.ndarray, Callable[[int], str]]:
    """Answers without steps: the way out of forms in which a step can only cost."""
    alone, first = h.mean("answer_only"), h.start("answer_only")

    def text(i: int) -> str:
        return (
            f"{_percent(alone[i])} of solutions are a bare answer ({_percent(first)} at first), so there are no steps "
            "to judge: try credit.form=delta or credit.form=potential, in which leaving steps out earns nothing"
        )

    return (alone > 0.5) & (alone > first + 0.3), text


def over_optimisation(h: History) -> tuple[np.ndarray, Callable[[int], str]]:
    """What is paid for rises while the verifier falls from its peak (Gao et al. 2022, arXiv:2210.10760)."""
    fell, peak = fallen(h, "accuracy", 0.05)
    rose = {}
    for name in ("prm_score", "reward"):
        mean, error = h.mean(name), h.error(name)
        rose[name] = mean - mean[peak] > 2 * np.hypot(error, error[peak])

    def text(i: int) -> str:
        name = "prm_score" if rose["prm_score"][i] else "reward"
        mean, words = h.mean(name), {"prm_score": "the PRM's score", "reward": "the reward"}[name]
        return (
            f"{words} rose from {mean[peak[i]]:.2f} to {mean[i]:.2f} while verified accuracy {_went(h, peak, i)}: "
            "over-optimisation of the reward model; raise advantage.kl_coefficient, pay for the verdict "
            "(credit.outcome_weight), ask several PRMs (reading.also) or train the PRM on fresh samples"
        )

    return fell & (rose["prm_score"] | rose["reward"]), text


def entropy_collapse(h: History) -> tuple[np.ndarray, Callable[[int], str]]:
    """A tenth of the entropy is left, and not because all is solved."""
    entropy, first = h.mean("entropy"), h.start("entropy")

    def text(i: int) -> str:
        return (
            f"entropy fell from {first:.3g} to {entropy[i]:.2g} nats a token with {_percent(h.mean('accuracy')[i])} "
            "right: the policy no longer explores; raise clip_high or advantage.kl_coefficient, or lower optim.lr"
        )

    return (entropy < 0.1 * first) & ~(h.mean("accuracy") > 0.9), text


def prm_drift(h: History) -> tuple[np.ndarray, Callable[[int], str]]:
    """The reward model no longer tells the policy's right solutions from its wrong ones as it did."""
    fell, best = fallen(h, "prm_auc", 0.1)

    def text(i: int) -> str:
        area = h.mean("prm_auc")
        return (
            f"the PRM's AUC against verdicts on fresh samples fell from {area[best[i]]:.2f} to {area[i]:.2f}: the "
            "policy has left what the PRM was trained on; train it on labelled fresh samples (prm_refresh)"
        )

    return fell, text


def blind_critic(h: History) -> tuple[np.ndarray, Callable[[int], str]]:
    """A critic worse than a constant adds noise to every advantage. Its first steps, from a head of zeros, are free."""
    explained = h.mean("explained_variance")
    late = np.arange(len(explained)) >= 2 * WINDOW - 1

    def text(i: int) -> str:
        return (
            f"the critic's explained variance is {explained[i]:.2f}, worse than a constant: change critic_optim.lr, "
            "train longer on each step (epochs), or do without a critic (advantage.estimator=group)"
        )

    return (explained < 0) & late, text


def silent_groups(h: History) -> tuple[np.ndarray, Callable[[int], str]]:
    """Most problems teach nothing."""
    share = h.mean("no_signal")

    def text(i: int) -> str:
        return (
            f"in {_percent(share[i])} of groups all rollouts earned the same, so they teach nothing: use problems of "
            "middling difficulty, raise sampling.n, or set resample=3"
        )

    return share > 0.8, text


def truncation(h: History) -> tuple[np.ndarray, Callable[[int], str]]:
    """Many rollouts are cut off before they can answer."""
    share = h.mean("truncated")

    def text(i: int) -> str:
        return (
            f"{_percent(share[i])} of rollouts are cut off at sampling.max_tokens: raise it, or charge for length "
            "(credit.overlong_buffer, credit.truncated)"
        )

    return share > 0.2, text


def capability_loss(h: History) -> tuple[np.ndarray, Callable[[int], str]]:
    """Accuracy on the guard's problems, which this run does not train on, fell by a tenth from the first evaluation."""
    guard = h.column("guard_accuracy")
    there = guard[np.isfinite(guard)]
    first = float(there[0]) if len(there) else math.nan

    def text(i: int) -> str:
        return (
            f"accuracy on the guard's problems fell from {_percent(first)} to {_percent(guard[i])}: what is not "
            "trained on is being lost; raise advantage.kl_coefficient or mix worked solutions in (ptx_coefficient)"
        )

    return guard < first - 0.1, text


def forgetting(h: History) -> tuple[np.ndarray, Callable[[int], str]]:
    """Each token of the worked solutions that SFT taught is half as unlikely again (0.4 nats), while the reward rises.

    Runs that only got better, from 12% right to 55%, went up by 0.3; one that hacked its PRM, by 0.7.
    """
    loss, reward, error = h.column("val_loss"), h.mean("reward"), h.error("reward")
    measured, known = np.isfinite(loss), np.isfinite(reward)
    first, start = float(loss[measured.argmax()]), int(known.argmax())
    rose = reward - h.start("reward") > 2 * np.hypot(error, error[start])

    def text(i: int) -> str:
        return (
            f"the SFT loss rose from {first:.2f} to {loss[i]:.2f} nats a token while the reward rose from "
            f"{reward[start]:.2f} to {reward[i]:.2f}: the policy is paid for leaving what it was taught; raise "
            "advantage.kl_coefficient or mix worked solutions in (ptx_coefficient)"
        )

    return (loss > first + 0.4) & rose, text


RULES: dict[str, Rule] = {
    "step inflation": step_inflation,
    "length inflation": length_inflation,
    "step collapse": step_collapse,
    "over-optimisation": over_optimisation,
    "entropy collapse": entropy_collapse,
    "PRM drift": prm_drift,
    "blind critic": blind_critic,
    "no signal": silent_groups,
    "truncation": truncation,
    "capability loss": capability_loss,
    "forgetting": forgetting,
}


def alarms(rows: Sequence[Row]) -> list[Alarm]:
    """Every alarm that the metrics of a run (a dict a step, in order) raise, once, where it was raised first."""
    if not rows:
        return []
    history, found = History(rows), []
    for name, rule in RULES.items():
        raised, text = rule(history)
        if raised.any():
            i = int(raised.argmax())
            step = rows[i].get("step")
            found.append(Alarm(name, step if isinstance(step, int) else i, text(i)))
    return sorted(found, key=lambda alarm: alarm.step)


class Watch:
    """Says each alarm of a run on standard error once, at the step that raises it; a resumed run repeats none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[Row] = []
        self.said: set[str] = set()

    def __call__(self, row: Row) -> None:
        """``row`` is the line of metrics that was logged last."""
        if not self.rows:
            self.rows = read_metrics(self.folder)[:-1]
            self.said = {alarm.name for alarm in alarms(self.rows)}
        self.rows.append(row)
        for alarm in alarms(self.rows):
            if alarm.name not in self.said:
                self.said.add(alarm.name)
                print(f"ALARM at step {alarm.step}, {alarm.name}: {alarm.text}", file=sys.stderr)


# --- words ----------------------------------------------------------------------------------------------------------


def _no_better(h: History) -> tuple[np.ndarray, np.ndarray]:
    """Where verified accuracy fell from its best, or is no higher than at first; and the row it is compared with."""
    fell, best = fallen(h, "accuracy", 0.05)
    accuracy = h.mean("accuracy")
    first = int(np.isfinite(accuracy).argmax())
    return fell | (accuracy <= accuracy[first]), np.where(fell, best, first)


def _went(h: History, since: np.ndarray, i: int) -> str:
    accuracy = h.mean("accuracy")
    verb = "fell" if accuracy[i] < accuracy[since[i]] else "stayed"
    return f"{verb} from {_percent(accuracy[since[i]])} to {_percent(accuracy[i])}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"
