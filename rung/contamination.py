"""``rung eval contamination TRAIN TEST``: which test problems stand, in whole or in part, in the training data.

A test problem is flagged where it shares n words in a row with a training problem (13 by default: GPT-3, Brown et al.
2020, appendix C). Words are compared without case, punctuation and LaTeX's dollars; numbers count as words. A question
of fewer words than n is looked for as a whole.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm.checkpoint import write_json
from lm.config import REQUIRED, key
from lm.errors import UserError
from rung.math_sets import SETS, load_set
from verifiers.data import DataError, load_examples
from verifiers.rows import is_hub_name
from verifiers.solution import Example, Problem

_WORD = re.compile(r"\w+")
Gram = tuple[str, ...]


@dataclass(frozen=True)
class ContaminationConfig:
    """Look for the problems of one source in another."""

    train: str = key(REQUIRED, "the training problems: a file, or a hub data set whose train split is read")
    test: str = key(REQUIRED, "the test problems: a file, or a benchmark's name as in `rung eval math`")
    n: int = key(13, "words in a row that two problems may not share", low=3)
    solutions: bool = key(False, "look in the training solutions as well as in the questions")
    config: str | None = key(None, "configuration of a hub data set: main for openai/gsm8k")
    out: Path | None = key(None, "where every flagged problem goes, as JSON")
    shown: int = key(5, "flagged problems that are printed", low=0)


@dataclass(frozen=True)
class Match:
    """A test problem, the training problem that shares most with it, and the share of its n-grams found anywhere."""

    test: str
    train: str
    share: float
    whole: bool  # the two questions are the same words


def main(config: ContaminationConfig) -> None:
    """Print how many test problems are flagged and the worst of them."""
    train, test = _train(config), _test(config.test)
    matches = overlaps(train, test, config.n, config.solutions)
    whole = sum(match.whole for match in matches)
    found: dict[str, Any] = {"train": len(train), "test": len(test), "n": config.n, "flagged": len(matches)}
    found |= {"whole": whole, "matches": [vars(match) for match in matches]}
    if config.out is not None:
        config.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(config.out, found)
    share = 100 * len(matches) / len(test)
    print(f"{len(matches)} of {len(test)} test problems ({share:.1f} %) share {config.n} words in a row with one of")
    print(f"{len(train)} training problems; {whole} of them are the same question, word for word")
    for match in matches[: config.shown]:
        print(f"  {match.test}: {100 * match.share:.0f} % of it found, most of it in {match.train}")


def overlaps(train: Sequence[Example], test: Sequence[Problem], n: int, solutions: bool = False) -> list[Match]:
    """The flagged test problems, those with most in common first. Time and memory are linear in the words."""
    asked = [words(problem.question) for problem in test]
    owners: defaultdict[Gram, list[int]] = defaultdict(list)
    counts = []
    for index, said in enumerate(asked):
        own = set(grams(said, min(n, len(said))))
        counts.append(len(own))
        for gram in own:
            owners[gram].append(index)
    sizes = {len(gram) for gram in owners}
    found: list[set[Gram]] = [set() for _ in test]
    most: list[tuple[int, str]] = [(0, "")] * len(test)
    same: set[int] = set()
    for example in train:
        question = words(example.problem.question)
        texts = [question, *([words(example.solution)] if solutions and example.solution else [])]
        shared: defaultdict[int, set[Gram]] = defaultdict(set)
        for gram in {gram for text in texts for size in sizes for gram in grams(text, size)}:
            for index in owners.get(gram, ()):
                shared[index].add(gram)
        for index, own in shared.items():
            found[index] |= own
            most[index] = max(most[index], (len(own), example.problem.id), key=lambda pair: pair[0])
            if asked[index] == question:
                same.add(index)
    flagged = [
        Match(problem.id, most[i][1], len(found[i]) / counts[i], i in same)
        for i, problem in enumerate(test)
        if found[i]
    ]
    return sorted(flagged, key=lambda match: -match.share)


def words(text: str) -> list[str]:
    """The words and numbers of a text, without case or punctuation: "The $x$-axis, 1,000" is the, x, axis, 1, 000."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def grams(said: Sequence[str], n: int) -> Iterator[Gram]:
    """Every n words in a row; nothing where there are fewer, or n is 0."""
    return (tuple(said[i : i + n]) for i in range(len(said) - n + 1)) if n else iter(())


def _train(config: ContaminationConfig) -> list[Example]:
    try:
        split_config = config.config or ("main" if config.train == "openai/gsm8k" else None)
        return load_examples(config.train, config=split_config, allow_test=True)
    except DataError as error:
        raise UserError(f"train: {error}") from error


def _test(source: str) -> list[Problem]:
    if source in SETS:
        return load_set(source, None)
    if is_hub_name(source):
        raise UserError(f"test: {source!r} is no file and no benchmark; one of {', '.join(SETS)}, or a file")
    return load_set("test", source)
