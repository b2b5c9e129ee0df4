"""Where problems come from: the built-in families, a local file or a hub data set, behind one config."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from lm.config import key
from lm.errors import UserError
from verifiers.data import DataError, load_examples, split_by_problem
from verifiers.families import FAMILIES, Split, distinct, generate
from verifiers.rows import is_hub_copy, is_hub_name
from verifiers.solution import Example

BUILT_IN = "builtin"


@dataclass(frozen=True)
class ProblemsConfig:
    """A source of problems. Train, validation and test never share a question."""

    source: str = key(
        BUILT_IN, "builtin, a .jsonl(.gz)/.json/.parquet file, or a hub data set such as openai/gsm8k; for training"
    )
    test_source: str | None = key(None, "file of the test problems; null: the test split of the hub data set")
    subset: str | None = key(None, "configuration of a hub data set: main for openai/gsm8k")
    answers: bool = key(
        True, "each problem has a gold answer; false: prompts, with responses for rung sft, or for rung rl reward=..."
    )
    validation_fraction: float = key(0.05, "share of a source's questions kept from training", low=0, high=0.9)
    families: tuple[str, ...] = key(tuple(FAMILIES), "built-in families to draw from")
    levels: tuple[int, ...] = key((4,), "levels of the built-in families, 1 (shortest) to 4")
    slips: float = key(
        0.75,
        "how often authors of built-in solutions mix up + and − where numbers are large; a policy copies it",
        high=1,
    )
    seed: int = key(0, "of the built-in source, and of the split into train and validation")


def load_problems(
    config: ProblemsConfig, split: Split, count: int | None = None, stream: int = 0, repeats: bool = False
) -> list[Example]:
    """``count`` problems of a split, all different (all of a file's if it has fewer or count is None).

    ``repeats``: the built-in families come equally often, the small ones with the same questions again, as an SFT
    policy needs them to learn their facts. ``stream`` makes another draw from the built-in source.
    Raises UserError where there is nothing to read.
    """
    try:
        if config.source == BUILT_IN:
            seed = config.seed * 1000 + stream
            source = (config.families, config.levels, split, seed)
            if repeats:
                return list(islice(generate(*source, config.slips), count or 20_000))
            return distinct(*source, count or 20_000, config.slips, or_fewer=split == "train" or count is None)
        if split == "test":
            examples = _test_examples(config)
        else:
            every = load_examples(config.source, config=config.subset, purpose="train", answers=config.answers)
            train, validation = split_by_problem(
                every, config.validation_fraction, config.seed, question=lambda e: e.problem.question
            )
            examples = train if split == "train" else validation
    except (DataError, ValueError) as error:
        raise UserError(f"problems: {error}") from error
    if not examples:
        raise UserError(f"problems.source {config.source!r} has no {split} problem: raise problems.validation_fraction")
    return examples[:count]


def _test_examples(config: ProblemsConfig) -> list[Example]:
    if config.test_source is not None:
        examples = load_examples(config.test_source, config=config.subset, purpose="evaluate", answers=config.answers)
    elif is_hub_name(config.source) or is_hub_copy(config.source):
        return load_examples(config.source, config=config.subset, split="test", purpose="evaluate")
    else:
        raise UserError(f"problems.source {config.source!r} is one file: give problems.test_source to evaluate")
    if Path(config.source).is_file():
        learned = {e.problem.question for e in load_examples(config.source, allow_test=True)}
        shared = sum(e.problem.question in learned for e in examples)
        if shared:
            raise UserError(
                f"problems.test_source {config.test_source!r} has {shared} questions of problems.source: remove them"
            )
    return examples
