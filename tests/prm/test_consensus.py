"""prm.consensus: agreement of two labellers and the mixing of several, worked by hand."""

import math
import random

import pytest
from toy_models import solution

from prm.consensus import agreement, first_wrong, mix, verdicts
from prm.scores import LabeledSolution
from verifiers.solution import Problem

PROBLEM = Problem("chain", "8+4-3", "9")
Labels = tuple[float | None, ...]


def by(origin: str, *labels: float | None) -> LabeledSolution:
    text = "\n".join(str(i) for i in range(len(labels)))
    return LabeledSolution(solution(text, PROBLEM), labels, tuple(None if x is None else origin for x in labels))


def test_what_a_label_says_depends_on_where_it_is_from() -> None:
    """A quarter of the roll-outs reach the answer: it can be reached. A quarter of a probability: likelier wrong."""
    assert verdicts(by("monte_carlo", 0.25, 0.0, None)) == (True, False, None)
    assert verdicts(by("omega", 0.25)) == verdicts(by("omega_inferred", 1.0)) == (True,)
    assert verdicts(by("judge", 0.25, 0.5)) == (False, True)
    assert first_wrong(by("monte_carlo", 0.25, None, 0.0)) == 2
    assert first_wrong(by("judge", None, 1.0)) == -1


def test_agreement_by_hand() -> None:
    """Table [[4, 1], [2, 3]]: agree 0.7, by chance 0.5·0.6 + 0.5·0.4 = 0.5, so kappa = 0.2 / 0.5 = 0.4."""
    symbolic = by("symbolic", 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, None, 1)
    monte_carlo = by("monte_carlo", 0, 0, 0, 0, 0.25, 0, 0, 0.25, 0.5, 1, 1, None)
    found = agreement([symbolic], [monte_carlo])
    assert (found.both, found.table) == (10, ((4, 1), (2, 3)))
    assert found.agree == pytest.approx(0.7)
    assert found.kappa == pytest.approx(0.4)
    # 25 pairs of a right and a wrong step; 0: 4 ties and 1 loss each, 0.25: 4 wins and 1 tie, 0.5 and 1: 5 wins
    assert found.auc == pytest.approx((2 * 2.0 + 4.5 + 2 * 5) / 25)
    assert found.first_errors == 1.0
    later = agreement(
        [symbolic, by("symbolic", 1, 0), by("symbolic", None)], [monte_carlo, by("judge", 1, 1), by("judge", 1)]
    )
    assert later.first_errors == 0.5  # the third was not judged by both


def test_agreement_is_cohen_s_kappa_whatever_the_labels() -> None:
    rng = random.Random(0)
    first = [float(rng.random() < 0.7) for _ in range(300)]
    second = [rng.choice([0, 0, x, 0.25]) for x in first]
    found = agreement([by("judge", *first)], [by("monte_carlo", *second)])
    a, b = [x > 0.5 for x in first], [x > 0 for x in second]
    by_chance = sum((sum(x is v for x in a) / 300) * (sum(y is v for y in b) / 300) for v in (True, False))
    observed = sum(x is y for x, y in zip(a, b, strict=True)) / 300
    assert found.agree == pytest.approx(observed)
    assert found.kappa == pytest.approx((observed - by_chance) / (1 - by_chance))


def test_labels_of_one_class_leave_agreement_undefined() -> None:
    wrong = by("judge", 0.0, 0.0)
    found = agreement([wrong], [wrong])
    assert found.agree == 1.0
    assert math.isnan(found.kappa)
    assert math.isnan(found.auc)
    nothing = agreement([by("judge", None)], [by("judge", 0.5)])
    assert nothing.both == 0
    assert math.isnan(nothing.auc)
    assert math.isnan(nothing.first_errors)


def test_any_takes_the_first_that_judged_a_step() -> None:
    (mixed,) = mix([[by("symbolic", 1.0, None, None)], [by("monte_carlo", 0.0, 0.25, None)]], "any")
    assert mixed.labels == (1.0, 0.25, None)
    assert mixed.origins == ("symbolic", "monte_carlo", None)


def test_agreeing_steps_need_two_who_say_the_same() -> None:
    first, second = by("monte_carlo", 0.25, 0.0, 0.5, None), by("judge", 1.0, 1.0, None, 0.0)
    (mixed,) = mix([[first], [second]], "agreeing_steps")
    assert mixed.labels == (0.25, None, None, None)
    assert mixed.origins == ("monte_carlo+judge", None, None, None)
    assert mix([[by("judge", 1.0)], [by("monte_carlo", 0.0)]], "agreeing_steps") == []


@pytest.mark.parametrize(
    ("monte_carlo", "judge", "labels"),
    [
        ((0.5, 0.0, 0.25), (1.0, 0.0, 0.0), (1.0, 0.0, None)),  # the same first error
        ((0.5, 0.0, 0.0), (1.0, 1.0, 0.0), None),  # another
        ((0.5, 0.25, 1.0), (1.0, None, 1.0), (1.0, 1.0, 1.0)),  # none, and each step was judged by somebody
        ((0.5, 0.25, 1.0), (None, None, None), None),  # the judge could not tell, which is no agreement
        ((0.0, 0.25, 1.0), (None, 1.0, 1.0), None),
    ],
)
def test_consensus_keeps_solutions_with_the_same_first_error(
    monte_carlo: Labels, judge: Labels, labels: Labels
) -> None:
    mixed = mix([[by("monte_carlo", *monte_carlo)], [by("judge", *judge)]], "consensus")
    assert [item.labels for item in mixed] == ([] if labels is None else [labels])
    if mixed:
        assert mixed[0].origins[0] == "monte_carlo+judge"


def test_a_solution_without_steps_is_nothing_to_learn_from() -> None:
    for keep in ("any", "agreeing_steps", "consensus"):
        assert mix([[by("judge")], [by("monte_carlo")]], keep) == []  # type: ignore[arg-type]
