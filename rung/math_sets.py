"""Benchmarks of final answers as records: where each lies on the hub, which columns it has, under which licence.

The columns are those of the data sets' cards. A local file needs them, or Rung's own: question, and gold_answer or
answer. A folder is a copy of the hub's data set, with its card.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lm.errors import UserError
from verifiers.data import DataError, load_examples
from verifiers.rows import is_hub_copy, read_rows
from verifiers.solution import Problem
from verifiers.verify import gold_answer


@dataclass(frozen=True)
class MathSet:
    """``answer`` names the column with the gold answer; ``worked``: it holds a solution whose box has the answer."""

    hub: str
    split: str
    question: str
    answer: str
    licence: str
    config: str | None = None
    worked: bool = False


SETS: Mapping[str, MathSet] = {
    "gsm8k": MathSet("openai/gsm8k", "test", "question", "answer", "MIT", config="main"),
    "math": MathSet("DigitalLearningGmbH/MATH-lighteval", "test", "problem", "solution", "MIT", worked=True),
    "math500": MathSet("HuggingFaceH4/MATH-500", "test", "problem", "answer", "MIT (PRM800K's repository)"),
    "aime": MathSet("AI-MO/aimo-validation-aime", "train", "problem", "answer", "Apache-2.0"),
    "aime2024": MathSet("HuggingFaceH4/aime_2024", "train", "problem", "answer", "none stated"),
    "amc": MathSet("AI-MO/aimo-validation-amc", "train", "problem", "answer", "Apache-2.0"),
    "olympiadbench": MathSet(
        "Hothan/OlympiadBench", "train", "question", "final_answer", "Apache-2.0", config="OE_TO_maths_en_COMP"
    ),
    "svamp": MathSet("ChilleD/SVAMP", "test", "question_concat", "Answer", "MIT"),
    "gsm_hard": MathSet("reasoning-machines/gsm-hard", "train", "input", "target", "MIT"),
    "multiarith": MathSet("ChilleD/MultiArith", "test", "question", "final_ans", "none stated"),
    "aqua": MathSet("deepmind/aqua_rat", "test", "question", "correct", "Apache-2.0", config="raw"),
}
OWN = MathSet("", "test", "question", "", "")  # a file in Rung's own columns


def load_set(name: str, source: str | None, limit: int | None = None) -> list[Problem]:
    """The (first ``limit``) problems of a benchmark: from ``source``, else from where its record says.

    ``source`` is a file, or a folder that the hub's client downloaded. A name without a record is a file of one's own.
    Raises UserError where there is nothing to read.
    """
    record = SETS.get(name)
    if record is None and source is None:
        raise UserError(f"sets: no benchmark {name!r}; one of {', '.join(SETS)}, or give a file as sets.{name}=FILE")
    try:
        if source is not None and not is_hub_copy(source):
            row = next(iter(read_rows(source)))[1]
            has_theirs = record is not None and {record.question, record.answer} <= row.keys()
            record = record if has_theirs else OWN
        record = record or OWN
        examples = load_examples(
            source or record.hub,
            split=record.split,
            config=record.config,
            question=record.question,
            answer=record.answer or None,
            limit=limit,
            purpose="evaluate",
        )
    except DataError as error:
        raise UserError(f"sets.{name}: {error}") from error
    problems = [example.problem for example in examples]
    return [replace(p, answer=gold_answer(p.answer)) for p in problems] if record.worked else problems
