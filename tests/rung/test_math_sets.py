"""Benchmarks in their own columns, in Rung's, and the published ones where they lie beside the repository."""

import json
from pathlib import Path
from typing import Any

import pytest

from lm.errors import UserError
from rung.math_sets import SETS, load_set
from verifiers.solution import Problem
from verifiers.verify import verify

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.mark.parametrize("name", SETS)
def test_a_file_in_a_benchmarks_own_columns(name: str, tmp_path: Path) -> None:
    record, file = SETS[name], tmp_path / "test.jsonl"
    gold = "As $1+6=7$ it is $\\boxed{7}$." if record.worked else "7"
    file.write_text(json.dumps({record.question: "How many?", record.answer: gold}) + "\n")
    (problem,) = load_set(name, str(file))
    assert (problem.question, problem.answer) == ("How many?", "7")
    assert verify(problem, "So it is \\boxed{7}.").correct


def test_answers_of_other_kinds(tmp_path: Path) -> None:
    rows = [{"question": "Q?", "options": ["A)21", "B)7"], "correct": "B"}]
    rows += [{"question": "R?", "options": ["A)1", "B)2"], "correct": "A"}]
    file = tmp_path / "aqua.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, _ = load_set("aqua", str(file))
    assert first.question == "Q?\nA)21\nB)7"
    assert verify(first, "The answer is (B).").correct
    assert load_set("aqua", str(file), 1) == [first]
    file.write_text(json.dumps({"question": "Roots?", "final_answer": ["$1$", "$2$"]}) + "\n")
    assert verify(load_set("olympiadbench", str(file))[0], "\\boxed{1, 2}").correct
    file.write_text(json.dumps({"question": "Q", "answer": "2+2 is <<2+2=4>>4.\n#### 4"}) + "\n")
    assert load_set("gsm8k", str(file)) == [Problem("aqua-0", "Q", "4")]


def test_a_file_of_ones_own_under_any_name(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps({"id": "x", "question": "Q", "gold_answer": "5"}) + "\n")
    assert load_set("mine", str(file)) == load_set("math", str(file)) == [Problem("x", "Q", "5")]
    with pytest.raises(UserError, match=r"no benchmark 'mine'; one of gsm8k, .* or give a file as sets\.mine=FILE"):
        load_set("mine", None)
    with pytest.raises(UserError, match=r"sets\.math: .*absent\.jsonl: no such file"):
        load_set("math", "absent.jsonl")


# The rows' columns as the hub's data sets have them (their cards and viewers), with values of the cards' types.
LAYOUTS: dict[str, dict[str, Any]] = {
    "gsm8k": {"question": "3 + 4?", "answer": "3+4 is <<3+4=7>>7.\n#### 7"},
    "math": {"problem": "3 + 4?", "level": "Level 1", "type": "Algebra", "solution": "It is $\\boxed{7}$."},
    "math500": {
        "problem": "3 + 4?",
        "solution": "It is $\\boxed{7}$.",
        "answer": "7",
        "subject": "Algebra",
        "level": 1,
        "unique_id": "test/algebra/1.json",
    },
    "aime": {"id": 0, "problem": "3 + 4?", "solution": "It is 7.", "answer": "007", "url": "x"},
    "aime2024": {"id": 60, "problem": "3 + 4?", "solution": "It is 7.", "answer": "7", "url": "x", "year": "2024"},
    "amc": {"id": 0, "problem": "3 + 4?", "answer": 7.0, "url": "x"},
    "olympiadbench": {
        "id": 2498,
        "question": "3 + 4?",
        "solution": ["It is 7."],
        "final_answer": ["$7$"],
        "context": None,
        "image_1": None,
        "modality": "Text-only",
        "difficulty": "Competition",
        "is_multiple_answer": False,
        "unit": None,
        "answer_type": "Numerical",
        "error": None,
        "question_type": "Open-ended",
        "subfield": "Algebra",
        "subject": "Math",
        "language": "English",
    },
    "svamp": {
        "ID": "chal-1",
        "Body": "Ann has 3 pens and buys 4.",
        "Question": "How many?",
        "Equation": "( 3.0 + 4.0 )",
        "Answer": "7",
        "Type": "Addition",
        "question_concat": "Ann has 3 pens and buys 4. How many?",
    },
    "gsm_hard": {"input": "3 + 4?", "code": "def solution():\n    return 7", "target": 7.0},
    "multiarith": {"question": "3 + 4?", "final_ans": "7"},
    "aqua": {"question": "3 + 4?", "options": ["A)6", "B)7"], "rationale": "3 + 4 = 7", "correct": "B"},
}


@pytest.mark.parametrize("name", SETS)
def test_a_folder_laid_out_as_on_the_hub(name: str, tmp_path: Path) -> None:
    """A card that names configuration and split, and parquet files beside it: what the hub's client downloads."""
    from datasets import Dataset

    record, folder = SETS[name], tmp_path / SETS[name].hub
    folder.mkdir(parents=True)
    rows = Dataset.from_list([LAYOUTS[name], LAYOUTS[name] | ({"id": 99} if "id" in LAYOUTS[name] else {})])
    config = record.config or "default"
    rows.to_parquet(folder / config / f"{record.split}-00000-of-00001.parquet")
    other = Dataset.from_list([{"unlike": 1}])  # another configuration must not be read
    other.to_parquet(folder / "other" / f"{record.split}-00000-of-00001.parquet")
    card = [
        {"config_name": each, "data_files": [{"split": record.split, "path": f"{each}/{record.split}-*"}]}
        for each in (config, "other")
    ]
    (folder / "README.md").write_text(f"---\nconfigs: {json.dumps(card)}\n---\n")
    problem, _ = load_set(name, str(folder))
    assert problem.question.startswith(("3 + 4?", "Ann has 3 pens and buys 4. How many?"))
    said = "B" if name == "aqua" else "7"
    assert verify(problem, f"So the answer is \\boxed{{{said}}}.").correct
    assert not verify(problem, "So the answer is \\boxed{A}.").correct
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=f"sets.{name}: .*a folder, not a file"):
        load_set(name, str(empty))


PUBLISHED = {
    "gsm8k": ("gsm8k/test", 1319),
    "math": ("math/test", 5000),
    "math500": ("math/math500", 500),
    "olympiadbench": ("problems/olympiadbench_en_text", 675),
    "gsm_hard": ("problems/gsm_hard", 1319),
    "multiarith": ("problems/multiarith", 600),
    "aqua": ("problems/aqua_test", 254),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_files(name: str) -> None:
    place, count = PUBLISHED[name]
    path = SHARED / f"{place}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"shared/data/{place}.jsonl.gz is not beside the repository")
    problems = load_set(name, str(path))
    assert len(problems) == count
    for problem in problems[:20]:
        assert verify(problem, f"So the answer is \\boxed{{{problem.answer}}}.").correct, problem
