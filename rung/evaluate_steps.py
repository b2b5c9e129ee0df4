"""``rung eval processbench`` and ``rung eval prmbench``: how well a reward model judges steps, beside blind guesses."""

import math
import random
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lm.checkpoint import write_atomic, write_json
from lm.config import REQUIRED, key, part
from lm.errors import UserError
from lm.models import DType
from lm.torch_setup import prepare_torch
from prm.bootstrap import bootstrap_statistic
from prm.journal import Journal, journal_of, score_all
from prm.labelled_data import short_names
from prm.loading import Reading, kept_threshold, load_as
from prm.metrics import (
    auc,
    best_threshold,
    calibration_error,
    constant_baseline,
    first_error,
    first_error_f1,
    reliability,
)
from prm.readers import OnBadRow, read_step_labels
from prm.scores import LabeledSolution, StepScores, judged_steps
from prm.step_metrics import StepCounts, blind_counts, count_steps
from rung.report_plots import Canvas
from rung.statistics import Interval
from verifiers.split import Separator


@dataclass(frozen=True)
class StepsConfig:
    """What both step benchmarks need."""

    files: tuple[str, ...] = key(REQUIRED, "one file a subset, in the step-label schema of prm/readers.py")
    folder: Path = key(Path("runs/eval-steps"), "summary.json and reliability.html are written here")
    prm: str = key("runs/prm/model", "the process reward model: folder, hub name or symbolic")
    reading: Reading = part(Reading, "what kind of reward model it is, where its name does not say")
    separator: Separator = key("paragraph", "what is put between the steps of a file")
    limit: int | None = key(None, "at most so many solutions of each file, drawn at random", low=1)
    resamples: int = key(1000, "bootstrap samples of the problems", low=10)
    on_bad_row: OnBadRow = key("error", "a malformed row ends the run, or is left out and reported")
    resume: bool = key(False, "go on with the scores that a run that was cut off has left in the folder")
    prompt: str | None = key(None, "prompt with {question} in it; null uses the tokenizer's chat template")
    dtype: DType = key("float32", "precision of the model; bfloat16 for GPUs")
    micro_tokens: int = key(16384, "padded tokens a forward pass", low=1)
    seed: int = key(0, "of the bootstrap")
    threads: int | None = key(None, "CPU threads; null leaves it to torch")


@dataclass(frozen=True)
class ProcessBenchConfig(StepsConfig):
    """The first wrong step of a solution: F1 of ProcessBench, unweighted over the subsets."""

    threshold: float | str | None = key(
        None,
        "below it a step is called wrong; null: what training chose on its held-out problems and left with the model, "
        "else 0.5; tune:SUBSET, such as tune:gsm8k: the best on that subset (as the paper has it), which the average "
        "then leaves out",
        low=0,
    )


@dataclass(frozen=True)
class PRMBenchConfig(StepsConfig):
    """Every step of a solution, by kind of error: PRMScore of PRMBench."""

    threshold: float = key(0.5, "above it a step is called right", low=0, high=1)


Scored = list[tuple[LabeledSolution, StepScores | str]]  # a line of text: why there are no scores
UNTOLD = -2  # the first error that a model names in a solution that it cannot read: never the right one
_BLIND = {"constant": "constant", "coin_toss": "coin toss", "length": "by length"}  # what guesses are called
COIN_ERROR = 0.5  # calibration error of saying 0 or 1 by the toss of a coin, whatever the labels
BASE_RATE_ERROR = 0.0  # of saying the share of right steps, which takes the labels to know


