"""``rung eval``: how often policies are right on held-out problems, alone and with a PRM's help, with intervals."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lm.checkpoint import read_lines, write_json, write_lines
from lm.config import key, part
from lm.engine import Sampling, in_groups, request_seeds
from lm.engines import EngineConfig, open_engine
from lm.errors import UserError
from lm.models import DType, load_tokenizer
from lm.run import MAY_CHANGE, Run
from lm.torch_setup import prepare_torch
from prm.choice import answer_classes
from prm.label_files import part_path
from prm.labelling import symbolic_labels
from prm.loading import Reading, load_as
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
    reading: Reading = part(Reading, "what kind of reward model it is, where its name does not say")
    dtype: DType = key("float32", "precision of all models; bfloat16 for GPUs")
    problems: ProblemsConfig = part(ProblemsConfig)
    count: int | None = key(1000, "test problems; null takes all of a file")
    sampling: Sampling = part(Sampling, "how the k = n samples are drawn", n=8)
    shown: int = key(40, "problems whose greedy solutions are kept, with step scores, for the report", low=0)
    engine: EngineConfig = part(EngineConfig, "what samples")
    engine_batch: int = key(512, "sequences sampled at once", low=1)
    batch_problems: int = key(128, "problems a batch; a run resumes at a batch", low=1)
    prompt: str | None = key(None, "prompt with {question} in it; null uses the tokenizer's chat template")
    seed: int = key(0, "of the samples and the bootstrap")
    threads: int | None = key(None, "CPU threads; null leaves it to torch")
    resume: bool = key(False, "go on with the run in the folder")
    overwrite: bool = key(False, "delete the run in the folder first")


@dataclass(frozen=True)
class Outcome:
    """What one policy earned on one problem, each in [0, 1]; ``best_of_n`` is None without a PRM."""

    greedy: float
    pass_at_k: float
    majority: float
    best_of_n: float | None


def evaluate(config: EvalConfig) -> dict:
    """Evaluate batch by batch; write ``folder/summary.json``, ``outcomes.jsonl`` (a row a problem: what each policy
    earned on it) and ``samples.jsonl``; return the summary.

    A problem's samples depend on the seed and its place alone, so that a run that was stopped and resumed ends as one
    that never was.
    """
    prepare_torch(config.seed, config.threads)
    if not config.policies:
        raise UserError("policies is empty: give at least one, for example policies={sft: runs/sft/model}")
    problems = [e.problem for e in load_problems(config.problems, "test", config.count, stream=9)]
    prm = load_as(config.reading, config.prm, config.dtype, 16384, config.prompt) if config.prm is not None else None
    starts = range(0, len(problems), config.batch_problems)
    batches = [(name, start) for name in config.policies for start in starts]
    may_change = MAY_CHANGE | {"threads", "engine_batch"}
    run = Run.open(config, verb="eval", may_change=may_change)
    policy: Policy | None = None
    for step in run.steps(len(batches), save_every=1, label="batches"):
        name, start = batches[step]
        if policy is None or policy.name != name:
            policy = None  # gives back what it holds before the next one asks for it
            policy = Policy(name, config.policies[name], config)
        outcomes, shown = measure(policy, prm, problems, start, config)
        write_lines(part_path(config.folder, step, "outcomes"), map(asdict, outcomes))
        write_lines(part_path(config.folder, step, "samples"), shown)
        run.log(step, policy=name, greedy=float(np.mean([o.greedy for o in outcomes])), problems=len(outcomes))
    found: dict[str, list[Outcome]] = {name: [] for name in config.policies}
    for step, (name, _) in enumerate(batches):
        found[name] += [Outcome(**row) for row in read_lines(part_path(config.folder, step, "outcomes"))]
    k = str(config.sampling.n)
    summary = {
        "problems": len(problems),
        "k": config.sampling.n,
        "arms": [_arm(name, o, k, lambda v: asdict(bootstrap_interval(v, config.seed))) for name, o in found.items()],
        "paired": _pairs(found, config.seed),
    }
    samples = [row for step in range(len(batches)) for row in read_lines(part_path(config.folder, step, "samples"))]
    write_lines(config.folder / "outcomes.jsonl", _outcome_rows(problems, found, k))
    write_lines(config.folder / "samples.jsonl", samples)
    write_json(config.folder / "summary.json", summary)
    return summary


def main(config: EvalConfig) -> None:
    """``rung eval``: evaluate and print the table."""
    from rich.console import Console

    from rung.report_table import terminal_table

    Console().print(terminal_table(evaluate(config)))


class Policy:
    """A policy that is being measured, and an engine of it."""

    def __init__(self, name: str, path: str, config: EvalConfig) -> None:
        self.name, self.prompt, self.tokenizer = name, config.prompt, load_tokenizer(path)
        self.engine = open_engine(config.engine, path, self.tokenizer, dtype=config.dtype, batch=config.engine_batch)

    def solve(self, problems: Sequence[Problem], sampling: Sampling, seed: int | Sequence[int]) -> list[Solution]:
        found = sample_solutions(self.engine, self.tokenizer, problems, sampling, seed, self.prompt)
        return [solution for solution, _ in found]


def measure(
    policy: Policy, prm: Scorer | None, problems: Sequence[Problem], start: int, config: EvalConfig
) -> tuple[list[Outcome], list[dict]]:
    """The outcomes of the batch of problems that begins at ``start``, and the rows of those that are shown."""
    batch = problems[start : start + config.batch_problems]
    seeds = request_seeds(config.seed, len(problems))[start : start + config.batch_problems]
    one = Sampling(temperature=0, max_tokens=config.sampling.max_tokens)
    greedy = policy.solve(batch, one, 0)
    verdicts = [verify_solution(s) for s in greedy]
    k = config.sampling.n
    drawn = policy.solve(batch, config.sampling, seeds)
    scores: list[list[float]] | None = None
    if prm is not None:  # a solution that it cannot read is the last to be picked
        scores = in_groups([0.0 if isinstance(s, str) else s.aggregate("min") for s in score_each(prm, drawn)], k)
    outcomes = []
    for i, group in enumerate(in_groups([verify_solution(s) for s in drawn], k)):
        right = [v.correct for v in group]
        outcomes.append(
            Outcome(
                greedy=float(verdicts[i].correct),
                pass_at_k=pass_at_k(k, sum(right), k),
                majority=majority(answer_classes([v.predicted for v in group]), right),
                best_of_n=None if scores is None else best_of_n(scores[i], right),
            )
        )
    built_in = config.problems.source == BUILT_IN
    return outcomes, _shown(policy.name, greedy[: max(0, config.shown - start)], verdicts, prm, built_in)


def greedy_outcomes(path: str, config: EvalConfig) -> np.ndarray:
    """(P,) whether the policy at ``path`` answers each of the config's test problems rightly without sampling."""
    problems = [e.problem for e in load_problems(config.problems, "test", config.count, stream=9)]
    one = Sampling(temperature=0, max_tokens=config.sampling.max_tokens)
    solved = Policy(path, path, config).solve(problems, one, 0)
    return np.array([float(verify_solution(solution).correct) for solution in solved])


