"""A problem small enough to solve exactly: which credit forms make solutions longer than they need to be?

Two pieces of work must be done, then the answer given. Any step may also be filler: right, useless, and scored a little
below work. A step that answers too early is scored low and the answer is wrong. At most LONGEST steps. The policy is a
table of softmaxes, one for each amount of work done; its return is summed over every trajectory there is, so gradient
ascent has no noise in it and a change of length is the form's doing.
"""

import functools

import numpy as np
import pytest
import torch

from rl.credit import FORMS, CreditConfig, Form, last_potential, step_rewards

LONGEST, NEEDED = 7, 2
WORK, FILLER, ANSWER = range(3)
SCORES = {WORK: 0.9, FILLER: 0.85, ANSWER: 0.9}
TOO_EARLY = 0.1


@functools.cache
def trajectories() -> tuple[tuple[tuple[tuple[int, int], ...], tuple[float, ...], bool], ...]:
    """Every way to go: ((work done, action) of each step, the steps' scores, whether the answer is right)."""
    found = []

    def walk(done: int, taken: tuple[tuple[int, int], ...], scores: tuple[float, ...]) -> None:
        if len(taken) == LONGEST:
            found.append((taken, scores, False))
            return
        for action in (WORK, FILLER, ANSWER):
            ready = done == NEEDED
            score = TOO_EARLY if action == ANSWER and not ready else SCORES[action]
            step = (*taken, (done, action)), (*scores, score)
            if action == ANSWER:
                found.append((*step, ready))
            else:
                walk(min(done + (action == WORK), NEEDED), *step)

    walk(0, (), ())
    return tuple(found)


def returns(form: Form) -> torch.Tensor:
    """What each trajectory earns: its steps by ``form``, and 1 for a right answer."""
    config, out = CreditConfig(form=form), []
    for _, scores, right in trajectories():
        [rewards] = step_rewards([np.array(scores)], config, 1)
        taken_back = last_potential(rewards) if form == "potential" else 0.0
        out.append(float(rewards.sum()) - taken_back + right)
    return torch.tensor(out, dtype=torch.float64)


def trained(form: Form | None) -> tuple[float, float]:
    """(expected steps, chance of a right answer) of the policy that 200 steps of exact ascent end at; None: untrained.

    The table starts from an even chance of each action.
    """
    counts = torch.zeros(len(trajectories()), NEEDED + 1, 3, dtype=torch.float64)
    for row, (taken, _, _) in enumerate(trajectories()):
        for state, action in taken:
            counts[row, state, action] += 1
    table = torch.zeros(NEEDED + 1, 3, dtype=torch.float64, requires_grad=True)
    for _ in range(200 if form else 0):
        chances = (counts * torch.log_softmax(table, -1)).sum((1, 2)).exp()
        [gradient] = torch.autograd.grad((chances * returns_of[form]).sum(), table)  # type: ignore[index]
        with torch.no_grad():
            table += gradient
    chances = (counts * torch.log_softmax(table.detach(), -1)).sum((1, 2)).exp()
    assert chances.sum().item() == pytest.approx(1)
    right = torch.tensor([right for *_, right in trajectories()], dtype=torch.float64)
    return float((chances * counts.sum((1, 2))).sum()), float((chances * right).sum())


returns_of: dict[Form, torch.Tensor] = {form: returns(form) for form in FORMS}


def test_sum_is_paid_for_length_and_forgets_the_answer() -> None:
    steps, right = trained("sum")
    assert steps > 0.95 * LONGEST
    assert right < 0.2


@pytest.mark.parametrize("form", ["outcome", "clip", "delta", "clip_delta", "min", "running_min", "potential"])
def test_no_other_form_is(form: Form) -> None:
    """Three steps are the least a right solution takes; the untrained policy, which answers early, takes fewer."""
    untrained_steps, untrained_right = trained(None)
    steps, right = trained(form)
    assert right > 0.9 > 0.3 > untrained_right
    assert NEEDED + 1 - 0.2 < steps < NEEDED + 1.7
    assert untrained_steps < steps


def test_charging_filler_makes_solutions_shorter_than_the_outcome_alone_does() -> None:
    assert trained("min")[0] < trained("outcome")[0]
    assert trained("clip")[0] < trained("outcome")[0]


def test_potential_leaves_even_the_path_of_ascent_as_it_was() -> None:
    assert trained("potential") == pytest.approx(trained("outcome"), rel=1e-9)


def test_the_best_of_all_trajectories() -> None:
    """What no ascent can change: by `sum` the best trajectory goes on to the end, by the others it is right."""
    for form, values in returns_of.items():
        if form == "implicit":  # its scores are a model's own log-odds, not these
            continue
        taken, _, right = trajectories()[int(values.argmax())]
        if form == "sum":
            assert len(taken) == LONGEST
        elif form == "clip":
            assert (len(taken), right) == (NEEDED + 1, True)
        else:
            assert right
