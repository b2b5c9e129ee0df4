"""Which candidate is given, worked by hand."""

from prm.choice import answer_classes, choose


def test_best_majority_and_weighted_disagree_where_they_should() -> None:
    answers = ["7", "0.5", "1/2", "\\frac{1}{2}", "8", "8"]
    scores = [0.9, 0.1, 0.3, 0.2, 0.5, 0.45]
    assert choose(answers, scores, "best") == 0
    assert choose(answers, scores, "majority") == 2  # three say a half; the best of them
    assert choose(answers, scores, "weighted") == 4  # .95 for 8, .9 for 7, .6 for a half


def test_no_answer_has_no_vote() -> None:
    assert choose([None, None, "3"], [0.9, 0.8, 0.1], "majority") == 2
    assert choose([None, None, "3"], [0.9, 0.8, 0.1], "best") == 0
    assert choose([None, None], [0.1, 0.2], "weighted") == 1


def test_of_equals_the_first() -> None:
    assert choose(["1", "2"], [0.5, 0.5], "best") == 0
    assert choose(["1", "2", "2", "1"], [0.2, 0.5, 0.1, 0.3], "majority") == 3


def test_answers_are_classed_as_the_verifier_does() -> None:
    assert answer_classes(["1/2", None, "0.5", "3", "\\frac{1}{2}", "3"]) == [0, None, 0, 1, 0, 1]
    assert answer_classes([]) == []