def _arm(name: str, outcomes: Sequence[Outcome], k: str, of: Callable[[np.ndarray], Any]) -> dict:
    metrics: dict = {"name": name, "greedy": of(np.array([o.greedy for o in outcomes]))}
    for label, values in (
        ("pass@k", [o.pass_at_k for o in outcomes]),
        ("majority@k", [o.majority for o in outcomes]),
        ("best_of_n", [o.best_of_n for o in outcomes]),
    ):
        if None not in values:
            metrics[label] = {k: of(np.array(values))}
    return metrics


def _outcome_rows(problems: Sequence[Problem], found: dict[str, list[Outcome]], k: str) -> list[dict]:
    """Of each problem the arms as in the summary, so that evaluations in several folders can be paired."""
    return [
        {"id": p.id, "question": p.question, "gold": p.answer}
        | {"arms": [_arm(name, [outcomes[i]], k, lambda v: float(v[0])) for name, outcomes in found.items()]}
        for i, p in enumerate(problems)
    ]


def _pairs(found: dict[str, list[Outcome]], seed: int) -> list[dict]:
    """Greedy accuracy of each later policy minus each earlier one, on the same problems."""
    right = {name: np.array([o.greedy for o in outcomes]) for name, outcomes in found.items()}
    names = list(found)
    return [
        {"a": b, "b": a, "metric": "greedy"} | asdict(paired_bootstrap(right[b], right[a], seed))
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
