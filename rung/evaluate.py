"""``rung eval``: how often policies are right on held-out problems, alone and with a PRM's help, with intervals."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lm.checkpoint import write_atomic, write_json, write_lines
from lm.config import key, part, to_yaml
from lm.engine import Sampling
from lm.engines import EngineConfig, open_engine
from lm.errors import UserError
from lm.models import DType, load_tokenizer
from lm.progress import progress
from lm.torch_setup import prepare_torch
from prm.choice import answer_classes
from prm.labelling import symbolic_labels
from prm.loading import load as load_prm
from prm.problems import BUILT_IN, ProblemsConfig, load_problems
from prm.sample import sample_solutions
from prm.scorer import Scorer, score_each
from rung.statistics import best_of_n, bootstrap_interval, majority, paired_bootstrap, pass_at_k
from verifiers.solution import Problem, Solution, Verdict
from verifiers.verify import verify_solution


@dataclass(frozen=True)
class EvalConfig:
    """Greedy accuracy, pass@k, majority@k and best-of-k of some policies on the same held-out problems."""

    folder: Path = key(Path("runs/eval"), "summary.json, outcomes.jsonl and samples.jsonl are written here")
    policies: dict[str, str] = key({"sft": "runs/sft/model"}, "name: folder or hub name; each pair is compared")
    prm: str | None = key("runs/prm/model", "the process reward model for best-of-k, or symbolic; null leaves it out")
    dtype: DType = key("float32", "precision of all models; bfloat16 for GPUs")
    problems: ProblemsConfig = part(ProblemsConfig)
    count: int | None = key(1000, "test problems; null takes all of a file")
    sampling: Sampling = part(Sampling, "how the k = n samples are drawn", n=8)
    shown: int = key(40, "problems whose greedy solutions are kept, with step scores, for the report", low=0)
    engine: EngineConfig = part(EngineConfig, "what samples")
    engine_batch: int = key(512, "sequences sampled at once", low=1)
    prompt: str | None = key(None, "prompt with {question} in it; null uses the tokenizer's chat template")
    seed: int = key(0, "of the samples and the bootstrap")
    threads: int | None = key(None, "CPU threads; null leaves it to torch")


@dataclass(frozen=True)
class Outcomes:
    """What one policy earned on each of P problems; every field is (P,), in [0, 1]."""

    greedy: np.ndarray
    pass_at_k: np.ndarray
    majority: np.ndarray
    best_of_n: np.ndarray | None


def evaluate(config: EvalConfig) -> dict:
    """Evaluate, write ``folder/summary.json``, ``outcomes.jsonl`` (a row a problem: what each policy earned on it) and
    ``samples.jsonl``, and return the summary."""
    prepare_torch(config.seed, config.threads)
    if not config.policies:
        raise UserError("policies is empty: give at least one, for example policies={sft: runs/sft/model}")
    problems = [e.problem for e in load_problems(config.problems, "test", config.count, stream=9)]
    prm = load_prm(config.prm, config.dtype, prompt=config.prompt) if config.prm is not None else None
    outcomes: dict[str, Outcomes] = {}
    samples: list[dict] = []
    for name, path in config.policies.items():
        outcomes[name], shown = measure(name, path, prm, problems, config)
        samples += shown
    k = str(config.sampling.n)
    summary = {
        "problems": len(problems),
        "k": config.sampling.n,
        "arms": [
            _arm(name, o, k, lambda v: asdict(bootstrap_interval(v, config.seed))) for name, o in outcomes.items()
        ],
        "paired": _pairs(outcomes, config.seed),
    }
    config.folder.mkdir(parents=True, exist_ok=True)
    write_atomic(config.folder / "config.yaml", to_yaml(config))
    write_lines(config.folder / "outcomes.jsonl", _outcome_rows(problems, outcomes, k))
    write_lines(config.folder / "samples.jsonl", samples)
    write_json(config.folder / "summary.json", summary)
    return summary


def main(config: EvalConfig) -> None:
    """``rung eval``: evaluate and print the table."""
    from rich.console import Console

    from rung.report_table import terminal_table

    Console().print(terminal_table(evaluate(config)))


def measure(
    name: str, path: str, prm: Scorer | None, problems: Sequence[Problem], config: EvalConfig
) -> tuple[Outcomes, list[dict]]:
    """One policy's outcomes on all problems, and its first greedy solutions with step scores for the report."""
    tokenizer = load_tokenizer(path)
    engine = open_engine(config.engine, path, tokenizer, dtype=config.dtype, batch=config.engine_batch)
    k = config.sampling.n
    with progress(f"eval {name}", (2 if k > 1 else 1) * len(problems)) as bar:
        one = Sampling(temperature=0, max_tokens=config.sampling.max_tokens)
        greedy = [s for s, _ in sample_solutions(engine, tokenizer, problems, one, 0, config.prompt, bar.advance)]
        drawn = [
            s
            for s, _ in sample_solutions(
                engine, tokenizer, problems, config.sampling, config.seed, config.prompt, bar.advance
            )
        ]
    verdicts = [verify_solution(s) for s in greedy]
    sampled = [verify_solution(s) for s in drawn]
    groups = [sampled[i : i + k] for i in range(0, len(sampled), k)]
    best = None
    if prm is not None:
        found = score_each(prm, drawn)  # one that the PRM cannot read is the last to be picked
        scores = np.array([0.0 if isinstance(s, str) else s.aggregate("min") for s in found]).reshape(-1, k)
        best = np.array([best_of_n(row, [v.correct for v in group]) for row, group in zip(scores, groups, strict=True)])
    outcomes = Outcomes(
        np.array([float(v.correct) for v in verdicts]),
        np.array([pass_at_k(k, sum(v.correct for v in g), k) for g in groups]),
        np.array([majority(answer_classes([v.predicted for v in g]), [v.correct for v in g]) for g in groups]),
        best,
    )
    built_in = config.problems.source == BUILT_IN
    return outcomes, _shown(name, greedy[: config.shown], verdicts, prm, built_in)


