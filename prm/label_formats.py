"""The layouts in which step labels are published, each read by one function from a row to the solutions it holds.

Index bases, tags and rating scales end here: whatever a layout calls its values, a ``JudgedSteps`` comes out.
docs/labels.md shows a row of each layout.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from prm.fields import Row, identity, mapping, mappings, not_blank, sequence, share, text, texts
from prm.step_trees import Node, joined_siblings, paths
from verifiers.solution import Problem

# P(step right) in [0, 1]; "neutral" is neither right nor wrong, "disputed" both; None: nobody judged the step.
Judgement = float | Literal["neutral", "disputed"] | None

STEP_TAG = "ки"  # Math-Shepherd's, where a step ends
UNJUDGED = -100  # what trainers write for "no loss here"; never a label
_RATINGS: Mapping[int | None, Judgement] = {1: 1.0, 0: "neutral", -1: 0.0, None: None}
_STEP_NUMBER = re.compile(r"\s*Step \d+\s*:\s*")
_ANSWER_TAIL = re.compile(r"\s*# Answer\s.*\Z", re.DOTALL)


class LeftOutError(Exception):
    """A row that is well formed but holds nothing to learn from; the message is the reason."""


@dataclass(frozen=True)
class JudgedSteps:
    """A solution as published: S steps, each with what was said of it; judgements before ``new_from`` repeat another's.

    ``origin`` says where the judgements came from, ``source`` which data set; ``reference`` is a right solution.
    """

    problem: Problem
    steps: tuple[str, ...]
    judgements: tuple[Judgement, ...]
    origin: str
    source: str = ""
    new_from: int = 0
    error_type: str = ""
    reference: str = ""


def parse(row: Row, name: str) -> list[JudgedSteps]:
    """The solutions of a row in any of the layouts, told by its columns; ``name`` is the id of a row that has none.

    ValueError says which column is missing, malformed or contradictory; LeftOutError why a row is not for use.
    """
    for columns, read in LAYOUTS:
        if columns <= row.keys():
            return read(row, name)
    raise ValueError(f"columns {', '.join(map(str, row)) or 'none'}: no layout of step labels has these")


def step_labels(row: Row, name: str) -> list[JudgedSteps]:
    """{"id", "question", "gold_answer", "steps": [...], "labels": [1 | 0 | -1 | null], "first_error" (from 0), ...}."""
    steps, ratings = texts(row, "steps"), row["labels"]
    if not isinstance(ratings, list) or len(ratings) != len(steps):
        raise ValueError(f"'labels' must be a list of {len(steps)}, one a step")
    if any(rating not in (1, 0, -1, None) or isinstance(rating, bool | float) for rating in ratings):
        raise ValueError(f"'labels' must hold only 1, 0, -1 and null: {ratings}")
    first_error = ratings.index(-1) if -1 in ratings else -1
    if row.get("first_error", first_error) != first_error:
        raise ValueError(f"'first_error' is {row['first_error']!r}, but the labels say {first_error} (counted from 0)")
    new_from = row.get("new_from", 0)
    if not isinstance(new_from, int) or not 0 <= new_from <= len(steps):
        raise ValueError(f"'new_from' is {new_from!r}; it must be a step's index")
    return [
        JudgedSteps(
            Problem(identity(row, "id", name), text(row, "question"), text(row, "gold_answer", "")),
            steps,
            tuple(_RATINGS[rating] for rating in ratings),
            text(row, "label_type"),
            text(row, "source", ""),
            new_from,
            text(row, "error_type", ""),
            text(row, "reference_solution", ""),
        )
    ]


def prm800k(row: Row, name: str) -> list[JudgedSteps]:
    """OpenAI's release (Lightman et al. 2023): {"question": {"problem", "ground_truth_answer"}, "label": {"steps":
    [{"completions": [{"text", "rating"}], "chosen_completion", "human_completion"}], "finish_reason"}}.

    Labelling went on from the chosen completion (counted from 0), or else from the human's own, which nobody rated.
    """
    question, label = mapping(row, "question"), mapping(row, "label")
    if label.get("finish_reason") == "bad_problem":
        raise LeftOutError("the labeller called it a bad problem")
    levels = []
    for step in mappings(label, "steps"):
        chosen, human = step.get("chosen_completion"), step.get("human_completion")
        completions = mappings(step, "completions") if step.get("completions") is not None else []
        if chosen is not None and (not isinstance(chosen, int) or not 0 <= chosen < len(completions)):
            raise ValueError(f"'chosen_completion' is {chosen!r} of {len(completions)} completions")
        level = [_candidate(each, index == chosen) for index, each in enumerate(completions)]
        if human is not None:
            level.append(_candidate({**mapping(step, "human_completion"), "rating": None}, chosen is None))
        levels.append(level)
    problem = Problem(name, text(question, "problem"), text(question, "ground_truth_answer", ""))
    return _tree_solutions(problem, levels, "prm800k")


def prm800k_tree(row: Row, name: str) -> list[JudgedSteps]:
    """{"id", "question", "gold_answer", "levels": [[{"text", "rating", "chosen"}, ...], ...]}: PRM800K re-formatted."""
    levels = row["levels"]
    nested = isinstance(levels, list) and all(isinstance(level, list) for level in levels)
    if not nested or not all(isinstance(each, Mapping) for level in levels for each in level):
        raise ValueError("'levels' must be a list of lists of candidates")
    problem = Problem(identity(row, "id", name), text(row, "question"), text(row, "gold_answer", ""))
    candidates = [[_candidate(each, bool(each.get("chosen"))) for each in level] for level in levels]
    return _tree_solutions(problem, candidates, text(row, "source", "prm800k"))


_Candidate = tuple[str, Judgement, bool]  # text, judgement, whether labelling went on from it


def _candidate(completion: Row, chosen: bool) -> _Candidate:
    rating = completion.get("rating")
    if rating not in tuple(_RATINGS) or isinstance(rating, bool):
        raise ValueError(f"'rating' is {rating!r}; it must be 1, 0, -1 or null")
    return _ANSWER_TAIL.sub("", text(completion, "text")).strip(), _RATINGS[rating], chosen


def _tree_solutions(problem: Problem, levels: list[list[_Candidate]], source: str) -> list[JudgedSteps]:
    below: tuple[Node[Judgement], ...] = ()
    for level in reversed(levels):
        nodes = [Node(words, judgement, below if chosen else ()) for words, judgement, chosen in level if words]
        # The chosen one first: its path then owns the ratings that all share.
        nodes.sort(key=lambda node: not node.children)
        below = joined_siblings(nodes, _settle_ratings)
    return _along_paths(problem, below, "human_each_step", source)


def _settle_ratings(said: list[Judgement]) -> Judgement:
    """Of the same step after the same steps: what its labellers agree on."""
    rated = {judgement for judgement in said if judgement is not None}
    return None if not rated else rated.pop() if len(rated) == 1 else "disputed"


def _along_paths(problem: Problem, roots: tuple[Node[Judgement], ...], origin: str, source: str) -> list[JudgedSteps]:
    found = []
    for number, (steps, judgements, new_from) in enumerate(paths(roots)):
        one = Problem(f"{problem.id}/{number}", problem.question, problem.answer)
        found.append(JudgedSteps(one, steps, judgements, origin, source, new_from))
    return found


def math_shepherd(row: Row, name: str) -> list[JudgedSteps]:
    """{"input": "Question Step 1: ... ки\\nStep 2: ... ки", "label": the same with + or - for ки} (Wang et al. 2024).

    The labels are hard: + where some roll-out from the step reached the answer.  "Step N:" is taken off the steps.
    """
    tagged, labelled = text(row, "input"), text(row, "label")
    pieces = tagged.split(STEP_TAG)
    signs, place = [], 0
    for piece in pieces[:-1]:
        sign = labelled[place + len(piece) : place + len(piece) + 1]
        if labelled[place : place + len(piece)] != piece or sign not in ("+", "-"):
            raise ValueError(f"'label' differs from 'input' at character {place} in more than + or - for {STEP_TAG}")
        signs.append(sign)
        place += len(piece) + 1
    if labelled[place:] != pieces[-1]:
        raise ValueError(f"'label' goes on after the last {STEP_TAG} of 'input'")
    question, mark, first = pieces[0].partition("Step 1:")
    if not mark:
        raise ValueError("'input' has no 'Step 1:' after its question")
    bodies = [first, *pieces[1:]] if pieces[-1].strip() else [first, *pieces[1:-1]]
    steps = tuple(_STEP_NUMBER.sub("", body, count=1).strip() if i else body.strip() for i, body in enumerate(bodies))
    judged: list[Judgement] = [float(sign == "+") for sign in signs]
    judged += [None] * (len(steps) - len(judged))
    problem = Problem(name, question.strip(), "")
    return [JudgedSteps(problem, not_blank(steps, "input"), tuple(judged), "monte_carlo", "Math-Shepherd")]


def math_aps(row: Row, name: str) -> list[JudgedSteps]:
    """{"question", "final_answer", "reasoning_steps"}: OmegaPRM's values (Luo et al. 2024), in either of two shapes.

    A tree {"text", "mc_value", "children"} whose root is the question, or a list of {"solution_prefix" (question
    included), "mc_value"}, of which the tree is rebuilt.  Values of one prefix that differ are averaged.
    """
    question = text(row, "question")
    problem = Problem(identity(row, "question_id", name), question, text(row, "final_answer", ""))
    states = row["reasoning_steps"]
    prefixes: list[tuple[str, float]] = []
    if isinstance(states, Mapping):
        stack = [("", each) for each in mappings(states, "children")]
        while stack:
            before, node = stack.pop()
            prefix = before + text(node, "text")
            prefixes.append((prefix, share(node.get("mc_value"), "'mc_value'")))
            stack += [(prefix, child) for child in mappings(node, "children")]
    elif isinstance(states, list):
        for state in mappings(row, "reasoning_steps"):
            prefix = text(state, "solution_prefix")
            if not prefix.startswith(question):
                raise ValueError(f"'solution_prefix' does not begin with the question: {prefix[:40]!r}")
            prefixes.append((prefix[len(question) :], share(state.get("mc_value"), "'mc_value'")))
    else:
        raise ValueError("'reasoning_steps' must be a tree or a list of prefixes")
    return _along_paths(problem, _tree_of_prefixes(prefixes), "omega", "MATH-APS")


def _tree_of_prefixes(prefixes: list[tuple[str, float]]) -> tuple[Node[Judgement], ...]:
    """The tree in which each prefix hangs below the longest other one that it begins with."""
    values: dict[str, list[float]] = {}
    for prefix, value in prefixes:
        if prefix.strip():
            values.setdefault(prefix, []).append(value)
    children: dict[str, list[Node[Judgement]]] = {prefix: [] for prefix in ["", *values]}
    for prefix in sorted(values, key=len, reverse=True):  # those below are complete before those above
        parent = max((other for other in children if other != prefix and prefix.startswith(other)), key=len)
        below = joined_siblings(children.pop(prefix), _mean)
        rest = prefix[len(parent) :].strip()
        mean = sum(values[prefix]) / len(values[prefix])
        children[parent] += [Node(rest, mean, below)] if rest else below
    return joined_siblings(children[""], _mean)


def _mean(said: list[Judgement]) -> Judgement:
    numbers = [value for value in said if isinstance(value, float)]
    return sum(numbers) / len(numbers)


def trl_stepwise(row: Row, name: str) -> list[JudgedSteps]:
    """{"prompt", "completions": [...], "labels": [true | false | share | null]}: TRL's stepwise supervision.

    null and -100 are nobody's judgement, though both are true to a language that asks ``if label``.
    """
    steps, labels = texts(row, "completions"), row["labels"]
    if not isinstance(labels, list) or len(labels) != len(steps):
        raise ValueError(f"'labels' must be a list of {len(steps)}, one a completion")
    judged = tuple(None if each in (None, UNJUDGED) else share(each, "'labels'") for each in labels)
    return [JudgedSteps(Problem(name, text(row, "prompt"), ""), steps, judged, "stepwise", "trl")]


def processbench(row: Row, name: str) -> list[JudgedSteps]:
    """{"id", "problem", "steps", "label"}: the first error counted from 0, -1 for none (Zheng et al. 2024)."""
    return [_first_error(row, name, "steps", row["label"], "ProcessBench")]


def verify_then_generate(row: Row, name: str) -> list[JudgedSteps]:
    """{"problem", "student_incorrect_solution": [...], "incorrect_index" (from 0), "error_category",
    "reference_solution"} (Daheim et al. 2024)."""
    source = "verify-then-generate"
    return [_first_error(row, name, "student_incorrect_solution", row.get("incorrect_index"), source)]


def _first_error(row: Row, name: str, column: str, first: Any, source: str) -> JudgedSteps:
    steps = texts(row, column)
    if not isinstance(first, int) or isinstance(first, bool) or not -1 <= first < len(steps):
        raise ValueError(f"the first error is {first!r} of {len(steps)} steps counted from 0 (-1: none)")
    return JudgedSteps(
        Problem(identity(row, "id", name), text(row, "problem"), ""),
        steps,
        _up_to(first, len(steps)),
        "human_first_error",
        source,
        error_type=text(row, "error_category", ""),
        reference=text(row, "reference_solution", ""),
    )


def _up_to(first: int, steps: int) -> tuple[Judgement, ...]:
    """Right before the first error, wrong there, and nobody's judgement after it; -1: right throughout."""
    if first < 0:
        return (1.0,) * steps
    return (1.0,) * first + (0.0,) + (None,) * (steps - first - 1)


