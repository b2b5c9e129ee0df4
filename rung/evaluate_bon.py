"""``rung eval bon``: best-of-n from a pool of samples, by a PRM or by scores in the pool, beside blind choices."""

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lm.checkpoint import write_json
from lm.config import REQUIRED, key, part
from lm.errors import UserError
from lm.models import DType
from lm.torch_setup import prepare_torch
from prm.choice import answer_classes
from prm.fields import encodable
from prm.journal import Journal, journal_of, score_all
from prm.labelled_data import short_names
from prm.loading import Reading, load_as
from prm.readers import OnBadRow, read_parsed
from prm.scorer import Scorer
from prm.scores import Aggregation
from rung.statistics import best_of_n_from_pool, bootstrap_interval, majority_at_k, pass_at_k
from verifiers.solution import Problem, Solution
from verifiers.split import Separator, split_steps
from verifiers.verify import verify

Ties = Literal["fair", "first"]
DRAWS = 64  # subsets a problem for weighted majority, which has no closed form; all samples are one subset


@dataclass(frozen=True)
class BonConfig:
    """Best-of-n curves: accuracy of the sample that is picked among n of a pool, for n = 1, 2, 4, ..., all."""

    files: tuple[str, ...] = key(REQUIRED, "pools: rows with question, gold_answer and samples of response and correct")
    folder: Path = key(Path("runs/eval-bon"), "summary.json is written here")
    prm: str | None = key(None, "the reward model that picks: folder, hub name or symbolic")
    reading: Reading = part(Reading, "what kind of reward model it is, where its name does not say")
    reference: tuple[str, ...] = key((), "scores in the file to pick by, as MODEL:RULE of its ref_prm; all: every one")
    aggregate: Aggregation = key("min", "how the PRM's step scores become a sample's score")
    separator: Separator = key("paragraph", "what separates the steps of a response")
    ties: Ties = key("fair", "between equal scores: a fair draw, or the sample that stands first in the file")
    on_bad_row: OnBadRow = key("error", "a malformed row ends the run, or is left out and reported")
    resume: bool = key(False, "go on with the scores that a run that was cut off has left in the folder")
    prompt: str | None = key(None, "prompt with {question} in it; null uses the tokenizer's chat template")
    dtype: DType = key("float32", "precision of the model; bfloat16 for GPUs")
    micro_tokens: int = key(16384, "padded tokens a forward pass", low=1)
    seed: int = key(0, "of the bootstrap over problems and of the subsets of weighted majority")
    threads: int | None = key(None, "CPU threads; null leaves it to torch")


@dataclass(frozen=True)
class Pool:
    """One problem's m samples: verdicts (m,), answer classes (None: no answer), and scores by name, each (m,)."""

    correct: tuple[bool, ...]
    answers: tuple[int | None, ...]
    scores: Mapping[str, tuple[float, ...]]


def main(config: BonConfig) -> None:
    """Evaluate each file, write ``folder/summary.json`` and print a table a file."""
    summary = evaluate_bon(config)
    for name, report in summary["files"].items():
        print(f"{name}: {report['problems']} problems, {report['undecided']} samples without a verdict count as wrong")
        print(f"  {'accuracy % of the pick among':<44}" + "".join(f"{n:>19}" for n in report["n"]))
        for row, curve in report["curves"].items():
            cells = [f"{100 * c['mean']:.1f} [{100 * c['low']:.0f}, {100 * c['high']:.0f}]" for c in curve]
            print(f"  {row:<44}" + "".join(f"{cell:>19}" for cell in cells))


def evaluate_bon(config: BonConfig) -> dict[str, Any]:
    """{"files": {name: {"n": [...], "curves": {who picks: [interval at each n]}}}}, also written to summary.json."""
    if config.prm is None and not config.reference:
        raise UserError("nothing to pick by: give prm=..., or reference=[all] for the scores that the files hold")
    prepare_torch(config.seed, config.threads)
    rows = {path: read_parsed(path, _checked, config.on_bad_row) for path in config.files}
    pools = {path: [_pool(row, config.reference, path) for row in rows[path]] for path in config.files}
    journal = None
    if config.prm is not None:
        prm = load_as(config.reading, config.prm, config.dtype, config.micro_tokens, config.prompt)
        kept = config.folder / "scores.partial"
        journal = journal_of(kept, config.reading, config.prm, config.dtype, config.prompt, resume=config.resume)
        pools = _scored(pools, rows, prm, journal, config)
    files = {
        name: report_pools(pools[path], config.ties, config.seed)
        | {"undecided": sum(s.get("correct") is None for row in rows[path] for s in row["samples"])}
        for name, path in zip(short_names(config.files), config.files, strict=True)
    }
    summary = {"files": files, "ties": config.ties}
    config.folder.mkdir(parents=True, exist_ok=True)
    write_json(config.folder / "summary.json", summary)
    if journal is not None:
        journal.close()
    return summary


def report_pools(pools: Sequence[Pool], ties: Ties, seed: int) -> dict[str, Any]:
    """Curves over n with bootstrap intervals over problems: the blind choices first, then each score's."""
    least = min(len(pool.correct) for pool in pools)
    ns = [n for n in (1, 2, 4, 8, 16, 32, 64, 128) if n < least] + [least]
    pickers: dict[str, Callable[[Pool, int], float]] = {
        "a random sample": lambda pool, n: float(np.mean(pool.correct)),
        "majority": lambda pool, n: _majority(pool, n, ties),
        "oracle (some sample is right)": lambda pool, n: pass_at_k(len(pool.correct), sum(pool.correct), n),
    }
    for name in pools[0].scores:
        pickers[name] = lambda pool, n, name=name: _pick(pool, name, n, ties)  # type: ignore[misc]
        pickers[f"{name}, weighted majority"] = lambda pool, n, name=name: _weighted(pool, name, n, seed)  # type: ignore[misc]
    curves = {
        who: [asdict(bootstrap_interval([pick(pool, n) for pool in pools], seed)) for n in ns]
        for who, pick in pickers.items()
    }
    return {"problems": len(pools), "n": ns, "curves": curves}


