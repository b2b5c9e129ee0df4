"""prm.label_formats: one row of each published layout, worked by hand, and the published samples against each other."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from lm.errors import UserError
from prm.label_formats import JudgedSteps, LeftOutError, parse
from prm.readers import read_step_labels

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared step-label data is not beside the repository")

Row = dict[str, Any]
PRM800K: Row = {
    "labeler": "x",
    "question": {"problem": "2 + 3?", "ground_truth_answer": "5"},
    "label": {
        "steps": [
            {"completions": [{"text": "Add.", "rating": 1}], "human_completion": None, "chosen_completion": 0},
            {
                "completions": [{"text": "So 6.", "rating": -1}, {"text": "Hm.", "rating": 0}],
                "human_completion": {"text": "So 5.", "rating": None, "source": "human"},
                "chosen_completion": None,
            },
            {
                "completions": [
                    {"text": "Done.\n\n# Answer\n\n5", "rating": 1},
                    {"text": "It is 5.", "rating": None},
                    {"text": "Done.", "rating": 1},
                ],
                "human_completion": None,
                "chosen_completion": 0,
            },
        ],
        "finish_reason": "solution",
    },
}


def read(row: Row) -> list[JudgedSteps]:
    return parse(row, "file:7")


def counted(found: list[JudgedSteps]) -> list[tuple[tuple[str, ...], tuple[Any, ...]]]:
    """(steps, the judgements that count in this path)."""
    return [(item.steps, item.judgements[item.new_from :]) for item in found]


def test_prm800k_follows_the_chosen_completion_and_counts_each_rating_once() -> None:
    found = read(PRM800K)
    assert counted(found) == [
        (("Add.", "So 5.", "Done."), (1.0, None, 1.0)),  # rated twice, alike; its answer's tail is no step
        (("Add.", "So 5.", "It is 5."), (None,)),
        (("Add.", "So 6."), (0.0,)),
        (("Add.", "Hm."), ("neutral",)),
    ]
    assert [item.problem.id for item in found] == [f"file:7/{i}" for i in range(4)]
    assert {item.problem.answer for item in found} == {"5"}
    assert {item.origin for item in found} == {"human_each_step"}


def test_prm800k_labellers_who_disagree_and_a_problem_that_is_bad() -> None:
    row = json.loads(json.dumps(PRM800K))
    row["label"]["steps"][2]["completions"][2]["rating"] = -1
    assert read(row)[0].judgements == (1.0, None, "disputed")
    row["label"]["finish_reason"] = "bad_problem"
    with pytest.raises(LeftOutError, match="bad problem"):
        read(row)


def test_a_tree_of_the_re_formatted_prm800k_is_the_same_tree() -> None:
    levels = []
    for step in PRM800K["label"]["steps"]:
        level = [
            {"text": c["text"].split("\n")[0], "rating": c["rating"], "chosen": i == step["chosen_completion"]}
            for i, c in enumerate(step["completions"])
        ]
        human = step["human_completion"]
        levels.append(level + ([{"text": human["text"], "rating": None, "chosen": True}] if human else []))
    tree = {"id": "t", "question": "2 + 3?", "gold_answer": "5", "levels": levels, "source": "prm800k/phase1"}
    assert counted(read(tree)) == counted(read(PRM800K))
    assert read(tree)[0].source == "prm800k/phase1"


def test_math_shepherd_reads_the_signs_where_the_tags_are() -> None:
    row = {
        "input": "Is 1 - 1 + 2 = 2? Step 1: 1 - 1 = 0. ки\nStep 2: 0 + 2 = 3. ки\nStep 3: So, no. The answer is: 3 ки",
        "label": "Is 1 - 1 + 2 = 2? Step 1: 1 - 1 = 0. +\nStep 2: 0 + 2 = 3. -\nStep 3: So, no. The answer is: 3 -",
        "task": "GSM8K",
    }
    (found,) = read(row)
    assert found.problem.question == "Is 1 - 1 + 2 = 2?"
    assert found.steps == ("1 - 1 = 0.", "0 + 2 = 3.", "So, no. The answer is: 3")
    assert (found.judgements, found.origin) == ((1.0, 0.0, 0.0), "monte_carlo")

    (found,) = read({name: row[name] + "\nStep 4: more" for name in ("input", "label")})
    assert found.judgements == (1.0, 0.0, 0.0, None)  # no tag after it: nobody judged it

    for label in (row["label"].replace("+\n", "?\n"), row["label"] + " more", row["label"].replace("no.", "yes.")):
        with pytest.raises(ValueError, match="'label'"):
            read(row | {"label": label})
    with pytest.raises(ValueError, match="no 'Step 1:'"):
        read({"input": "Why? Because. ки", "label": "Why? Because. +"})


APS_TREE: Row = {
    "question": "Q",
    "final_answer": "5",
    "question_id": 3,
    "reasoning_steps": {
        "text": "Q",
        "mc_value": 0.5,
        "children": [
            {"text": "\n\nA", "mc_value": 0.25, "children": [{"text": "\nB", "mc_value": 0.0, "children": []}]},
            {"text": "\n\nA", "mc_value": 0.75, "children": [{"text": "\nC", "mc_value": 1.0, "children": []}]},
        ],
    },
}


def test_math_aps_averages_what_was_estimated_twice_and_rebuilds_the_tree_of_prefixes() -> None:
    found = read(APS_TREE)
    assert sorted(item.steps for item in found) == [("A", "B"), ("A", "C")]
    assert sorted(x for item in found for x in item.judgements[item.new_from :]) == [0.0, 0.5, 1.0]
    assert (found[0].problem.id, found[0].origin) == ("3/0", "omega")
    prefixes = [("Q", 0.5), ("Q\n\nA", 0.25), ("Q\n\nA\nB", 0.0), ("Q\n\nA", 0.75), ("Q\n\nA\nC", 1.0)]
    flat = APS_TREE | {"reasoning_steps": [{"solution_prefix": p, "mc_value": v} for p, v in prefixes]}
    assert sorted(item.steps for item in read(flat)) == [("A", "B"), ("A", "C")]
    assert sorted(x for item in read(flat) for x in item.judgements[item.new_from :]) == [0.0, 0.5, 1.0]
    with pytest.raises(ValueError, match="does not begin with the question"):
        read(APS_TREE | {"reasoning_steps": [{"solution_prefix": "R", "mc_value": 1.0}]})
    with pytest.raises(ValueError, match=r"'mc_value' is 1\.5"):
        read(APS_TREE | {"reasoning_steps": [{"solution_prefix": "Q A", "mc_value": 1.5}]})


def test_trl_s_null_and_minus_100_are_nobody_s_judgement() -> None:
    """The classic bug: both are truthy or None-as-False to a careless reader."""
    row = {"prompt": "Q", "completions": ["a", "b", "c", "d", "e"], "labels": [True, None, -100, 0.25, False]}
    (found,) = read(row)
    assert found.judgements == (1.0, None, None, 0.25, 0.0)
    for wrong in (-1, 2, "+"):
        with pytest.raises(ValueError, match="'labels' is"):
            read(row | {"labels": [True, None, -100, wrong, False]})
    with pytest.raises(ValueError, match="list of 5"):
        read(row | {"labels": [True]})


def test_first_errors_counted_from_0_and_from_1_are_the_same_step() -> None:
    steps = ["a", "b", "c"]
    processbench = {"id": "gsm8k-0", "problem": "Q", "steps": steps, "label": 1, "final_answer_correct": False}
    vtg = {"problem": "Q", "student_incorrect_solution": steps, "incorrect_index": 1, "reference_solution": "x"}
    mr_ben = {
        "Question": "Q",
        "Options": "A: 1 \nB: 2 ",
        "Ground_Truth_Answer": "B",
        "Model_Solution_Steps": ["Step 1: a", "", "Step 2: b", "c"],
        "Model_Solution_First_Error_Step": "3",
    }
    for row in (processbench, vtg, mr_ben):
        (found,) = read(row)
        assert (found.steps, found.judgements) == (("a", "b", "c"), (1.0, 0.0, None)), row
        assert found.origin == "human_first_error"
    assert read(mr_ben)[0].problem.question == "Q\nA: 1 \nB: 2"
    assert read(processbench | {"label": -1})[0].judgements == (1.0, 1.0, 1.0)
    assert read(mr_ben | {"Model_Solution_First_Error_Step": "N/A"})[0].judgements == (1.0, 1.0, 1.0)
    for row in (
        processbench | {"label": 3},
        processbench | {"label": True},
        vtg | {"incorrect_index": None},
        mr_ben | {"Model_Solution_First_Error_Step": "0"},
        mr_ben | {"Model_Solution_First_Error_Step": "2"},  # the blank one
        mr_ben | {"Model_Solution_First_Error_Step": "five"},
    ):
        with pytest.raises(ValueError, match=r"(?i)first.error"):
            read(row)


def test_prmbench_counts_from_1_and_judges_every_step() -> None:
    row = {
        "idx": "circular_prm_test_p1_0",
        "modified_question": "Q",
        "modified_process": ["a", "b", "c"],
        "error_steps": [2],
        "classification": "circular",
    }
    (found,) = read(row)
    assert (found.judgements, found.error_type) == ((1.0, 0.0, 1.0), "circular")
    assert read(row | {"error_steps": []})[0].judgements == (1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="'error_steps'"):
        read(row | {"error_steps": [4]})


def test_columns_that_no_layout_has() -> None:
    with pytest.raises(ValueError, match="columns a, b: no layout"):
        read({"a": 1, "b": 2})


def test_a_solution_of_ten_thousand_steps_is_one_like_any_other() -> None:
    steps = [{"completions": [{"text": f"step {i}", "rating": 1}], "chosen_completion": 0} for i in range(10_000)]
    row = PRM800K | {"label": {"steps": steps, "finish_reason": "solution"}}
    (found,) = read(row)
    assert (len(found.steps), set(found.judgements)) == (10_000, {1.0})
    chain: Row = {"text": "s", "mc_value": 1.0, "children": []}
    for _ in range(500):
        chain = {"text": "s ", "mc_value": 1.0, "children": [chain]}
    aps = APS_TREE | {"reasoning_steps": {"text": "Q", "mc_value": 1.0, "children": [chain]}}
    assert len(read(aps)[0].steps) == 501


# --- the published samples, against the same data as somebody else re-formatted it ------------------------------------


@needs_data
def test_the_raw_prm800k_sample_is_the_tree_of_the_same_problem() -> None:
    path = SHARED / "raw_format_samples/samples_prm800k.jsonl"
    raw = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    checked = 0
    for name in ("phase1_train", "phase1_test"):
        with gzip.open(SHARED / f"prm800k/{name}.trees.jsonl.gz", "rt", encoding="utf-8") as lines:
            trees = [json.loads(line) for line in lines]
        for row in raw:
            ours = sorted(map(str, counted(read(row))))
            same = [t for t in trees if t["question"] == row["question"]["problem"]]
            checked += any(sorted(map(str, counted(read(tree)))) == ours for tree in same)
    assert checked >= 2


@needs_data
def test_the_trees_of_prm800k_hold_the_ratings_of_its_paths() -> None:
    """The paths were made of the trees by others: each (problem, steps so far, step) has the same label in both."""
    found = []
    for kind in ("trees", "paths"):
        items, _ = read_step_labels(SHARED / f"prm800k/phase1_test.{kind}.jsonl.gz", purpose="evaluate", neutral="drop")
        labels = {}
        for item in items:
            for i, label in enumerate(item.labels):
                if label is not None:
                    prefix = item.solution.text[: item.solution.steps[i].end]
                    labels[item.solution.problem.question, prefix] = label
        found.append(labels)
    trees, paths = found
    assert trees == paths
    assert len(trees) > 3000


@needs_data
@pytest.mark.parametrize(
    ("name", "rows", "solutions", "ratings"),
    [
        ("math-shepherd", 7, 7, {"right": 5, "wrong": 20}),
        ("prm800k", 6, 33, {"right": 53, "neutral": 3, "wrong": 15, "not judged": 2}),
        ("math-aps", 3, 124, {"right": 120, "estimated": 7, "wrong": 5}),
        ("math-aps-tree", 3, 156, {"right": 151, "estimated": 11, "wrong": 5}),
    ],
)
def test_the_raw_samples(name: str, rows: int, solutions: int, ratings: dict[str, int]) -> None:
    path = SHARED / f"raw_format_samples/samples_{name}.jsonl"
    items, report = read_step_labels(path, purpose="train")
    assert (report.rows, report.solutions, report.ratings) == (rows, solutions, ratings)
    assert len(items) == solutions
    text = path.read_text(encoding="utf-8")
    if name == "math-shepherd":  # counted another way: the tags' signs, line by line
        signs = [json.loads(line)["label"] for line in text.splitlines()]
        assert sum(s.count(" +\n") + s.endswith("+") for s in signs) == ratings["right"]


@needs_data
def test_a_benchmark_s_own_layout_is_not_trained_on(tmp_path: Path) -> None:
    path = tmp_path / "gsm8k.json"
    path.write_text(json.dumps([{"id": "gsm8k-0", "problem": "Q", "steps": ["a"], "label": -1}]))
    with pytest.raises(UserError, match="ProcessBench is a benchmark"):
        read_step_labels(path, purpose="train")