def mr_ben(row: Row, name: str) -> list[JudgedSteps]:
    """{"Question", "Options", "Model_Solution_Steps", "Model_Solution_First_Error_Step"}: the first error as text
    counted from 1, or "N/A" (Zeng et al. 2024).  "Step N:" and blank steps are taken out."""
    steps = [_STEP_NUMBER.sub("", str(step), count=1).strip() for step in sequence(row, "Model_Solution_Steps")]
    said = text(row, "Model_Solution_First_Error_Step").strip()
    first = -1
    if said.upper() != "N/A":
        first = int(said) - 1 if said.isdecimal() else -2
        if not 0 <= first < len(steps) or not steps[first]:
            raise ValueError(f"'Model_Solution_First_Error_Step' is {said!r} of {len(steps)} steps counted from 1")
        first -= steps[:first].count("")
    kept = not_blank(tuple(step for step in steps if step), "Model_Solution_Steps")
    options = text(row, "Options", "").strip()
    question = "\n".join([text(row, "Question"), *([options] if options else [])])
    problem = Problem(name, question, text(row, "Ground_Truth_Answer", ""))
    source = f"MR-Ben/{text(row, 'Subject', '')}"
    return [JudgedSteps(problem, kept, _up_to(first, len(kept)), "human_first_error", source)]


