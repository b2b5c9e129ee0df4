"""``rung label``: label the steps of a policy's fresh solutions, or of a file's, by one labeller or several."""

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from lm.chat import MANNERS
from lm.checkpoint import write_lines
from lm.config import key, part
from lm.engine import Sampling
from lm.engines import EngineConfig, open_engine, start_server
from lm.errors import UserError
from lm.models import DType, context_length, load_tokenizer
from lm.run import MAY_CHANGE, Run
from lm.torch_setup import prepare_torch
from prm.consensus import Keep
from prm.judge import JUDGE, JudgeConfig, judge_labels
from prm.label_files import GIVEN, Which, check_asked, part_path, write_up
from prm.labelling import MONTE_CARLO, SYMBOLIC, Cost, monte_carlo_labels, symbolic_labels
from prm.omega import OMEGA, omega_labels
from prm.problems import BUILT_IN, ProblemsConfig, load_problems
from prm.readers import OnBadRow, read_step_labels
from prm.rollouts import Roller, Sample
from prm.sample import sample_solutions
from prm.scores import LabeledSolution, write_labeled
from verifiers.solution import Problem
from verifiers.split import Separator

Labeller = Literal["symbolic", "monte_carlo", "omega", "judge", "given"]
_BY_POLICY = (MONTE_CARLO, OMEGA)
_DEAR = {MONTE_CARLO: "tokens", OMEGA: "tokens", JUDGE: "completion_tokens"}  # and what each costs, to show
_MAY_CHANGE = MAY_CHANGE | {f"judge.{name}" for name in (*MANNERS, "start")}


@dataclass(frozen=True)
class LabelConfig:
    """Step labels for training and testing a process reward model."""

    folder: Path = key(Path("runs/labels"), "the run folder; labels go to FOLDER/{train,test}.LABELLER.jsonl")
    policy: str = key("runs/sft/model", "the model that solves and rolls out: folder or hub name")
    dtype: DType = key("float32", "precision of the policy; bfloat16 for GPUs")
    problems: ProblemsConfig = part(ProblemsConfig)
    train_problems: int = key(6000, "training problems to solve", low=1)
    test_problems: int = key(1000, "held-out problems (of the validation split) to solve, for testing the PRM", low=1)
    solutions: str | None = key(
        None, "label the solutions of this file or data set instead of fresh ones; for training"
    )
    test_solutions: str | None = key(None, "the same for testing")
    separator: Separator = key("paragraph", "what stands between the steps of a file's solutions")
    on_bad_row: OnBadRow = key("error", "a malformed row of such a file ends the run, or is left out and reported")
    sampling: Sampling = part(Sampling, "how solutions are drawn", n=1)
    labellers: tuple[Labeller, ...] = key(
        (SYMBOLIC, MONTE_CARLO), "who labels, the most trusted first; given: the labels a file's solutions have already"
    )
    keep: Keep | None = key(
        None,
        "what goes into FOLDER/{train,test}.mixed.jsonl: any label, those of steps on which labellers agree, or of "
        "solutions in which all find the same first error (consensus); null writes none",
    )
    rollouts: int = key(4, "N roll-outs a prefix, of monte_carlo and omega", low=1)
    rollout_problems: int | None = key(
        None,
        "problems (or a file's solutions) of each split that monte_carlo, omega and the judge label, the dear ones "
        "(whole batches); null: all",
        low=1,
    )
    hard: bool = key(False, "monte_carlo and omega label 1 where any roll-out is right, instead of the share c/N")
    searches: int = key(
        0, "omega: roll-outs searched a problem beyond the solutions themselves, chosen by Q + U", low=0
    )
    judge: JudgeConfig = part(JudgeConfig)
    batch_problems: int = key(250, "problems (or a file's solutions) a batch; a run resumes at a batch", low=1)
    engine: EngineConfig = part(EngineConfig, "what solves and rolls out")
    engine_batch: int = key(512, "sequences sampled at once", low=1)
    prompt: str | None = key(None, "prompt with {question} in it; null uses the tokenizer's chat template")
    seed: int = key(0, "of the sampling")
    threads: int | None = key(None, "CPU threads; null leaves it to torch")
    resume: bool = key(False, "go on with the run in the folder")
    overwrite: bool = key(False, "delete the run in the folder first")


@dataclass(frozen=True)
class _Batch:
    """Problems to solve, or solutions of a file with the labels they came with, and who labels them."""

    which: Which
    labellers: tuple[str, ...]
    problems: tuple[Problem, ...] = ()
    given: tuple[LabeledSolution, ...] = ()


def label(config: LabelConfig) -> None:
    """Label batch by batch, then write the label files and a summary of cost and of how far the labellers agree."""
    _check(config)
    prepare_torch(config.seed, config.threads)
    batches = _batches(config)
    roller = _roller(config)
    run = Run.open(config, verb="label", may_change=_MAY_CHANGE)
    _compare(config, batches)
    server = None
    if JUDGE in config.labellers and config.judge.start:
        server = start_server(config.engine, config.judge.model, dtype=config.dtype, batch=config.judge.concurrency)
        config = replace(config, judge=replace(config.judge, url=server.url))
    costs = [f"{name}_{_DEAR[name]}" for name in config.labellers if name in _DEAR]
    for step in run.steps(len(batches), save_every=1, label="labels", show=["steps", *costs]):
        batch = batches[step]
        seed = config.seed * 100_003 + step
        with run.timer("sample"):
            samples = _samples(batch, roller, config, 2 * seed)
        cost: Cost = {"solutions": len(samples), "steps": sum(len(s.solution.steps) for s in samples)}
        for labeller in batch.labellers:
            with run.timer(labeller), server.blamed() if server is not None else nullcontext():
                items, spent = _label(labeller, batch, samples, roller, config, 2 * seed + 1, step)
            write_labeled(part_path(config.folder, step, labeller), items)
            cost |= {f"{labeller}_{name}": value for name, value in spent.items()}
        run.log(step, **cost)
    write_up(config.folder, [(batch.which, batch.labellers) for batch in batches], config.keep)
    run.finish()