def processbench(config: ProcessBenchConfig) -> None:
    """Evaluate, write ``folder/summary.json`` and ``reliability.html``, print a table."""
    tuned = tuned_subset(config)
    subsets = score_files(config)
    threshold, origin = pick_threshold(config, subsets, tuned)
    reports = {name: report_first_errors(scored, threshold, config) for name, scored in subsets.items()}
    averaged = [name for name in subsets if name != tuned]
    average = average_f1([subsets[name] for name in averaged], threshold, config)
    summary = {"threshold": threshold, "threshold_origin": origin, "average_f1": asdict(average), "averaged": averaged}
    write_up(config, summary | {"subsets": reports}, subsets)
    print(f"threshold {threshold:.3f}, {origin}")
    print(f"  {'subset':<22}{'error':>8}{'right':>8}{'F1':>22}{'AUC':>8}{'ECE':>8}")
    for name, report in reports.items():
        for who, r in ((name, report), *((f"  {said}", report[guess]) for guess, said in _BLIND.items())):
            print(
                f"  {who:<22}{_cell(r['error_accuracy']):>8}{_cell(r['correct_accuracy']):>8}{_cell(r['f1']):>22}"
                f"{_number(r['auc']):>8}{_number(r['calibration_error']):>8}"
            )
    print(f"  {'average':<22}{'':16}{_cell(asdict(average)):>22}")
    for guess, said in _BLIND.items():
        print(f"  {'  ' + said:<22}{'':16}{_cell(float(np.mean([reports[n][guess]['f1'] for n in averaged]))):>22}")


def prmbench(config: PRMBenchConfig) -> None:
    """Evaluate, write ``folder/summary.json`` and ``reliability.html``, print a table."""
    subsets = score_files(config)
    everything = [pair for scored in subsets.values() for pair in scored]
    kinds: dict[str, Scored] = {}
    for item, scores in everything:
        kinds.setdefault(_kind(item), []).append((item, scores))
    reports = {name: report_steps(scored, config) for name, scored in ({"all": everything} | kinds).items()}
    write_up(config, {"threshold": config.threshold, "kinds": reports}, subsets)
    print(f"  {'kind':<24}{'PRMScore':>22}{'F1':>7}{'neg F1':>8}{'AUC':>8}{'ECE':>8}")
    for name, report in reports.items():
        for who, r in ((name, report), ("  constant", report["constant"]), ("  coin toss", report["coin_toss"])):
            print(
                f"  {who:<24}{_cell(r['prm_score']):>22}{_cell(r['f1']):>7}{_cell(r['negative_f1']):>8}"
                f"{_number(r['auc']):>8}{_number(r['calibration_error']):>8}"
            )


def tuned_subset(config: ProcessBenchConfig) -> str | None:
    """The subset that ``threshold=tune:SUBSET`` names. UserError where that is no subset, or would be the only one."""
    if not isinstance(config.threshold, str):
        return None
    names = short_names(config.files)
    how, _, subset = config.threshold.partition(":")
    if how != "tune" or subset not in names:
        raise UserError(
            f"threshold={config.threshold}: give a number, null or tune:SUBSET with one of {', '.join(names)}"
        )
    if len(names) == 1:
        raise UserError(f"threshold={config.threshold} leaves no subset to report on; add files, or give a number")
    return subset


def pick_threshold(config: ProcessBenchConfig, subsets: dict[str, Scored], tuned: str | None) -> tuple[float, str]:
    """The threshold, and in words where it is from."""
    if tuned is not None:
        told = [(item, s) for item, s in subsets[tuned] if isinstance(s, StepScores)]
        best = best_threshold([s.probabilities for _, s in told], [item.first_error() for item, _ in told])
        return best, f"tuned on {tuned}, whose own row is therefore too good; the average leaves it out"
    if isinstance(config.threshold, float):
        return config.threshold, "as given"
    kept = kept_threshold(config.reading, config.prm)
    return (0.5, "as the model keeps none") if kept is None else (kept, "which the model's training chose")


