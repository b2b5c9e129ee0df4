"""Two result files written by hand: what changed, how sure the difference is, and which problems flipped."""

import json
from pathlib import Path
from typing import Any

import pytest

from lm.config import to_yaml
from lm.errors import UserError
from rung.compare import CompareConfig, compare, told
from rung.evaluate_math import MathConfig


def write(folder: Path, greedy: list[bool], drawn: list[list[bool]], config: MathConfig) -> None:
    folder.mkdir()
    (folder / "config.yaml").write_text(to_yaml(config))
    rows: list[dict[str, Any]] = []
    for i, right in enumerate(greedy):
        for number, ok in [(-1, right), *enumerate(drawn[i])]:
            row = {"set": "gsm8k" if i < 8 else "math", "id": f"p{i}", "question": f"Q{i}", "gold": "7"}
            rows.append(row | {"sample": number, "correct": ok, "predicted": "7" if ok else "8"})
    (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def found(tmp_path: Path) -> dict[str, Any]:
    # of eight, one is lost and six are gained; of the two of math nothing changes
    a = [True, False, False, False, False, False, False, True, True, False]
    b = [False, True, True, True, True, True, True, True, True, False]
    write(tmp_path / "a", a, [[False, True]] * 10, MathConfig(policy="one", folder=tmp_path / "a"))
    write(tmp_path / "b", b, [[True, True]] * 10, MathConfig(policy="two", folder=tmp_path / "b", prompt="base"))
    return compare(CompareConfig(a=tmp_path / "a", b=tmp_path / "b"))


def test_what_changed_and_what_flipped(found: dict[str, Any]) -> None:
    assert found["config"] == {"policy": ["one", "two"], "prompt": ["boxed", "base"]}
    gsm8k, math = found["sets"]["gsm8k"], found["sets"]["math"]
    assert (gsm8k["problems"], gsm8k["a"], gsm8k["b"]) == (8, 0.25, 0.875)
    assert gsm8k["greedy"]["mean"] == pytest.approx(0.625)
    assert gsm8k["greedy"]["low"] < 0.625 < gsm8k["greedy"]["high"]
    assert gsm8k["mcnemar"] == pytest.approx(2 * (1 + 7) / 2**7)  # 7 flips, at most one of them the other way
    assert [flip["id"] for flip in gsm8k["gained"]] == [f"p{i}" for i in range(1, 7)]
    assert gsm8k["lost"] == [{"id": "p0", "gold": "7", "a": "7", "b": "8"}]
    assert gsm8k["samples"] == {"mean": 0.5, "low": 0.5, "high": 0.5}
    assert (math["problems"], math["mcnemar"], math["gained"], math["greedy"]["mean"]) == (2, 1.0, [], 0.0)


def test_the_lines(found: dict[str, Any]) -> None:
    lines = list(told(found, 2))
    assert lines[:2] == ['policy: "one" -> "two"', 'prompt: "boxed" -> "base"']
    assert "  flipped      6 gained, 1 lost; McNemar's exact test: p = 0.125" in lines
    assert "  gained p1: '8' -> '7', gold '7'" in lines
    assert sum(line.startswith("  gained") for line in lines) == 2


def test_only_shared_problems_are_compared(tmp_path: Path) -> None:
    config = MathConfig()
    write(tmp_path / "a", [True, True, False], [[]] * 3, config)
    write(tmp_path / "b", [False, True], [[]] * 2, config)
    found = compare(CompareConfig(a=tmp_path / "a", b=tmp_path / "b"))
    assert (found["config"], found["only_in_one"]) == ({}, 1)
    assert found["sets"]["gsm8k"]["problems"] == 2
    assert "samples" not in found["sets"]["gsm8k"]
    with pytest.raises(UserError, match=r"no results\.jsonl"):
        compare(CompareConfig(a=tmp_path, b=tmp_path / "b"))
    write(tmp_path / "c", [], [], config)
    (tmp_path / "c/results.jsonl").write_text((tmp_path / "a/results.jsonl").read_text().replace('"Q', '"another Q'))
    with pytest.raises(UserError, match="share no problem"):
        compare(CompareConfig(a=tmp_path / "a", b=tmp_path / "c"))
