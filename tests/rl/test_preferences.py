"""Pairs from files and from labelled steps, their split, and their token ids."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lm.errors import UserError
from prm.scores import LabeledSolution
from rl.preferences import Preference, PreferenceData, encode_preferences, load_preferences, step_pairs
from verifiers.solution import Problem, Solution
from verifiers.split import split_steps

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def labelled(question: str, text: str, labels: list[float | None]) -> LabeledSolution:
    solution = Solution(Problem("1", question, "9"), text, split_steps(text))
    return LabeledSolution(solution, tuple(labels), tuple(None if x is None else "x" for x in labels))


def test_a_split_keeps_prompts_and_groups_together(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{i % 10}", "chosen": f"c{i}", "rejected": "r"} for i in range(40)]
    rows += [{"question": f"q{i}", "chosen": "c", "rejected": "r", "group": "one", "prefix": "so "} for i in range(5)]
    data = PreferenceData(pairs=(write(tmp_path / "a.jsonl", rows),), validation_fraction=0.3)
    train, held = load_preferences(data, 0)
    assert len(train) + len(held) == 45
    assert len({p.group for p in held}) == 3
    assert not {p.group for p in train} & {p.group for p in held}
    assert load_preferences(data, 0) == (train, held)
    assert load_preferences(data, 1)[1] != held
    assert Preference("p3", "c3", "r", "p3") in train + held
    assert Preference("q2", "c", "r", "one", "so ") in train + held


def test_a_ranking_is_every_pair_of_different_places(tmp_path: Path) -> None:
    row = {"question": "q", "answer": "9", "solutions": ["a", "b", "c", "d"], "ranking": [[2], [0, 3], [1]]}
    data = PreferenceData(pairs=(write(tmp_path / "a.jsonl", [row]),), validation_fraction=0.0)
    train, _ = load_preferences(data, 0)
    assert [(p.chosen, p.rejected) for p in train] == [("c", "a"), ("c", "d"), ("c", "b"), ("a", "b"), ("d", "b")]
    assert {(p.question, p.group) for p in train} == {("q", "q")}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "p", "chosen": "c"}, "no 'rejected'"),
        ({"prompt": "p", "chosen": 3, "rejected": "r"}, "'chosen' must be text, not 3"),
        ({"prompt": "p", "chosen": "c", "rejected": "r", "prefix": 1}, "'prefix' must be text"),
        ({"prompt": "p", "ranking": [[0]]}, "no 'solutions'"),
        ({"prompt": "p", "ranking": [0, 1], "solutions": ["a", "b"]}, "a list of places"),
        ({"prompt": "p", "ranking": [[0], ["1"]], "solutions": ["a", "b"]}, "name each of the 2 solutions once"),
        ({"prompt": "p", "ranking": [[1], [0, 0]], "solutions": ["a", "b"]}, "name each of the 2 solutions once"),
        ({"prompt": "p", "ranking": [[1], [0]], "solutions": ["a", 2]}, "'rejected' must be text, not 2|'chosen' must"),
    ],
)
def test_a_malformed_row_is_named(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "a.jsonl", [{"prompt": "p", "chosen": "c", "rejected": "r"}, row])
    with pytest.raises(UserError, match=message) as caught:
        load_preferences(PreferenceData(pairs=(path,)), 0)
    assert path in str(caught.value)


def test_nothing_to_learn_from(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"give data\.pairs"):
        load_preferences(PreferenceData(), 0)
    one = write(tmp_path / "one.jsonl", [{"prompt": "p", "chosen": "c", "rejected": "r"}])
    with pytest.raises(UserError, match="no training pairs"):
        load_preferences(PreferenceData(pairs=(one,), validation_fraction=0.9), 0)


def test_step_pairs_by_hand() -> None:
    """Two wrong second steps after the same right first one; nothing after a wrong or an unjudged step counts."""
    items = [
        labelled("8+4-3", "12-3\n9\n#### 9", [1.0, 1.0, 1.0]),
        labelled("8+4-3", "12-3\n8\n#### 8", [1.0, 0.0, 0.0]),
        labelled("8+4-3", "12-3\n7", [1.0, 0.25]),
        labelled("8+4-3", "11-3\n7", [0.0, 0.0]),
        labelled("8+4-3", "12-3\n5", [None, 0.0]),
        labelled("1+1", "3", [0.0]),
    ]
    assert step_pairs(items) == [
        Preference("8+4-3", "9\n", "8\n", "8+4-3", "12-3\n"),
        Preference("8+4-3", "9\n", "7", "8+4-3", "12-3\n"),
        Preference("8+4-3", "12-3\n", "11-3\n", "8+4-3", ""),
    ]


def test_token_ids(tokenizer: "PreTrainedTokenizerBase") -> None:
    whole, step = Preference("1+1", "2", "3", "g"), Preference("1+1", "2", "3", "g", "so ")
    [chosen, next_chosen], [rejected, _] = encode_preferences(tokenizer, [whole, step], "{question}=")
    decode = tokenizer.decode
    assert (decode(chosen[0]), decode(chosen[1][:-1]), chosen[1][-1]) == ("1+1=", "2", tokenizer.eos_token_id)
    assert decode(rejected[1][:-1]) == "3"
    assert (decode(next_chosen[0]), decode(next_chosen[1])) == ("1+1=so ", "2")