def score_files(config: StepsConfig) -> dict[str, Scored]:
    """{file's name: its labelled solutions with their scores}; says how many have none, UserError where none has."""
    prepare_torch(config.seed, config.threads)
    read = {}
    for name, path in zip(short_names(config.files), config.files, strict=True):
        items, said = read_step_labels(
            path, purpose="evaluate", separator=config.separator, on_bad_row=config.on_bad_row
        )
        if config.limit is not None and config.limit < len(items):
            # Not the first ones: ProcessBench's files begin with wrong solutions only.
            items = random.Random(config.seed).sample(items, config.limit)
        print(f"{path}: {said}")
        read[name] = items
    prm = load_as(config.reading, config.prm, config.dtype, config.micro_tokens, config.prompt)
    everything = [item.solution for items in read.values() for item in items]
    scores = iter(score_all(prm, everything, _journal(config), some=True))
    return {name: [(item, next(scores)) for item in items] for name, items in read.items()}


def _journal(config: StepsConfig) -> Journal:
    kept = config.folder / "scores.partial"
    return journal_of(kept, config.reading, config.prm, config.dtype, config.prompt, resume=config.resume)


def report_first_errors(scored: Scored, threshold: float, config: StepsConfig) -> dict[str, Any]:
    """ProcessBench's numbers on one subset, with an interval of F1 over problems, beside blind guesses.

    A solution without scores counts as misjudged, as an answer that cannot be read does in ProcessBench's own code.
    """
    items = [item for item, _ in scored]
    gold = np.array([item.first_error() for item in items])
    said = first_errors(scored, threshold)
    result = first_error_f1(said.tolist(), gold.tolist())
    interval = bootstrap_statistic(
        [item.solution.problem.question for item in items],
        lambda rows: first_error_f1(said[rows].tolist(), gold[rows].tolist()).f1,
        config.seed,
        resamples=config.resamples,
    )
    probabilities, labels = judged(scored)
    blind = constant_baseline(labels, gold.tolist())
    return {
        "solutions": len(items),
        "unscored": int((said == UNTOLD).sum()),
        "error_accuracy": result.error_accuracy,
        "correct_accuracy": result.correct_accuracy,
        "f1": asdict(Interval(*interval)),
        "auc": auc(probabilities, labels),
        "calibration_error": calibration_error(probabilities, labels),
        "constant": asdict(blind.first_error) | {"auc": blind.auc, "calibration_error": BASE_RATE_ERROR},
        "coin_toss": asdict(blind.mixed_first_error) | {"auc": blind.auc, "calibration_error": COIN_ERROR},
        "length": by_length(items),
    }


def by_length(items: Sequence[LabeledSolution]) -> dict[str, float]:
    """What is earned by calling the first long step wrong, whatever it says: a score that does no better has not read.

    How long is long is chosen on these very solutions, for the best F1.
    """
    guesses = [StepScores(1 / (1 + np.array([len(step.text) for step in item.solution.steps]))) for item in items]
    gold = [item.first_error() for item in items]
    threshold = best_threshold([guess.probabilities for guess in guesses], gold)
    found = first_error_f1([first_error(guess.probabilities, threshold) for guess in guesses], gold)
    return asdict(found) | {"auc": auc(*judged_steps(guesses, items)), "calibration_error": math.nan}


def first_errors(scored: Scored, threshold: float) -> np.ndarray:
    """(N,): the first error that the model names in each solution, -1 for none, UNTOLD where it has no scores."""
    return np.array([UNTOLD if isinstance(s, str) else first_error(s.probabilities, threshold) for _, s in scored])


def average_f1(subsets: Sequence[Scored], threshold: float, config: StepsConfig) -> Interval:
    """The mean of the subsets' F1, each counting alike; resampled within each subset."""
    gold = [np.array([item.first_error() for item, _ in scored]) for scored in subsets]
    said = [first_errors(scored, threshold) for scored in subsets]
    keys = [f"{k}/{item.solution.problem.question}" for k, scored in enumerate(subsets) for item, _ in scored]
    ends = np.cumsum([0, *map(len, subsets)])
    strata = np.repeat(np.arange(len(subsets)), np.diff(ends))

    def mean_f1(rows: np.ndarray) -> float:
        parts = [rows[strata[rows] == k] - ends[k] for k in range(len(subsets))]
        return float(
            np.mean([first_error_f1(said[k][p].tolist(), gold[k][p].tolist()).f1 for k, p in enumerate(parts)])
        )

    return Interval(
        *bootstrap_statistic(keys, mean_f1, config.seed, resamples=config.resamples, strata=strata.tolist())
    )


