"""Which of two responses is better: an LLM behind an endpoint, asked in both orders, or a reward model says."""

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lm.chat import ChatConfig, Cost, ask_all, ask_until_read, cost_of
from lm.checkpoint import append_line, read_lines, write_lines
from lm.config import key
from lm.errors import UserError
from prm.judge import read_object
from rl.reward_model import RewardModel

_FORM = """Answer with one JSON object and nothing else: {%s"better": "A", "B" or "tie"}."""
_HOPELESS = 5  # refusals in a row from the start: not these pairs are at fault, but how they are asked about


@dataclass(frozen=True)
class PairJudgeConfig(ChatConfig):
    """The endpoint of the judge, and how it is asked."""

    criterion: str = key(
        "Which of the two responses is more helpful, honest and harmless?", "the question put to the judge"
    )
    critique: bool = key(True, "let the judge write down its reasoning before its verdict: dearer, and better")
    schema: bool = key(True, "hold the answer to a JSON schema; false for endpoints that know no response_format")
    attempts: int = key(2, "times to ask where the answer cannot be read", low=1)


@dataclass(frozen=True)
class Match:
    """Two responses to one question; ``criterion`` replaces the judge's own where it is not empty."""

    question: str
    first: str
    second: str
    criterion: str = ""


@dataclass(frozen=True)
class Verdicts:
    """For each match 0 (the first is better), 1 (the second) or None (nobody can tell); what came of the others, and
    what asking took, by name."""

    better: list[int | None]
    counts: Cost


class PairJudge(Protocol):
    def compare(self, matches: Sequence[Match], place: str) -> Verdicts:
        """The verdicts on ``matches``; ``place`` says where in a run they stand, and is the same when it is resumed."""
        ...


class RewardJudge:
    """The response with the greater reward is better."""

    def __init__(self, model: RewardModel) -> None:
        self.model = model

    def compare(self, matches: Sequence[Match], place: str) -> Verdicts:
        texts = [(m.question, response) for m in matches for response in (m.first, m.second)]
        rated = self.model.rate(texts)
        pairs = list(zip(rated[::2], rated[1::2], strict=True))
        better = [None if one == other else int(other > one) for one, other in pairs]
        return Verdicts(better, {"ties": better.count(None)})


class ChatJudge:
    """A model behind an endpoint, asked about every match twice, with the responses in either order: what it prefers
    for its place alone is thrown out (Zheng et al. 2023, section 3.4).

    Each answer is a line of the file ``kept`` and is not asked for again at its place in the run, so that a run which
    goes on after a kill pays once; its cost counts as it did then.
    """

    def __init__(self, config: PairJudgeConfig, kept: Path) -> None:
        if not config.model:
            raise UserError("judge.model is not set: name the model to ask, as the endpoint calls it")
        self.config, self.kept = config, kept
        self.known = {row["key"]: row for row in read_lines(kept)}
        if kept.is_file():  # without what a kill has torn: the next answer would stand behind it
            write_lines(kept, self.known.values())
        self.writing = threading.Lock()

    def compare(self, matches: Sequence[Match], place: str) -> Verdicts:
        orders = [order for m in matches for order in ((m.first, m.second), (m.second, m.first))]
        asked = [messages(m, *order, self.config) for m, order in zip(_twice(matches), orders, strict=True)]
        keys = [_digest([place, i, self.config.model, said]) for i, said in enumerate(asked)]
        new = {key: said for key, said in zip(keys, asked, strict=True) if key not in self.known}
        for row in ask_all(self.config, list(new.items()), self._ask, "judge") if new else []:
            self.known[row["key"]] = row
        rows = [self.known[key] for key in keys]
        if rows and len(rows) >= _HOPELESS and all(row["refused"] for row in rows):
            raise UserError(f"the judge refuses every pair ({rows[0]['refused']}); judge.schema=false may help")
        return tally([(row["better"], bool(row["refused"])) for row in rows], rows)

    def _ask(self, item: tuple[str, list[dict[str, str]]]) -> dict[str, Any]:
        key, said = item
        form = schema(self.config.critique) if self.config.schema else None
        replies = ask_until_read(self.config, said, read_better, self.config.attempts, form)
        text = replies[-1].text
        better = read_better(text) if text is not None else None
        row: dict[str, Any] = {"key": key, "asked": said[-1]["content"], "said": text, "better": better}
        row |= {"refused": replies[-1].refused} | cost_of(replies)
        with self.writing:
            append_line(self.kept, row)
        return row


def tally(said: Sequence[tuple[str | None, bool]], costs: Sequence[Mapping[str, Any]]) -> Verdicts:
    """Verdicts of what was ``said`` (and whether it was refused) on each match in its two orders, one after the other.

    A match is decided where both orders name the same response. Else it is counted, once: refused, unreadable, a tie
    (at least one order says so), or inconsistent, where the judge named a place and not a response. ``first_place`` is
    how many of the readable answers that name a side name A: of an unbiased judge half of ``sides``.
    """
    counts = dict.fromkeys(("ties", "inconsistent", "unreadable", "refused", "first_place", "sides"), 0)
    better: list[int | None] = []
    for (one, one_refused), (other, other_refused) in zip(said[::2], said[1::2], strict=True):
        counts["first_place"] += (one, other).count("A")
        counts["sides"] += sum(answer in ("A", "B") for answer in (one, other))
        better.append({("A", "B"): 0, ("B", "A"): 1}.get((str(one), str(other))))
        if better[-1] is None:
            found = "refused" if one_refused or other_refused else "unreadable" if None in (one, other) else "ties"
            counts["inconsistent" if one == other in ("A", "B") else found] += 1
    spent = {name: sum(int(row[name]) for row in costs) for name in cost_of([])}
    return Verdicts(better, counts | spent)


def messages(match: Match, a: str, b: str, config: PairJudgeConfig) -> list[dict[str, str]]:
    """What the judge is asked about two responses, in this order."""
    form = _FORM % ('"critique": what speaks for and against each, ' if config.critique else "")
    task = f"You compare two responses to a prompt. {match.criterion or config.criterion}"
    told = f"Prompt:\n{match.question}\n\nResponse A:\n{a}\n\nResponse B:\n{b}\n\n{form}"
    return [{"role": "system", "content": task}, {"role": "user", "content": told}]


def schema(critique: bool) -> dict[str, Any]:
    """The JSON schema of the answer."""
    properties: dict[str, Any] = {"critique": {"type": "string"}} if critique else {}
    properties["better"] = {"type": "string", "enum": ["A", "B", "tie"]}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def read_better(text: str) -> str | None:
    """ "A", "B" or "tie" of an answer that is one JSON object which says so, to the letter; None of anything else."""
    answer = read_object(text)
    if answer is None or set(answer) - {"critique"} != {"better"}:
        return None
    better = answer["better"]
    return better if better in ("A", "B", "tie") else None


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _twice(matches: Sequence[Match]) -> list[Match]:
    return [match for match in matches for _ in range(2)]