def prmbench(row: Row, name: str) -> list[JudgedSteps]:
    """{"idx", "modified_question", "modified_process": [...], "error_steps": [counted from 1], "classification"}.

    Steps that are not listed count as right, also after an error, as the benchmark scores them (Song et al. 2025).
    """
    steps, listed = texts(row, "modified_process"), sequence(row, "error_steps")
    if not all(type(number) is int and 1 <= number <= len(steps) for number in listed):
        raise ValueError(f"'error_steps' is {listed} of {len(steps)} steps counted from 1")
    wrong = set(listed)
    judged: tuple[Judgement, ...] = tuple(float(index + 1 not in wrong) for index in range(len(steps)))
    kind = text(row, "classification", "")
    problem = Problem(identity(row, "idx", name), text(row, "modified_question"), "")
    return [JudgedSteps(problem, steps, judged, "synthetic_error", f"PRMBench/{kind}", error_type=kind)]


def unlabelled(row: Row, name: str) -> list[JudgedSteps]:
    """{"question", "gold_answer" or "answer", "steps": [...]}: a solution that nobody has judged yet."""
    steps = texts(row, "steps")
    answer = "gold_answer" if "gold_answer" in row else "answer"
    problem = Problem(identity(row, "id", name), text(row, "question"), text(row, answer, ""))
    return [JudgedSteps(problem, steps, (None,) * len(steps), "")]


LAYOUTS: tuple[tuple[frozenset[str], Callable[[Row, str], list[JudgedSteps]]], ...] = (
    (frozenset({"steps", "labels"}), step_labels),
    (frozenset({"completions", "labels"}), trl_stepwise),
    (frozenset({"levels"}), prm800k_tree),
    (frozenset({"question", "label"}), prm800k),
    (frozenset({"input", "label"}), math_shepherd),
    (frozenset({"reasoning_steps"}), math_aps),
    (frozenset({"problem", "steps", "label"}), processbench),
    (frozenset({"Model_Solution_Steps"}), mr_ben),
    (frozenset({"student_incorrect_solution"}), verify_then_generate),
    (frozenset({"modified_process"}), prmbench),
    (frozenset({"question", "steps"}), unlabelled),
)
