"""rung.annotation: what is asked in which order, what is kept, and what comes out of it."""

import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lm.errors import UserError
from prm.scores import read_labeled
from rung.annotation.annotate import AnnotateConfig, main, read_tasks
from rung.annotation.export import export, labeled, pairs
from rung.annotation.store import Answer, Store
from rung.annotation.summary import summarize
from rung.annotation.tasks import Candidate, Task, make_tasks, read_candidates
from rung.report_data import read_lines
from verifiers.solution import Problem, Solution, Step
from verifiers.split import split_steps


def candidate(question: str, text: str, score: float | None = None, correct: bool | None = None) -> Candidate:
    return Candidate(Solution(Problem(question, question, ""), text, split_steps(text)), score, correct)


def write(path: Path, *rows: dict) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(row: dict) -> list[Candidate]:
    return list(read_candidates(row, "line", "min"))


def test_rows_of_every_layout() -> None:
    text = "3+4\n#### 7"
    [plain] = read({"question": "q", "text": text, "answer": "7", "score": 0.5})
    assert (plain.score, plain.correct, plain.solution.steps) == (0.5, True, (Step("3+4", 0, 3), Step("#### 7", 4, 10)))
    [steps] = read({"question": "q", "steps": ["3+4", "#### 8"], "gold": "7", "step_scores": [0.9, 0.2]})
    assert (steps.score, steps.correct) == (0.2, False)
    [labelled] = read({"question": "q", "answer": "", "text": text, "steps": [[0, 3]], "labels": [1]})
    assert (labelled.score, labelled.correct, len(labelled.solution.steps)) == (None, None, 1)
    [sampled] = read({"question": "q", "text": text, "steps": [{"start": 0, "end": 3, "score": 0.3}], "correct": False})
    assert (sampled.score, sampled.correct) == (0.3, False)
    pool = {"question": "q", "gold_answer": "7", "samples": [{"response": text, "answer": "9", "correct": True}]}
    [pooled] = read(pool)
    assert (pooled.solution.problem.answer, pooled.correct) == ("7", True)
    assert read({"question": "q", "text": " \n"}) == []
    for one in (plain, steps, labelled, sampled, pooled):
        assert Candidate.from_json(json.loads(json.dumps(one.to_json()))) == one


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "a"}, 'no "question" text'),
        ({"question": "q"}, 'neither a "text" nor a list of "steps"'),
        ({"question": "q", "steps": ["a", " "]}, "step 1 is blank"),
        ({"question": "q", "text": "abc", "steps": [[2, 9]]}, r"step 0 is \[2, 9\]"),
        ({"question": "q", "text": "abc", "steps": ["a", 3]}, "step 0 is 'a', not"),
        ({"question": "q", "text": "\ud800"}, "half of a surrogate pair"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: dict, message: str) -> None:
    file = write(tmp_path / "rows.jsonl", {"question": "q", "text": "a"}, row)
    with pytest.raises(UserError, match=rf"rows.jsonl:2: .*{message}"):
        read_tasks(AnnotateConfig(file=file))


def test_convincing_wrong_answers_come_first_and_no_problem_hogs_the_front() -> None:
    given = [
        candidate("p", "right, sure", 0.9, True),
        candidate("p", "right, doubted", 0.1, True),
        candidate("p", "wrong, seen through", 0.05, False),
        candidate("p", "wrong, convincing", 0.95, False),
        candidate("p", "wrong, half convincing", 0.6, False),
        candidate("q", "wrong, somewhat", 0.5, False),
        candidate("q", "wrong, not scored", None, False),
        candidate("q", "nobody knows", 0.8, None),
    ]
    tasks = make_tasks([*given, given[0]], "steps", "convincing", 4, 0)
    assert [task.candidates[0].solution.text for task in tasks] == [
        *["wrong, convincing", "wrong, somewhat"],  # the best of each problem
        *["wrong, half convincing", "wrong, not scored"],  # the second best
        "wrong, seen through",
        *["nobody knows", "right, doubted", "right, sure"],
    ]
    assert [t.candidates[0] for t in make_tasks(given, "steps", "file", 4, 0)] == given
    shuffled = make_tasks(given, "steps", "random", 4, 1)
    assert shuffled == make_tasks(given, "steps", "random", 4, 1) != make_tasks(given, "steps", "random", 4, 2)
    assert {t.id for t in shuffled} == {t.id for t in tasks}
    rankings = make_tasks(given, "ranking", "file", 3, 0)
    assert [[c.solution.text for c in t.candidates] for t in rankings] == [
        ["right, sure", "right, doubted", "wrong, seen through"],
        ["wrong, somewhat", "wrong, not scored", "nobody knows"],
    ]


