from typing import Any

from rung.report_samples import PER_KIND, choose, cut_into_steps, tint_of

TEXT = "Setup: First.\nSecond.\nEnd"
STEPS: list[dict[str, Any]] = [
    {"start": 7, "end": 13, "score": 0.91, "label": 1},
    {"start": 14, "end": 21, "score": 0.2, "label": 0},
]


def test_steps_and_the_words_between_them() -> None:
    views = cut_into_steps(TEXT, STEPS)
    assert [(v.text, v.score, v.tint, v.first_wrong) for v in views] == [
        ("Setup: ", "", "", False),
        ("First.", "0.91", "t9", False),
        ("Second.", "0.20", "t2", True),
        ("End", "", "", False),
    ]


def test_only_the_first_wrong_step_is_marked() -> None:
    steps = [{"start": i, "end": i + 1, "score": 0.5, "label": label} for i, label in enumerate((None, 0, 0, 1))]
    assert [v.first_wrong for v in cut_into_steps("abcd", steps)] == [False, True, False, False]


def test_wild_offsets_lose_and_double_nothing() -> None:
    wild = [(5, 2), (-3, 4), (2, 99), (None, "x")]
    views = cut_into_steps("abcdef", [{"start": a, "end": b, "score": None} for a, b in wild])
    assert "".join(v.text for v in views) == "abcdef"


def test_tints_cover_zero_to_one() -> None:
    assert [tint_of(s) for s in (0.0, 0.1, 0.55, 0.999, 1.0, float("nan"))] == ["t0", "t1", "t5", "t9", "t9", ""]


def row(correct: bool, score: float | None, reason: str = "mismatch", arm: str = "sft") -> dict[str, Any]:
    steps = [{"start": 0, "end": 1, "score": score}, {"start": 1, "end": 2, "score": 0.95}]
    return {"arm": arm, "text": "ab", "steps": steps, "correct": correct, "reason": reason}


def test_kinds_and_flags() -> None:
    rows = [row(True, 0.4), row(True, 0.9), row(False, 0.6), row(False, 0.1), row(False, 0.9, "timeout")]
    shown = [(s.kind, s.flag, s.score) for s in choose([row | {"threshold": 0.6} for row in rows])]
    assert shown == [
        ("right", "low", "0.40"),
        ("right", "high", "0.90"),
        ("wrong", "high", "0.60"),
        ("wrong", "low", "0.10"),
        ("untold", "high", "0.90"),  # nobody could tell whether it was wrong
    ]
    assert [s.flag for s in choose([{"text": "no scores"}])] == [""]


def test_the_first_of_each_kind_are_shown() -> None:
    rows = [row(False, 0.1) | {"id": i, "gold": str(i)} for i in range(30)] + [
        row(True, 0.9),
        row(False, 0.1, arm="ppo-process"),
    ]
    shown = choose(rows)
    assert [s.gold for s in shown[:PER_KIND]] == [str(i) for i in range(PER_KIND)]
    assert [(s.arm, s.kind) for s in shown[PER_KIND:]] == [("sft", "right"), ("process", "wrong")]


def test_a_runaway_solution_is_cut() -> None:
    view = choose([{"text": "x" * 7000, "steps": [{"start": 0, "end": 7000, "score": 0.5}]}])[0]
    assert (len(view.steps[0].text), view.cut) == (6000, 1000)
