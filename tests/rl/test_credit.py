"""Credit forms on scores worked by hand, what they add up to, and where the rewards land."""

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm.engine import Completion
from prm.scores import StepScores
from rl.batch import Rollout, pack
from rl.credit import (
    FORMS,
    CreditConfig,
    Form,
    clip_form,
    delta_form,
    min_form,
    outcome_reward,
    overlong_reward,
    progress_form,
    running_min_form,
    step_rewards,
    token_rewards,
)
from rl.rollout import make_rollout
from verifiers.solution import Problem, Solution, Step, Verdict

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROBLEM = Problem("p", "8+4-3", "9")
RIGHT, WRONG, NONE = Verdict(True, "9", "match"), Verdict(False, "8", "mismatch"), Verdict(False, None, "no answer")
SCORES = st.lists(st.floats(0, 1), max_size=12).map(np.array)


@pytest.mark.parametrize(
    ("form", "rewards"),
    [
        ("outcome", [0, 0, 0, 0]),
        ("sum", [0.9, 0.4, 0.6, 0.3]),
        ("clip", [-0.1, -0.6, -0.4, -0.7]),
        ("delta", [0.5, -0.2, 0.3, 0.3]),
        ("clip_delta", [0.5, -0.2, 0.3, -0.7]),
        ("min", [0, 0, 0, -0.4]),
        ("running_min", [-0.1, -0.5, 0, -0.1]),
        ("implicit", np.log([9, 2 / 3 / 9, 1.5 / (2 / 3), 3 / 7 / 1.5]).tolist()),
    ],
)
def test_forms_by_hand(form: Form, rewards: list[float]) -> None:
    p = np.array([0.9, 0.4, 0.6, 0.3])
    assert FORMS[form](p).tolist() == pytest.approx(rewards)
    assert p.tolist() == [0.9, 0.4, 0.6, 0.3]


def test_every_form_takes_no_steps_and_one() -> None:
    for form, function in FORMS.items():
        assert function(np.array([])).shape == (0,)
        one = {
            "outcome": 0.0,
            "sum": 0.25,
            "clip": -0.75,
            "delta": 0.25,
            "clip_delta": -0.75,
            "min": -0.5,
            "running_min": -0.75,
            "potential": -0.75,
            "implicit": np.log(0.25 / 0.75),
        }[form]
        assert function(np.array([0.25])).tolist() == [pytest.approx(one)]


@settings(deadline=None)  # a busy machine is no failure
@given(p=SCORES)
def test_running_min_telescopes(p: np.ndarray) -> None:
    rewards = running_min_form(p)
    assert (rewards <= 0).all()
    assert rewards.sum() == pytest.approx(min([1.0, *p]) - 1)
    for i in range(1, len(p) + 1):
        assert rewards[:i].sum() == pytest.approx(p[:i].min() - 1)
        assert running_min_form(p[:i]).tolist() == rewards[:i].tolist()  # what follows changes nothing


@settings(deadline=None)  # a busy machine is no failure
@given(p=SCORES)
def test_the_return_of_delta_is_the_score_and_clip_never_pays(p: np.ndarray) -> None:
    returns = delta_form(p)[::-1].cumsum()[::-1]
    assert returns.tolist() == pytest.approx(p.tolist())
    assert (clip_form(p) <= 0).all()


def test_min_is_the_cold_limit_of_pure() -> None:
    """PURE (Cheng et al. 2025, eq. 6): r*_i = softmax(−r/T)_i r_i with r = 2p − 1, here at T = 10⁻³."""
    for p in (np.array([0.9, 0.4, 0.6, 0.3]), np.array([0.2, 0.99, 0.5]), np.array([0.7])):
        r = 2 * p - 1
        weights = np.exp(-(r - r.min()) / 1e-3)
        np.testing.assert_allclose(min_form(p), weights / weights.sum() * r, atol=1e-12)
        np.testing.assert_allclose(min_form(p, 1e-3), weights / weights.sum() * r)
    assert min_form(np.array([0.5, 0.1, 0.1])).tolist() == pytest.approx([0, -0.8, 0])  # ties: the first


