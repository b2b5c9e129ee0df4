"""What people are asked to judge: solutions step by step or whole ones beside each other, the most telling first."""

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from prm.fields import encodable, solution_in
from prm.scores import Aggregation, StepScores
from verifiers.solution import Problem, Solution
from verifiers.split import Separator, steps_at
from verifiers.verify import verify

Kind = Literal["steps", "ranking"]
Order = Literal["convincing", "file", "random"]


@dataclass(frozen=True)
class Candidate:
    """A solution somebody could judge. ``score`` is a reward model's, None where none was asked; ``correct`` is the
    verdict on its final answer, None where nobody knows."""

    solution: Solution
    score: float | None
    correct: bool | None

    def to_json(self) -> dict[str, Any]:
        problem = self.solution.problem
        return {
            "id": problem.id,
            "question": problem.question,
            "answer": problem.answer,
            "text": self.solution.text,
            "steps": [[step.start, step.end] for step in self.solution.steps],
            "score": self.score,
            "correct": self.correct,
        }

    @staticmethod
    def from_json(row: Mapping[str, Any]) -> "Candidate":
        """The inverse of ``to_json``."""
        text = row["text"]
        problem = Problem(row["id"], row["question"], row["answer"])
        return Candidate(Solution(problem, text, steps_at(text, row["steps"])), row["score"], row["correct"])


@dataclass(frozen=True)
class Task:
    """One page to judge: one candidate for "steps", several of one question for "ranking". ``id`` is a hash of them, so
    a file that grows or is shuffled keeps its answers."""

    id: str
    kind: Kind
    candidates: tuple[Candidate, ...]

    @staticmethod
    def of(kind: Kind, candidates: Sequence[Candidate]) -> "Task":
        """A task with its id made from what people will see."""
        seen = [kind, *([c.solution.problem.question, *(s.text for s in c.solution.steps)] for c in candidates)]
        return Task(_digest(json.dumps(seen)), kind, tuple(candidates))


def read_candidates(row: Mapping[str, Any], separator: Separator, aggregate: Aggregation) -> Iterator[Candidate]:
    """The candidates of a row: one with "text" or "steps", or several in "samples" (a pool for best-of-n).

    "question" is needed; "answer" (or "gold", "gold_answer") makes a verdict where "correct" does not give it; "score",
    or "step_scores", or "score" in each of "steps", is the reward model's. ValueError names what is missing.
    """
    question = row.get("question")
    if not isinstance(question, str) or not question.strip():
        raise ValueError('no "question" text')
    samples = row.get("samples")
    if isinstance(samples, list):
        shared = {name: row.get(name) for name in ("id", "question", "answer", "gold", "gold_answer")}
        for sample in samples:
            if not isinstance(sample, Mapping):
                raise ValueError(f'"samples" has {sample!r} in it; each must be an object')
            own = {name: value for name, value in sample.items() if name not in shared}  # "answer": not gold
            yield from read_candidates({"text": sample.get("response")} | own | shared, separator, aggregate)
        return
    gold = next((str(row[name]) for name in ("answer", "gold", "gold_answer") if row.get(name) is not None), "")
    problem = Problem(str(row.get("id") or _digest(question)), question, gold)
    encodable(question + gold, "its question")
    solution = solution_in(row, problem, separator)
    if blank := [i for i, step in enumerate(solution.steps) if not step.text.strip()]:
        raise ValueError(f"step {blank[0]} is blank")
    correct = row.get("correct")
    if not isinstance(correct, bool):
        reason = verify(problem, solution.text).reason if gold else "unparsable"
        correct = {"match": True, "mismatch": False, "no answer": False}.get(reason)
    if solution.steps:
        yield Candidate(solution, _score(row, aggregate), correct)


def _score(row: Mapping[str, Any], aggregate: Aggregation) -> float | None:
    if isinstance(row.get("score"), int | float):
        return float(row["score"])
    scores = row.get("step_scores")
    if scores is None and isinstance(row.get("steps"), list):
        scores = [s.get("score") for s in row["steps"] if isinstance(s, Mapping)]
    if not isinstance(scores, list) or not scores or not all(isinstance(s, int | float) for s in scores):
        return None
    return StepScores(np.array(scores)).aggregate(aggregate)


def make_tasks(candidates: Sequence[Candidate], kind: Kind, order: Order, size: int, seed: int) -> list[Task]:
    """The tasks in the order in which people meet them; each solution is asked about once.

    "convincing" puts first what teaches a reward model most: solutions it scores high though their answer is wrong
    (Lightman et al. 2023, section 2.4), the best of each problem before the second best of any; then those whose
    verdict nobody knows, then right ones that it doubts. A ranking shows the first ``size`` candidates of a question.
    """
    unique = list({Task.of("steps", [c]).id: c for c in candidates}.values())
    if order == "random":
        random.Random(seed).shuffle(unique)
    elif order == "convincing":
        unique = by_convincingness(unique)
    if kind == "steps":
        return [Task.of("steps", [candidate]) for candidate in unique]
    groups: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in unique:
        groups[candidate.solution.problem.question].append(candidate)
    return [Task.of("ranking", group[:size]) for group in groups.values() if len(group) > 1]


def by_convincingness(candidates: Sequence[Candidate]) -> list[Candidate]:
    """See ``make_tasks``; equals, and candidates without a score, keep their order."""

    def appeal(candidate: Candidate) -> float:
        score = candidate.score if candidate.score is not None else 0.0
        return -score if candidate.correct is not True else score  # wrong: the better it looks the sooner

    ranks: dict[int, int] = {}
    seen: dict[tuple[str, int], int] = defaultdict(int)
    classes = {False: 0, None: 1, True: 2}
    ordered = sorted(range(len(candidates)), key=lambda i: appeal(candidates[i]))
    for i in ordered:
        group = (candidates[i].solution.problem.question, classes[candidates[i].correct])
        ranks[i] = seen[group]
        seen[group] += 1
    ordered.sort(key=lambda i: (classes[candidates[i].correct], ranks[i]))
    return [candidates[i] for i in ordered]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