def _check(config: LabelConfig) -> None:
    """Refuse what would only fail after hours of labelling."""
    if not config.labellers or len(set(config.labellers)) < len(config.labellers):
        raise UserError(f"labellers {list(config.labellers)}: name one or more, each once")
    if GIVEN in config.labellers and config.solutions is None:
        raise UserError("labellers has given, the labels of a file's solutions: name the file as solutions=...")
    if config.test_solutions is not None and config.solutions is None:
        raise UserError("test_solutions is a file and the training solutions are not: name theirs as solutions=...")
    if JUDGE in config.labellers and not config.judge.model:
        raise UserError("judge.model is not set: name the model to ask, as the endpoint calls it")
    if config.keep is not None and config.keep != "any" and len(config.labellers) < 2:
        raise UserError(f"keep={config.keep} compares labellers: name at least two")


def _batches(config: LabelConfig) -> list[_Batch]:
    batches: list[_Batch] = []
    for which in ("train", "test"):
        problems, given = _to_label(config, which)
        total, size = max(len(problems), len(given)), config.batch_problems
        dear = total if config.rollout_problems is None else config.rollout_problems
        for start in range(0, total, size):
            labellers = tuple(name for name in config.labellers if start < dear or name not in _DEAR)
            cut = slice(start, start + size)
            batches.append(_Batch(which, labellers, problems[cut], given[cut]))
    return batches


def _compare(config: LabelConfig, batches: Sequence[_Batch]) -> None:
    """UserError where the run in the folder was of other problems or solutions."""
    asked: dict[Which, list[Any]] = {"train": [], "test": []}
    for batch in batches:
        asked[batch.which] += [asdict(problem) for problem in batch.problems]
        asked[batch.which] += [item.to_json() for item in batch.given]
    of_problems = str(config.problems.source)
    sources: dict[Which, str] = {"train": config.solutions or of_problems, "test": config.test_solutions or of_problems}
    check_asked(config.folder, asked, sources, resume=config.resume)


def _to_label(config: LabelConfig, which: Which) -> tuple[tuple[Problem, ...], tuple[LabeledSolution, ...]]:
    """The problems of a split to solve, or the solutions of its file: one of the two is empty."""
    if config.solutions is None:
        split: Literal["train", "validation"] = "train" if which == "train" else "validation"
        count = config.train_problems if which == "train" else config.test_problems
        return tuple(e.problem for e in load_problems(config.problems, split, count, stream=2)), ()
    source = config.solutions if which == "train" else config.test_solutions
    if source is None:
        return (), ()
    items, report = read_step_labels(
        source,
        purpose="train" if which == "train" else "evaluate",
        separator=config.separator,
        on_bad_row=config.on_bad_row,
        keep_unlabelled=True,
    )
    print(f"{source}: {report}", file=sys.stderr)
    return (), tuple(items)


def _roller(config: LabelConfig) -> Roller | None:
    """The policy, where any is needed: a file's solutions can be judged and checked without."""
    if config.solutions is not None and not set(_BY_POLICY) & set(config.labellers):
        return None
    tokenizer = load_tokenizer(config.policy)
    engine = open_engine(config.engine, config.policy, tokenizer, dtype=config.dtype, batch=config.engine_batch)
    draws = replace(config.sampling, n=config.rollouts)
    context = config.engine.context or context_length(config.policy)
    return Roller(engine, tokenizer, draws, config.prompt, context)


def _samples(batch: _Batch, roller: Roller | None, config: LabelConfig, seed: int) -> list[Sample]:
    if roller is None or not batch.problems:
        return [Sample(item.solution) for item in batch.given]
    found = sample_solutions(roller.engine, roller.tokenizer, batch.problems, config.sampling, seed, config.prompt)
    return [Sample(solution, completion.finish == "stop") for solution, completion in found]


def _label(
    labeller: str,
    batch: _Batch,
    samples: Sequence[Sample],
    roller: Roller | None,
    config: LabelConfig,
    seed: int,
    step: int,
) -> tuple[list[LabeledSolution], Cost]:
    """The labels of one labeller, in the order of the samples, and what they took."""
    solutions = [sample.solution for sample in samples]
    if labeller == GIVEN:
        return list(batch.given), {}
    if labeller == SYMBOLIC:
        built_in = config.problems.source == BUILT_IN and config.solutions is None
        return [symbolic_labels(solution, built_in) for solution in solutions], {}
    if labeller == JUDGE:
        return judge_labels(config.judge, solutions)
    if roller is None:
        raise ValueError(f"{labeller} needs a policy")
    if labeller == MONTE_CARLO:
        return monte_carlo_labels(roller, samples, seed, config.hard)
    result = omega_labels(roller, samples, seed, config.searches, config.hard)
    write_labeled(part_path(config.folder, step, "omega_more"), result.more)
    write_lines(part_path(config.folder, step, "omega_states"), result.states)
    return result.labeled, result.cost