def test_softmin_by_hand() -> None:
    """r = (0.6, −0.4) at T = 1/log 2: e^(0.4/T) = 2^0.4 against 2^−0.6, so 2 : 1 for the worse step."""
    rewards = min_form(np.array([0.8, 0.3]), 1 / np.log(2))
    assert rewards.tolist() == pytest.approx([0.6 / 3, -0.4 * 2 / 3])
    hot = min_form(np.array([0.8, 0.3]), 1e9)
    assert hot.tolist() == pytest.approx([0.3, -0.2])  # the mean
    assert min_form(np.array([1.0, 0.0]), 1e-6).tolist() == pytest.approx([0, -1])  # no overflow


def test_progress_pays_each_step_its_own_gain() -> None:
    """Values ½ before, then 0.9, 0.4, 0.6: gains 0.4, −0.5, 0.2, and the return from a step on is its gain."""
    rewards = progress_form(np.array([0.9, 0.4, 0.6]), 0.5)
    assert rewards[::-1].cumsum()[::-1].tolist() == pytest.approx([0.4, -0.5, 0.2])


def test_forms_of_a_group_by_hand() -> None:
    """progress starts from the group's mean first value, (0.2 + 0.6)/2; a rollout without steps has none."""
    scores = [np.array([0.2, 0.5]), np.array([0.6]), np.array([])] * 2
    out = step_rewards(scores, CreditConfig(form="progress"), 3)
    assert [r.tolist() for r in out[3:]] == [[pytest.approx(-0.5), pytest.approx(0.3)], [pytest.approx(0.2)], []]
    # group: (0.1, 0.3, 0.5) has mean 0.3 and s = 0.2; the next group is standardised by itself
    out = step_rewards([np.array([0.1, 0.3]), np.array([0.5]), np.array([0.7]), np.array([0.7])],
                       CreditConfig(form="group"), 2)  # fmt: skip
    assert [r.tolist() for r in out] == [
        [pytest.approx(-1, abs=1e-3), pytest.approx(0)], [pytest.approx(1, abs=1e-3)], [0], [0]
    ]  # fmt: skip
    assert [r.tolist() for r in step_rewards([np.array([])] * 2, CreditConfig(form="group"), 2)] == [[], []]


def test_group_form_standardises_outcomes_too(tokenizer: "PreTrainedTokenizerBase") -> None:
    tokens = pack([written(tokenizer, "8+4-3\n", "9")] * 2)
    scores = [StepScores(np.array([0.5]))] * 2
    rewards = token_rewards(tokens, scores, [RIGHT, WRONG], CreditConfig(form="group"), group=2)
    assert rewards.sum(1).tolist() == pytest.approx([0.5**0.5, -(0.5**0.5)], rel=1e-3)


def test_length_and_scale_and_clip() -> None:
    assert [overlong_reward(n, 64, 16) for n in (1, 48, 52, 64)] == [0, 0, -0.25, -1]
    assert overlong_reward(64, 64, 0) == 0
    cut = Rollout((1,), Completion((5, 6), np.zeros(2, np.float32), "length"), Solution(PROBLEM, "", ()), ())
    config = CreditConfig(form="outcome", no_answer=-1.0, truncated=-0.5, overlong_buffer=4, scale=0.5)
    [rewards] = token_rewards(pack([cut]), [StepScores(np.array([]))], [WRONG], config, longest=3)
    assert rewards.tolist() == [0, 0, 0.5 * (-1.0 - 0.5 - 0.75)]
    clipped = CreditConfig(form="outcome", no_answer=-1.0, clip=0.75)
    [rewards] = token_rewards(pack([cut]), [StepScores(np.array([]))], [WRONG], clipped)
    assert rewards.tolist() == [0, 0, -0.75]


@pytest.mark.parametrize(
    ("verdict", "finish", "reward"),
    [
        (RIGHT, "stop", 2.0),
        (WRONG, "stop", 0.0),
        (WRONG, "length", -0.5),
        (NONE, "stop", -0.5),
        (NONE, "length", -0.5),
        (Verdict(False, "?", "unparsable"), "stop", 0.25),
        (Verdict(False, "?", "timeout"), "length", 0.25),
    ],
)
def test_outcomes(verdict: Verdict, finish: str, reward: float) -> None:
    config = CreditConfig(outcome_weight=2.0, no_answer=-0.5, could_not_tell=0.25)
    assert outcome_reward(verdict, finish, config) == reward