def report_steps(scored: Scored, config: PRMBenchConfig) -> dict[str, Any]:
    """PRMBench's numbers on some solutions, with an interval of PRMScore over problems, beside blind guesses.

    Steps are counted over all solutions that have scores: PRMBench's own code leaves the others out too, and tells how
    many there are. The constant calls every step right (and says the base rate); both guesses are expected values.
    """
    told = [pair for pair in scored if isinstance(pair[1], StepScores)]
    counts = np.array([astuple(count_steps(*judged([pair]), config.threshold)) for pair in told]).reshape(-1, 4)
    questions = [item.solution.problem.question for item, _ in told]
    interval = bootstrap_statistic(
        questions, lambda rows: StepCounts(*counts[rows].sum(0)).prm_score, config.seed, resamples=config.resamples
    )
    probabilities, labels = judged(told)
    blind_auc = auc(np.full(len(labels), 0.5), labels)
    return _f1s(StepCounts(*counts.sum(0))) | {
        "solutions": len(scored),
        "unscored": len(scored) - len(told),
        "prm_score": asdict(Interval(*interval)),
        "auc": auc(probabilities, labels),
        "calibration_error": calibration_error(probabilities, labels),
        "constant": _f1s(blind_counts(labels, 1.0)) | {"auc": blind_auc, "calibration_error": BASE_RATE_ERROR},
        "coin_toss": _f1s(blind_counts(labels, 0.5)) | {"auc": blind_auc, "calibration_error": COIN_ERROR},
    }


def _f1s(counts: StepCounts) -> dict[str, Any]:
    return {"prm_score": counts.prm_score, "f1": counts.f1, "negative_f1": counts.negative_f1}


def judged(scored: Scored) -> tuple[np.ndarray, np.ndarray]:
    """(probabilities, labels) of the steps that somebody judged and that have scores, both (N,)."""
    told = [(item, s) for item, s in scored if isinstance(s, StepScores)]
    return judged_steps([s for _, s in told], [item for item, _ in told])


def write_up(config: StepsConfig, summary: dict[str, Any], subsets: dict[str, Scored]) -> None:
    """summary.json, and the reliability diagram of all steps as a picture of its own."""
    probabilities, labels = judged([pair for scored in subsets.values() for pair in scored])
    rows = reliability(probabilities, labels)
    summary |= {"calibration_error": calibration_error(probabilities, labels), "reliability": [asdict(r) for r in rows]}
    config.folder.mkdir(parents=True, exist_ok=True)
    write_json(config.folder / "summary.json", summary)
    drawing = Canvas().reliability([(r.mean_probability, r.fraction_right, r.count) for r in rows])
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    page = f"<!doctype html><meta charset=utf-8><title>Reliability</title><style>{style}</style>{drawing}\n"
    write_atomic(config.folder / "reliability.html", page)
    _journal(config).close()


def _kind(item: LabeledSolution) -> str:
    """The kind of error in a PRMBench id, "prmbench-KIND-..."."""
    parts = item.solution.problem.id.split("-")
    return parts[1] if parts[0] == "prmbench" and len(parts) > 2 else "other"


def _cell(value: dict[str, float] | float) -> str:
    """In per cent, with its interval where there is one; a dash where there is no value."""
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{100 * value:.1f}"
    mean = _cell(value["mean"])
    return mean if mean == "–" else f"{mean} [{100 * value['low']:.1f}, {100 * value['high']:.1f}]"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
