"""Pairs of responses of which people (or a verifier) prefer one: where they come from, and their token ids."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from lm.config import key
from lm.errors import UserError
from lm.sft import Pair
from lm.tokenizer import encode, prompt_text
from prm.scores import LabeledSolution, parse_rows, read_labeled
from verifiers.rows import is_hub_name

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Preference:
    """``chosen`` is preferred to ``rejected`` after ``question``. With a ``prefix`` both are the next step after that
    much of a solution, so neither ends it; without one they are whole responses. No ``group`` is on both sides of a
    split."""

    question: str
    chosen: str
    rejected: str
    group: str
    prefix: str | None = None


@dataclass(frozen=True)
class PreferenceData:
    """Files of pairs."""

    pairs: tuple[str, ...] = key(
        (),
        "files of pairs (.jsonl, .jsonl.gz, .json, .parquet) or hub data sets: prompt or question, chosen, rejected, "
        "perhaps group and prefix; or of rankings, as rung annotate writes them: question, solutions, ranking",
    )
    labels: tuple[str, ...] = key(
        (), "files of labelled solutions (rung label), for pairs of a right and a wrong next step: step-DPO"
    )
    longest: int | None = key(None, "characters: pairs with a longer prompt or response are left out", low=1)
    validation_fraction: float = key(0.1, "share of the prompts (or groups) kept from training", low=0, high=0.9)


def load_preferences(data: PreferenceData, seed: int) -> tuple[list[Preference], list[Preference]]:
    """(training pairs, held-out pairs), split by group. Raises UserError where there are none to train on."""
    if not data.pairs and not data.labels:
        raise UserError("no preferences to learn from: give data.pairs=[FILE] or data.labels=[FILE]")
    rows = [found for path in data.pairs for found in parse_rows(path, _preferences, from_hub=is_hub_name(path))]
    every = [pair for found in rows for pair in found]
    every += step_pairs([item for path in data.labels for item in read_labeled(path)])
    if data.longest is not None:
        every = [p for p in every if max(len(p.question), len(p.chosen), len(p.rejected)) <= data.longest]
    groups = sorted({pair.group for pair in every})
    random.Random(f"preferences/{seed}").shuffle(groups)
    held = set(groups[: round(data.validation_fraction * len(groups))])
    train = [pair for pair in every if pair.group not in held]
    if not train:
        raise UserError(f"no training pairs in {', '.join((*data.pairs, *data.labels))}: give more or split off fewer")
    return train, [pair for pair in every if pair.group in held]


def _preferences(row: Mapping[str, Any]) -> list[Preference]:
    """The pair of a row, or each two of its ``solutions`` that a ``ranking`` (places, best first, of indices) puts in
    different places: the K(K−1)/2 comparisons that Ouyang et al. (2022, section 3.5) learn from."""
    if "ranking" not in row:
        return [_preference(row)]
    places, texts = row["ranking"], row.get("solutions")
    if not isinstance(texts, list):
        raise ValueError("no 'solutions' beside 'ranking'")
    if not (isinstance(places, list) and all(isinstance(place, list) for place in places)):
        raise ValueError(f"'ranking' must be a list of places, each a list of indices, not {places!r}")
    named = [i for place in places for i in place]
    if not all(type(i) is int for i in named) or sorted(named) != list(range(len(texts))):
        raise ValueError(f"'ranking' must name each of the {len(texts)} solutions once, not {places!r}")
    return [
        _preference({**row, "chosen": texts[i], "rejected": texts[j]})
        for better, worse in combinations(places, 2)
        for i in better
        for j in worse
    ]


def _preference(row: Mapping[str, Any]) -> Preference:
    question = row.get("question", row.get("prompt"))
    texts = {"prompt": question, "chosen": row.get("chosen"), "rejected": row.get("rejected")}
    for name, value in texts.items():
        if not isinstance(value, str):
            raise ValueError(f"{name!r} must be text, not {value!r}" if value is not None else f"no {name!r}")
    prefix = row.get("prefix")
    if not isinstance(prefix, str | None):
        raise ValueError(f"'prefix' must be text, not {prefix!r}")
    group = str(row.get("group", texts["prompt"]))
    return Preference(str(texts["prompt"]), str(texts["chosen"]), str(texts["rejected"]), group, prefix)


def step_pairs(items: Sequence[LabeledSolution]) -> list[Preference]:
    """A right and a wrong step after the same right beginning of one problem: the pairs of step-DPO (Lai et al. 2024).

    Each wrong step is paired with one right step, those of a prefix in turn. Labels from 0.5 up say right.
    """
    right: dict[tuple[str, str], list[str]] = {}
    wrong: dict[tuple[str, str], list[str]] = {}
    for item in items:
        text, steps = item.solution.text, item.solution.steps
        for i, (step, label) in enumerate(zip(steps, item.labels, strict=True)):
            if label is None:
                break
            end = steps[i + 1].start if i + 1 < len(steps) else step.end
            kind = right if label >= 0.5 else wrong
            found = kind.setdefault((item.solution.problem.question, text[: step.start]), [])
            if text[step.start : end] not in found:
                found.append(text[step.start : end])
            if label < 0.5:
                break
    return [
        Preference(question, right[question, prefix][i % len(right[question, prefix])], rejected, question, prefix)
        for (question, prefix), rejects in wrong.items()
        if (question, prefix) in right
        for i, rejected in enumerate(rejects)
    ]


def encode_preferences(
    tokenizer: "PreTrainedTokenizerBase", preferences: Sequence[Preference], prompt: str | None
) -> tuple[list[Pair], list[Pair]]:
    """(chosen, rejected) as (prompt ids, response ids); whole responses end in EOS, single steps do not."""
    prompts = encode(tokenizer, [prompt_text(tokenizer, p.question, prompt) + (p.prefix or "") for p in preferences])
    ends: list[list[int]] = [[tokenizer.eos_token_id] if p.prefix is None else [] for p in preferences]
    sides: list[list[Pair]] = []
    for texts in ([p.chosen for p in preferences], [p.rejected for p in preferences]):
        responses = encode(tokenizer, texts)
        sides.append([(p, [*r, *end]) for p, r, end in zip(prompts, responses, ends, strict=True)])
    return sides[0], sides[1]
