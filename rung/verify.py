"""``rung verify FILE``: is the final answer of each text right?  Verdicts, a summary, and where labels disagree."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm.checkpoint import write_atomic
from lm.config import REQUIRED, key, part
from lm.errors import UserError
from lm.progress import Bar, progress
from prm.scores import parse_rows
from verifiers.extract import DEFAULT_RULES, Rule
from verifiers.policy import Policy
from verifiers.pool import verify_many
from verifiers.solution import Problem, Solution, Verdict

if TYPE_CHECKING:
    from rich.console import RenderableType

COLUMNS = {
    "gold": ("gold", "gold_answer", "answer", "target", "ground_truth"),
    "text": ("text", "response", "completion", "prediction", "output", "steps"),
    "expected": ("expected", "correct", "is_correct", "final_correct"),
}


@dataclass(frozen=True)
class VerifyConfig:
    """Compare the final answer of each text in a .jsonl(.gz), .json or .parquet file with the row's gold answer."""

    file: Path = key(REQUIRED, 'rows with a gold answer and a text, perhaps "question", "options" and a label')
    out: Path | None = key(None, 'where the rows go with "verdict" added; null: standard output')
    gold: str | None = key(None, f"column of the gold answers; null: the first of {', '.join(COLUMNS['gold'])}")
    text: str | None = key(None, f"column of the texts; null: the first of {', '.join(COLUMNS['text'])}")
    expected: str | None = key(
        None, f"column that says whether the text is right; null: the first of {', '.join(COLUMNS['expected'])}, if any"
    )
    rules: tuple[Rule, ...] = key(
        DEFAULT_RULES,
        'where to look for the answer, best first; a row with "kind": "answer" is one as it stands',
    )
    workers: int = key(0, "processes to share the work; 0: this one, best for less than a second of it", low=0)
    timeout: float = key(0.5, "seconds that a worker may take for one text", low=0.01)
    shown: int = key(20, "disagreements with the labels that are listed", low=0)
    policy: Policy = part(Policy)


@dataclass(frozen=True)
class Item:
    """One row: what is to be verified, whether its text is an answer already, and its label, None where it has none."""

    solution: Solution
    bare: bool
    expected: bool | None


def main(config: VerifyConfig) -> None:
    """Write each row with its verdict, and print the summary: on standard error where the rows go to the other."""
    from rich.console import Console, Group

    rows = list(parse_rows(config.file, dict))
    items = [_item(row, f"{config.file}: row {i + 1}", config) for i, row in enumerate(rows)]
    with progress("verify", len(items)) as bar:
        verdicts = judge(items, config, bar)
    lines = [
        json.dumps(row | {"verdict": asdict(verdict)}, ensure_ascii=False) + "\n"
        for row, verdict in zip(rows, verdicts, strict=True)
    ]
    if config.out is None:
        print("".join(lines), end="", flush=True)
    else:
        config.out.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(config.out, "".join(lines))
    Console(stderr=config.out is None).print(Group(*summary(items, verdicts, config.shown)))


def judge(items: Sequence[Item], config: VerifyConfig, bar: Bar) -> list[Verdict]:
    """The verdict of each item, in order."""
    verdicts: dict[int, Verdict] = {}
    for bare, rules in ((False, config.rules), (True, ("whole text",))):
        places = [i for i, item in enumerate(items) if item.bare == bare]
        decided = verify_many(
            [items[i].solution for i in places],
            workers=config.workers,
            timeout=config.timeout,
            policy=config.policy,
            rules=rules,
            advance=bar.advance,
        )
        verdicts |= zip(places, decided, strict=True)
    return [verdicts[i] for i in range(len(items))]


def summary(items: Sequence[Item], verdicts: Sequence[Verdict], shown: int) -> "list[RenderableType]":
    """The counts of right, wrong and could-not-tell and, where rows are labelled, of the agreements; then the table."""
    from rich.table import Table
    from rich.text import Text

    reasons = Counter(verdict.reason for verdict in verdicts)
    untold = {reason: reasons[reason] for reason in ("no answer", "unparsable", "timeout")}
    told = ", ".join(f"{count} {reason}" for reason, count in untold.items() if count)
    total = len(verdicts)
    lines = [
        f"right {_share(reasons['match'], total)}, wrong {_share(reasons['mismatch'], total)}, "
        f"could not tell {_share(sum(untold.values()), total)}{f' ({told})' if told else ''}"
    ]
    pairs = [(item, verdict) for item, verdict in zip(items, verdicts, strict=True) if item.expected is not None]
    against = [(item, verdict) for item, verdict in pairs if item.expected != verdict.correct]
    if pairs:
        accepted = sum(verdict.correct for _, verdict in against)
        lines.append(
            f"agrees with {_share(len(pairs) - len(against), len(pairs))} of the labels: "
            f"{accepted} false accepts, {len(against) - accepted} false rejects"
        )
    table = Table(title="Disagreements", title_justify="left", caption_justify="left")
    for name in ("row", "label", "verdict", "gold answer", "answer"):
        table.add_column(name, no_wrap=name != "gold answer" and name != "answer")
    for item, verdict in sorted(against, key=lambda pair: not pair[1].correct)[:shown]:
        label = "right" if item.expected else "wrong"
        problem = item.solution.problem
        cells = (problem.id, label, verdict.reason, problem.answer[-60:], (verdict.predicted or "–")[:60])
        table.add_row(*map(Text, cells))  # Text: what stands in a file is shown as it is, never read as markup
    if len(against) > shown:
        table.caption = f"and {len(against) - shown} more"
    return [*map(Text, lines), *([table] if table.rows else [])]


def _share(count: int, total: int) -> str:
    return f"{count} of {total} ({100 * count / total:.2f}%)"


def _item(row: dict[str, Any], where: str, config: VerifyConfig) -> Item:
    gold = row[_column(row, "gold", config.gold, where)]
    gold = ", ".join(map(str, gold)) if isinstance(gold, list) else gold
    if isinstance(gold, bool) or not isinstance(gold, str | int | float):
        raise UserError(f"{where}: the gold answer is {gold!r}; fill it in or remove the row")
    text = row[_column(row, "text", config.text, where)]
    text = "\n\n".join(map(str, text)) if isinstance(text, list) else text
    if not isinstance(text, str | int | float | None):
        raise UserError(f"{where}: the text is {str(text)[:60]!r}, expected text (text=NAME for another column)")
    labelled = _column(row, "expected", config.expected, where)
    label = row[labelled] if labelled else None
    if label not in (True, False, None):
        raise UserError(f"{where}: the label is {label!r}, expected true or false (expected=NAME for another column)")
    options = row.get("options")
    question = "\n".join(map(str, [row.get("question") or "", *(options if isinstance(options, list) else [])]))
    problem = Problem(str(row.get("id", where.rpartition(" ")[2])), question, str(gold))
    solution = Solution(problem, "" if text is None else str(text), ())
    return Item(solution, row.get("kind") == "answer", None if label is None else bool(label))


def _column(row: dict[str, Any], what: str, asked: str | None, where: str) -> str:
    """The column to read: the one asked for, else the first known one there is; "" where there need not be one."""
    names = (asked,) if asked is not None else COLUMNS[what]
    found = next((name for name in names if name in row), "")
    if not found and (asked is not None or what != "expected"):
        raise UserError(f"{where} has no column {' or '.join(names)}; its columns are {', '.join(row)} ({what}=NAME)")
    return found
