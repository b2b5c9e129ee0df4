"""Answers as files: step labels in Rung's own format, rankings, preference pairs, and everything as it was said."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from lm.checkpoint import write_atomic
from prm.scores import LabeledSolution, write_labeled
from rung.annotation.store import Answer
from rung.annotation.summary import pair_units

Merge = Literal["mean", "each"]
Neutral = Literal["right", "wrong", "drop"]


def export(answers: Sequence[Answer], folder: Path, merge: Merge, neutral: Neutral) -> dict[str, int]:
    """Write labels.jsonl, rankings.jsonl, pairs.jsonl and annotations.jsonl; how many rows each has."""
    folder.mkdir(parents=True, exist_ok=True)
    counts = {"labels.jsonl": write_labeled(folder / "labels.jsonl", labeled(answers, merge, neutral))}
    files = {"rankings.jsonl": rankings(answers), "pairs.jsonl": pairs(answers), "annotations.jsonl": raw(answers)}
    for name, rows in files.items():
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        write_atomic(folder / name, "".join(lines))
        counts[name] = len(lines)
    return counts


def labeled(answers: Sequence[Answer], merge: Merge, neutral: Neutral) -> list[LabeledSolution]:
    """Step labels: "mean" averages the annotators of a solution, "each" keeps a row for each of them.

    A neutral rating counts as right (as Lightman et al. 2023 count it), as wrong, or is dropped. A step that nobody
    judged stays None. Origins name the annotators: "human:ann+bob".
    """
    meaning: dict[int | None, float | None] = {1: 1.0, -1: 0.0, None: None}
    meaning[0] = {"right": 1.0, "wrong": 0.0, "drop": None}[neutral]
    groups: dict[tuple[str, str], list[Answer]] = defaultdict(list)
    for answer in answers:
        if answer.ratings is not None:
            groups[answer.task.id, answer.annotator if merge == "each" else ""].append(answer)
    found = []
    for group in groups.values():
        labels: list[float | None] = []
        origins: list[str | None] = []
        for step in range(len(group[0].ratings or ())):
            said = {a.annotator: value for a in group if (value := meaning[(a.ratings or ())[step]]) is not None}
            labels.append(sum(said.values()) / len(said) if said else None)
            origins.append("human:" + "+".join(sorted(said)) if said else None)
        found.append(LabeledSolution(group[0].task.candidates[0].solution, tuple(labels), tuple(origins)))
    return found


def rankings(answers: Sequence[Answer]) -> Iterator[dict[str, Any]]:
    """One row a ranking: the texts, and their indices best first, those of one place together."""
    for answer in answers:
        if answer.ranking is not None:
            texts = [c.solution.text for c in answer.task.candidates]
            problem = answer.task.candidates[0].solution.problem
            yield {
                "question": problem.question,
                "answer": problem.answer,
                "solutions": texts,
                "ranking": [list(place) for place in answer.ranking],
                "annotator": answer.annotator,
            }


def pairs(answers: Sequence[Answer]) -> Iterator[dict[str, Any]]:
    """One row for each two solutions that most annotators put in the same order: prompt, chosen, rejected, and the
    ``votes`` for and against (ties are for neither). Where the votes are even there is no row."""
    votes: dict[tuple[str, int, int], Counter[int]] = defaultdict(Counter)
    tasks = {answer.task.id: answer.task for answer in answers}
    for answer in answers:
        for unit, value in pair_units(answer).items():
            votes[unit][value] += 1
    for (task, i, j), counted in votes.items():
        first, second = counted[1], counted[-1]
        if first == second:
            continue
        chosen, rejected = (i, j) if first > second else (j, i)
        candidates = tasks[task].candidates
        yield {
            "prompt": candidates[0].solution.problem.question,
            "chosen": candidates[chosen].solution.text,
            "rejected": candidates[rejected].solution.text,
            "votes": [max(first, second), min(first, second)],
        }


def raw(answers: Sequence[Answer]) -> Iterator[dict[str, Any]]:
    """Every answer with all that was shown, so that the file is worth something without the database."""
    for answer in answers:
        yield {
            "task": answer.task.id,
            "kind": answer.task.kind,
            "annotator": answer.annotator,
            "at": answer.at,
            "seconds": answer.seconds,
            "ratings": answer.ratings,
            "ranking": answer.ranking,
            "candidates": [candidate.to_json() for candidate in answer.task.candidates],
        }