def test_everybody_gets_what_is_left_for_them_and_answers_are_never_lost(tmp_path: Path) -> None:
    store = Store(tmp_path / "folder/a.sqlite")
    tasks = make_tasks([candidate(f"q{i}", "a\nb") for i in range(4)], "steps", "file", 4, 0)
    store.add(tasks)
    assert store.next_task("ann", 2) == tasks[0]
    store.save(tasks[0].id, "ann", [1, 1], 3.0)
    store.save(tasks[0].id, "ann", [1, -1], 4.0)  # she thought better of it
    store.save(tasks[1].id, "ann", None, 1.0)
    assert (store.done("ann"), store.left("ann", 2), store.next_task("ann", 2)) == (1, 2, tasks[2])
    store.save(tasks[0].id, "bob", [1, 0], 5.0)
    assert store.next_task("cleo", 2) == tasks[1]  # two have judged the first; a skipped one still wants two
    assert store.next_task("cleo", 3) == tasks[0]
    assert store.answer_of(tasks[0].id, "ann") == [1, -1]
    store.add(tasks[2:])  # another file: what was asked before is not offered, but stays
    assert store.next_task("dan", 2) == tasks[2]
    said = Store(store.path).answers()
    assert [(a.annotator, a.ratings, a.seconds) for a in said] == [("ann", (1, -1), 4.0), ("bob", (1, 0), 5.0)]
    assert said[0].task == tasks[0]
    with sqlite3.connect(store.path) as db:
        assert db.execute("SELECT count(*) FROM answers").fetchone() == (4,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    db.close()


def test_many_writers_at_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "a.sqlite")
    tasks = make_tasks([candidate(f"q{i}", "a") for i in range(20)], "steps", "file", 4, 0)
    store.add(tasks)
    jobs = [(task.id, f"person {k}") for task in tasks for k in range(5)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda job: store.save(*job, [1], 1.0), jobs))
    assert len(store.answers()) == 100


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").write_text("this is no database at all, only text" * 40)
    with pytest.raises(UserError, match="is no annotation database"):
        Store(tmp_path / "a.sqlite")
    with pytest.raises(UserError, match=r"there is no nowhere\.sqlite yet"):
        main(AnnotateConfig(database=Path("nowhere.sqlite")))


def answers() -> list[Answer]:
    rated = Task.of("steps", [candidate("q", "a\nb\nc")])
    ranked = Task.of("ranking", [candidate("q", "a"), candidate("q", "b"), candidate("q", "c")])
    return [
        Answer(rated, "ann", (1, 0, -1), None, 2.0, "t"),
        Answer(rated, "bob", (1, -1, None), None, 4.0, "t"),
        Answer(ranked, "ann", None, ((2,), (0, 1)), 6.0, "t"),
        Answer(ranked, "bob", None, ((2,), (1,), (0,)), 8.0, "t"),
    ]


def test_labels_by_hand() -> None:
    [mean] = labeled(answers(), "mean", "right")
    assert mean.labels == (1.0, 0.5, 0.0)
    assert mean.origins == ("human:ann+bob", "human:ann+bob", "human:ann")
    assert labeled(answers(), "mean", "drop")[0].labels == (1.0, 0.0, 0.0)
    assert labeled(answers(), "mean", "drop")[0].origins[1] == "human:bob"
    each = labeled(answers(), "each", "wrong")
    assert [item.labels for item in each] == [(1.0, 0.0, 0.0), (1.0, 0.0, None)]
    assert each[1].origins == ("human:bob", "human:bob", None)


def test_pairs_by_hand() -> None:
    # c before a and c before b: both say so; a and b: a tie and one vote for b
    found = {(row["chosen"], row["rejected"]): row["votes"] for row in pairs(answers())}
    assert found == {("c", "a"): [2, 0], ("c", "b"): [2, 0], ("b", "a"): [1, 0]}


def test_the_summary_by_hand() -> None:
    summary = summarize(answers())
    assert (summary["steps"]["units"], summary["steps"]["shared"], summary["steps"]["unanimous"]) == (3, 2, 0.5)
    assert (summary["ranking"]["shared"], summary["ranking"]["unanimous"]) == (3, 0.6667)
    ann, bob = summary["annotators"]
    assert (ann["name"], ann["tasks"], ann["seconds"]) == ("ann", 2, 4.0)
    assert (ann["right"], ann["neutral"], ann["wrong"]) == (1, 1, 1)
    assert (ann["leniency"], bob["leniency"], ann["shared"]) == (0.5, -0.5, 2)  # 0 against -1 on one of two steps
    # shares of ann: right 1/2, neutral 1/2; of bob: right 1/2, wrong 1/2; p_o = 1/2, p_e = 1/4
    assert summary["pairs"] == [{"a": "ann", "b": "bob", "kappa": 0.3333, "steps": 2}]
    empty = summarize([])
    assert (empty["steps"]["alpha_ordinal"], empty["annotators"], empty["pairs"]) == (None, [], [])


def test_export_reads_back(tmp_path: Path) -> None:
    counts = export(answers(), tmp_path / "out", "each", "right")
    assert counts == {"labels.jsonl": 2, "rankings.jsonl": 2, "pairs.jsonl": 3, "annotations.jsonl": 4}
    assert read_labeled(tmp_path / "out/labels.jsonl") == labeled(answers(), "each", "right")
    rankings = read_lines(tmp_path / "out/rankings.jsonl")
    assert rankings[1] == {
        "question": "q", "answer": "", "solutions": ["a", "b", "c"], "ranking": [[2], [1], [0]], "annotator": "bob"
    }  # fmt: skip
    assert [row["ratings"] for row in read_lines(tmp_path / "out/annotations.jsonl")][:2] == [[1, 0, -1], [1, -1, None]]


def test_the_verb_exports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path / "a.sqlite")
    [task] = make_tasks([candidate("q", "a\nb")], "steps", "file", 4, 0)
    store.add([task])
    store.save(task.id, "ann", [1, -1], 1.0)
    main(AnnotateConfig(database=store.path, export=tmp_path / "out"))
    assert "labels.jsonl: 1 rows" in capsys.readouterr().out
    [item] = read_labeled(tmp_path / "out/labels.jsonl")
    assert (item.labels, item.origins) == ((1.0, 0.0), ("human:ann", "human:ann"))