def _pick(pool: Pool, name: str, n: int, ties: Ties) -> float:
    scores = np.asarray(pool.scores[name])
    if ties == "first":  # distinct ranks, earlier ones higher
        order = np.lexsort((-np.arange(scores.size), scores))
        scores = np.argsort(order).astype(float)
    return best_of_n_from_pool(scores, pool.correct, n)


def _majority(pool: Pool, n: int, ties: Ties) -> float:
    if ties == "first" and n == len(pool.correct):
        votes = [(pool.answers.count(answer), -i) for i, answer in enumerate(pool.answers) if answer is not None]
        return float(pool.correct[-max(votes)[1]]) if votes else 0.0
    return majority_at_k(pool.answers, pool.correct, n)


def _weighted(pool: Pool, name: str, n: int, seed: int) -> float:
    """Mean over subsets of n: each answer class weighs the sum of its samples' scores (Li et al. 2023, DiVeRSe;
    Wang et al. 2024, Math-Shepherd, eq. 8), and is right by its share of right samples."""
    m = len(pool.correct)
    draw = random.Random(f"{seed}/{name}/{n}")
    subsets = [range(m)] if n == m else [draw.sample(range(m), n) for _ in range(DRAWS)]
    return float(np.mean([weighted_majority(pool.answers, pool.correct, pool.scores[name], s) for s in subsets]))


def weighted_majority(
    answers: Sequence[int | None], correct: Sequence[bool], scores: Sequence[float], chosen: Sequence[int]
) -> float:
    """P(right) of the answer class with the greatest sum of scores among the ``chosen`` samples; 0 without answers."""
    weight: defaultdict[int, float] = defaultdict(float)
    right: defaultdict[int, list[bool]] = defaultdict(list)
    for i in chosen:
        answer = answers[i]
        if answer is not None:
            weight[answer] += scores[i]
            right[answer].append(correct[i])
    if not weight:
        return 0.0
    most = max(weight.values())
    return float(np.mean([np.mean(right[a]) for a, w in weight.items() if w == most]))


def _checked(_: str, row: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(row.get("question"), str) or not isinstance(row.get("samples"), list) or not row["samples"]:
        raise ValueError('a pool\'s row needs "question" and a list of "samples"')
    if any(not isinstance(s, dict) or not isinstance(s.get("response"), str) for s in row["samples"]):
        raise ValueError('each sample needs its "response" text')
    if any(s.get("correct") not in (True, False, None) for s in row["samples"]):
        raise ValueError('a sample\'s "correct" must be true, false or null')
    for sample in row["samples"]:
        encodable(sample["response"], '"response"')
        cached = sample.get("ref_prm") or {}
        if not isinstance(cached, dict) or not all(isinstance(rules, dict) for rules in cached.values()):
            raise ValueError('"ref_prm" must hold a score by model and rule')
    encodable(row["question"], '"question"')
    if all(s.get("correct") is None for s in row["samples"]) and not isinstance(row.get("gold_answer"), str):
        raise ValueError('neither a sample\'s "correct" nor a "gold_answer" to judge it by')
    return row


def _pool(row: Mapping[str, Any], reference: Sequence[str], path: str) -> Pool:
    problem = Problem(str(row.get("id", "")), row["question"], str(row.get("gold_answer") or ""))
    samples = row["samples"]
    verdicts = [verify(problem, sample["response"]) for sample in samples]
    judged = any("correct" in sample for sample in samples)
    correct = tuple(bool(s.get("correct")) if judged else v.correct for s, v in zip(samples, verdicts, strict=True))
    answers = tuple(answer_classes([verdict.predicted for verdict in verdicts]))
    scores: dict[str, tuple[float, ...]] = {}
    cached = [sample.get("ref_prm") or {} for sample in samples]
    names = [f"{model}:{rule}" for model, rules in cached[0].items() for rule in rules]
    for name in names if tuple(reference) == ("all",) else reference:
        model, _, rule = name.partition(":")
        try:
            scores[name] = tuple(float(c[model][rule]) for c in cached)
            if not np.isfinite(scores[name]).all():
                raise ValueError("not a number")
        except (KeyError, TypeError, ValueError):
            raise UserError(
                f"{path}: {problem.id} has no reference score {name!r} of each sample; it has {', '.join(names)}"
            ) from None
    return Pool(correct, answers, scores)


def _scored(
    pools: Mapping[str, Sequence[Pool]],
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
    prm: Scorer,
    journal: Journal,
    config: BonConfig,
) -> dict[str, list[Pool]]:
    """The pools with the PRM's scores added; a sample that it cannot read has 0, as one without steps has."""
    solutions = []
    for row in (row for path in rows for row in rows[path]):
        problem = Problem(str(row.get("id", "")), row["question"], "")
        texts = [sample["response"] for sample in row["samples"]]
        solutions += [Solution(problem, text, split_steps(text, config.separator)) for text in texts]
    scores = score_all(prm, solutions, journal, some=True)
    values = iter([0.0 if isinstance(s, str) else s.aggregate(config.aggregate) for s in scores])
    name = f"PRM {config.aggregate}"
    return {
        path: [Pool(p.correct, p.answers, {**p.scores, name: tuple(next(values) for _ in p.correct)}) for p in group]
        for path, group in pools.items()
    }
