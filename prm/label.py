"""``rung label``: sample solutions from a policy and label their steps, twice."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from lm.checkpoint import write_json
from lm.config import key, part
from lm.engine import Sampling, TransformersEngine
from lm.models import DType, default_device, load_causal_lm, load_tokenizer
from lm.run import Run, read_metrics
from lm.torch_setup import prepare_torch
from prm.labelling import (
    MONTE_CARLO,
    SYMBOLIC,
    RolloutCost,
    add_costs,
    agreement,
    monte_carlo_labels,
    symbolic_labels,
)
from prm.problems import BUILT_IN, ProblemsConfig, load_problems
from prm.sample import sample_solutions
from prm.scores import LabeledSolution, read_labeled, write_labeled
from verifiers.solution import Problem

Which = Literal["train", "test"]


@dataclass(frozen=True)
class LabelConfig:
    """Step labels for training and testing a process reward model."""

    folder: Path = key(
        Path("runs/labels"), "the run folder; labels go to FOLDER/{train,test}.{symbolic,monte_carlo}.jsonl"
    )
    policy: str = key("runs/sft/model", "the model whose solutions are labelled: folder or hub name")
    dtype: DType = key("float32", "precision of the policy; bfloat16 for GPUs")
    problems: ProblemsConfig = part(ProblemsConfig)
    train_problems: int = key(6000, "training problems to solve", low=1)
    test_problems: int = key(1000, "held-out problems (of the validation split) to solve, for testing the PRM", low=1)
    sampling: Sampling = part(Sampling, "how solutions are drawn", n=1)
    rollouts: int = key(4, "N of the Monte Carlo label c/N; 0 leaves that labelling out", low=0)
    rollout_problems: int | None = key(
        None,
        "problems of each split whose steps are rolled out, the dear part (whole batches); null: all",
        low=1,
    )
    batch_problems: int = key(250, "problems a batch; a run resumes at a batch", low=1)
    engine_batch: int = key(512, "sequences sampled at once", low=1)
    prompt: str | None = key(None, "prompt with {question} in it; null uses the tokenizer's chat template")
    seed: int = key(0, "of the sampling")
    threads: int | None = key(None, "CPU threads; null leaves it to torch")
    resume: bool = key(False, "go on with the run in the folder")
    overwrite: bool = key(False, "delete the run in the folder first")


def label(config: LabelConfig) -> None:
    """Sample, label each step twice, and write the labels with a summary of how far the labellers agree."""
    prepare_torch(config.seed, config.threads)
    tokenizer = load_tokenizer(config.policy)
    policy = load_causal_lm(config.policy, config.dtype)
    policy.to(default_device())  # type: ignore[arg-type]
    engine = TransformersEngine(policy, tokenizer, config.engine_batch)
    batches: list[Batch] = []
    splits: tuple[tuple[Which, int], ...] = (("train", config.train_problems), ("test", config.test_problems))
    for which, count in splits:
        split: Literal["train", "validation"] = "train" if which == "train" else "validation"
        problems = [e.problem for e in load_problems(config.problems, split, count, stream=2)]
        rolled_out = len(problems) if config.rollout_problems is None else config.rollout_problems
        size = config.batch_problems
        for start in range(0, len(problems), size):
            origins = (SYMBOLIC, MONTE_CARLO) if config.rollouts and start < rolled_out else (SYMBOLIC,)
            batches.append(Batch(which, problems[start : start + size], origins))

    run = Run.open(config.folder, config, verb="label", resume=config.resume, overwrite=config.overwrite)
    built_in = config.problems.source == BUILT_IN
    for step in run.steps(len(batches), save_every=1, label="labels"):
        batch = batches[step]
        seed = config.seed * 100_003 + step
        samples = sample_solutions(engine, tokenizer, batch.problems, config.sampling, 2 * seed, config.prompt)
        labels = {SYMBOLIC: [symbolic_labels(solution, built_in) for solution, _ in samples]}
        cost = RolloutCost(0, 0, 0, 0)
        if MONTE_CARLO in batch.origins:
            draws = replace(config.sampling, n=config.rollouts)
            labels[MONTE_CARLO], cost = monte_carlo_labels(
                engine, tokenizer, samples, draws, 2 * seed + 1, config.prompt
            )
        for origin, items in labels.items():
            write_labeled(_part(config.folder, step, origin), items)
        run.log(step, solutions=len(samples), **asdict(cost))

    _write_up(config, batches)
    run.finish()


@dataclass(frozen=True)
class Batch:
    """Problems that are solved and labelled together, and how: the labels of each origin go to a file of their own."""

    which: Which
    problems: list[Problem]
    origins: tuple[str, ...]


def _part(folder: Path, step: int, origin: str) -> Path:
    return folder / "parts" / f"{step:05d}.{origin}.jsonl"


def _write_up(config: LabelConfig, batches: Sequence[Batch]) -> None:
    """Join the parts into one file a split and labeller, and write summary.json."""
    found: dict[str, list[LabeledSolution]] = {SYMBOLIC: [], MONTE_CARLO: []}
    both: list[LabeledSolution] = []  # what Monte Carlo labelled too, as the symbolic check sees it
    for which in ("train", "test"):
        parts: dict[str, list[LabeledSolution]] = {SYMBOLIC: [], MONTE_CARLO: []}
        for step, batch in enumerate(batches):
            if batch.which != which:
                continue
            for origin in batch.origins:
                parts[origin] += read_labeled(_part(config.folder, step, origin))
            if MONTE_CARLO in batch.origins:
                both += read_labeled(_part(config.folder, step, SYMBOLIC))
        for origin, items in parts.items():
            if items:
                write_labeled(config.folder / f"{which}.{origin}.jsonl", items)
            found[origin] += items
    judged = [x for item in found[SYMBOLIC] for x in item.labels if x is not None]
    summary: dict[str, object] = {
        "solutions": len(found[SYMBOLIC]),
        "steps": sum(len(item.labels) for item in found[SYMBOLIC]),
        "symbolic": {"judged": len(judged), "right": sum(judged) / max(1, len(judged))},
    }
    if config.rollouts:
        rows = read_metrics(config.folder)
        names = RolloutCost.__dataclass_fields__
        costs = [RolloutCost(**{n: row[n] for n in names}) for row in rows]
        summary["monte_carlo"] = {"solutions": len(both)} | asdict(add_costs(costs))
        summary["agreement"] = asdict(agreement(both, found[MONTE_CARLO])) | {
            "table_rows": ["symbolic wrong", "symbolic right"],
            "table_columns": ["no roll-out right", "some right"],
        }
    write_json(config.folder / "summary.json", summary)