def written(tokenizer: "PreTrainedTokenizerBase", prompt: str, text: str) -> Rollout:
    ids = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
    completion = Completion(tuple(ids), np.zeros(len(ids), np.float32), "stop")
    return make_rollout(tokenizer, PROBLEM, tokenizer(prompt)["input_ids"], completion)


def test_rewards_land_where_steps_end(tokenizer: "PreTrainedTokenizerBase") -> None:
    rollouts = [written(tokenizer, "8+4-3\n", "12-3\n\n#### 9\n"), written(tokenizer, "8+4\n", "é²\n4")]
    tokens = pack(rollouts)
    scores = [StepScores(np.array([0.75, 0.5])), StepScores(np.array([0.25, 1.0]))]
    config = CreditConfig(form="clip", process_weight=2.0, outcome_weight=10.0, no_answer=-1.0)
    rewards = token_rewards(tokens, scores, [RIGHT, NONE], config)
    # prompt 8 + 4 - 3 ⏎, then 12 - 3 ⏎ ⏎ #### ␣ 9 ⏎ EOS
    assert rewards[0].tolist() == [0, 0, 0, 0, 0, 0, 0, 0, -0.5, 0, 0, 0, 0, -1.0, 0, 10.0]
    # prompt 8 + 4 ⏎, then é and ² of two bytes each, ⏎, 4 EOS
    assert rewards[1, :11].tolist() == [0, 0, 0, 0, 0, 0, 0, -1.5, 0, 0.0, -1.0]
    assert not rewards[1, 11:].any()
    assert not rewards[~tokens.actions].any()


def test_potential_takes_back_at_the_end_what_the_steps_still_hold(tokenizer: "PreTrainedTokenizerBase") -> None:
    """Worked by hand: Φ = 0.75, 0.5, so the steps get -0.25 and -0.25, the last token 1 - 0.5: in all 1 - Φ_0 = 0."""
    tokens = pack([written(tokenizer, "8+4-3\n", "12-3\n#### 9")])
    [rewards] = token_rewards(tokens, [StepScores(np.array([0.75, 0.5]))], [RIGHT], CreditConfig(form="potential"))
    assert rewards[rewards != 0].tolist() == [-0.25, -0.25, 0.5]
    assert rewards[-1] == 0.5


@settings(deadline=None)  # a busy machine is no failure
@given(p=SCORES.filter(len))
def test_potential_pays_the_same_whatever_the_scores(p: np.ndarray) -> None:
    completion = Completion((*range(len(p)), 99), np.zeros(len(p) + 1, np.float32), "stop")
    steps = tuple(Step("a", 2 * i, 2 * i + 1) for i in range(len(p)))
    rollout = Rollout((1,), completion, Solution(PROBLEM, "a " * len(p), steps), tuple(range(len(p))))
    for verdict, total in ((RIGHT, 0.0), (WRONG, -1.0)):
        rewards = token_rewards(pack([rollout]), [StepScores(p)], [verdict], CreditConfig(form="potential"))
        assert float(rewards.sum()) == pytest.approx(total, abs=1e-5)


def test_steps_that_end_in_one_token_share_it() -> None:
    steps = (Step("a", 0, 1), Step("b", 2, 3))
    completion = Completion((5, 6), np.zeros(2, np.float32), "length")
    rollout = Rollout((1, 2), completion, Solution(PROBLEM, "a\nb", steps), (1, 1))
    rewards = token_rewards(
        pack([rollout]), [StepScores(np.array([0.5, 0.25]))], [WRONG], CreditConfig(form="sum", no_answer=-0.125)
    )
    assert rewards.tolist() == [[0, 0, 0, 0.5 + 0.25 - 0.125]]


def test_outcome_form_pays_nothing_for_steps(tokenizer: "PreTrainedTokenizerBase") -> None:
    tokens = pack([written(tokenizer, "8+4-3\n", "12-3\n#### 9")])
    config = CreditConfig(form="outcome")
    results = [token_rewards(tokens, [StepScores(np.array(p))], [RIGHT], config) for p in ([0.0, 0.1], [1.0, 0.9])]
    assert results[0].tolist() == results[1].tolist()
    assert results[0][0, -1] == 1.0
    assert results[0].count_nonzero() == 1