def greedy_outcomes(path: str, config: EvalConfig) -> np.ndarray:
    """(P,) whether the policy at ``path`` answers each of the config's test problems rightly without sampling."""
    tokenizer = load_tokenizer(path)
    engine = open_engine(config.engine, path, tokenizer, dtype=config.dtype, batch=config.engine_batch)
    problems = [e.problem for e in load_problems(config.problems, "test", config.count, stream=9)]
    one = Sampling(temperature=0, max_tokens=config.sampling.max_tokens)
    solved = sample_solutions(engine, tokenizer, problems, one, 0, config.prompt)
    return np.array([float(verify_solution(solution).correct) for solution, _ in solved])


def _arm(name: str, o: Outcomes, k: str, of: Callable[[np.ndarray], Any]) -> dict:
    metrics: dict = {"name": name, "greedy": of(o.greedy)}
    for label, values in (("pass@k", o.pass_at_k), ("majority@k", o.majority), ("best_of_n", o.best_of_n)):
        if values is not None:
            metrics[label] = {k: of(values)}
    return metrics


def _outcome_rows(problems: Sequence[Problem], outcomes: dict[str, Outcomes], k: str) -> list[dict]:
    """Of each problem the arms as in the summary, so that evaluations in several folders can be paired."""
    return [
        {"id": p.id, "question": p.question, "gold": p.answer}
        | {"arms": [_arm(name, o, k, lambda v, i=i: float(v[i])) for name, o in outcomes.items()]}  # type: ignore[misc]
        for i, p in enumerate(problems)
    ]


def _pairs(outcomes: dict[str, Outcomes], seed: int) -> list[dict]:
    """Greedy accuracy of each later policy minus each earlier one, on the same problems."""
    names = list(outcomes)
    return [
        {"a": b, "b": a, "metric": "greedy"} | asdict(paired_bootstrap(outcomes[b].greedy, outcomes[a].greedy, seed))
        for i, a in enumerate(names)
        for b in names[i + 1 :]
    ]


def _shown(
    arm: str, solutions: Sequence[Solution], verdicts: Sequence[Verdict], prm: Scorer | None, built_in: bool
) -> list[dict]:
    scores: list[list] = [[None] * len(s.steps) for s in solutions]
    for i, found in enumerate(score_each(prm, solutions) if prm else []):
        if not isinstance(found, str):
            scores[i] = found.probabilities.tolist()
    rows: list[dict] = []
    for solution, verdict, p in zip(solutions, verdicts, scores, strict=False):
        labels = symbolic_labels(solution, built_in).labels
        steps = [
            {"start": s.start, "end": s.end, "score": score, "label": label}
            for s, score, label in zip(solution.steps, p, labels, strict=True)
        ]
        problem = solution.problem
        rows.append(
            {"arm": arm, "id": problem.id, "question": problem.question, "gold": problem.answer, "text": solution.text}
            | {"steps": steps, "correct": verdict.correct, "predicted": verdict.predicted, "reason": verdict.reason}
        )
    return rows
