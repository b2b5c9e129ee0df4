"""``rung prm``: train a process reward model on labelled steps, and say how good it is on held-out ones."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lm import processes
from lm.config import key, part
from lm.errors import UserError
from lm.lora import LoRAConfig
from lm.models import (
    ModelConfig,
    build_causal_lm,
    default_device,
    load_causal_lm,
    load_token_scorer,
    load_tokenizer,
    make_trainable,
)
from lm.run import Run
from lm.sft import FitConfig
from lm.sharding import shard
from lm.tokenizer import train_tokenizer
from lm.torch_setup import prepare_torch
from lm.trackers import Tracker
from prm.bootstrap import bootstrap_statistic
from prm.calibration import fit_temperature
from prm.fit import StatesOf, examples_of, fit_prm, trainable_logits
from prm.formats import FORMATS, RUNG, Format
from prm.forward import packed_states_at, shares, states_at
from prm.heads import split_classifier, verdict_head
from prm.implicit import ImplicitPRM
from prm.labelled_data import StepData, load_labelled
from prm.layout import encode_steps, token_id
from prm.loading import SETTINGS
from prm.metrics import (
    auc,
    best_threshold,
    brier,
    calibration_error,
    constant_baseline,
    first_error,
    first_error_f1,
    reliability,
    step_accuracy,
)
from prm.scorer import Scorer, StepPRM, sigmoid
from prm.scores import LabeledSolution, judged_steps, write_labeled
from prm.token_trees import grown, tree_states_at

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Head = Literal["classes", "value", "verdicts", "outcome", "implicit"]


@dataclass(frozen=True)
class PRMConfig:
    """A reward model on the trunk of a language model, read at the last token of each step."""

    folder: Path = key(Path("runs/prm"), "the run folder; the PRM is saved in FOLDER/model")
    data: StepData = part(StepData)
    model: ModelConfig = part(ModelConfig, path="runs/sft/model")
    head: Head = key(
        "classes",
        "two classes a step; one value; the logits of + and −; outcome: one judgement a solution (an ORM); "
        "implicit: log-ratio to the model it starts from, learnt from outcomes",
    )
    beta: float = key(0.05, "β of an implicit PRM, in log-odds a nat")
    prompt: str | None = key(None, "prompt with {question} in it; null uses the tokenizer's chat template")
    max_tokens: int = key(1024, "longer solutions are cut at the last step that fits", low=8)
    harden: float | None = key(None, "labels above it become 1, others 0: 0 is Math-Shepherd's hard label; null: soft")
    origin_weights: dict[str, float] = key({}, "how much labels of an origin count, for example {monte_carlo: 0.5}")
    balance: bool = key(False, "weigh right and wrong steps so that both count the same in all")
    lora: LoRAConfig = part(LoRAConfig)
    gradient_checkpointing: bool = key(False, "compute activations twice rather than keep them: memory, not results")
    packing: bool | None = key(
        None, "lay solutions end to end without padding, apart from each other; null: with flash_attention_2 only"
    )
    tree_tokens: int = key(
        0,
        "learn from solutions of one problem as trees of at most so many tokens, in which what they begin with alike "
        "is run once; fit.batch counts trees. For PRM800K and its like; 0: each solution by itself",
        low=0,
    )
    fit: FitConfig = part(FitConfig)
    eval_every: int = key(0, "steps between evaluations on the validation problems, into metrics.jsonl; 0: none", low=0)
    calibrate: bool = key(True, "fit a temperature on the validation problems and save it with the model")
    seed: int = key(0, "of the new head and the order of the data")
    threads: int | None = key(None, "CPU threads; null leaves it to torch")
    trackers: tuple[Tracker, ...] = key((), "where the metrics go beside metrics.jsonl: tensorboard, wandb, trackio")
    resume: bool = key(False, "go on with the run in the folder")
    overwrite: bool = key(False, "delete the run in the folder first")


def train(config: PRMConfig) -> None:
    """Train; write ``folder/model``, ``summary.json`` and ``validation.jsonl``, the held-out solutions."""
    if config.tree_tokens and (
        config.head == "implicit" or config.packing or config.model.attention == "flash_attention_2"
    ):
        raise UserError("tree_tokens needs attention sdpa or eager, no packing, and another head than implicit")
    if config.lora.rank and config.model.path is None:
        raise UserError("lora.rank adapts a model that knows something: give model.path, or leave lora.rank at 0")
    prepare_torch(config.seed, config.threads)
    train_items, held_out, tests = load_labelled(config.data, config.seed)
    model, tokenizer = _start(config, train_items)
    model.to(default_device())  # type: ignore[arg-type]
    make_trainable(model, config.lora, config.gradient_checkpointing)
    form = replace(FORMATS[name_of(config.head)], beta=config.beta)
    reference = _reference(config, model)
    rows = encode_steps(tokenizer, [item.solution for item in train_items], config.prompt)
    examples = examples_of(
        rows, train_items, max_tokens=config.max_tokens, outcome=config.head in ("outcome", "implicit"),
        harden=config.harden, origin_weights=config.origin_weights, balance=config.balance,
    )  # fmt: skip
    if not examples:
        raise UserError(
            f"data.train {', '.join(config.data.train)}: no labelled step in the first {config.max_tokens} tokens "
            "of a solution; give other labels (such as train.monte_carlo.jsonl) or raise max_tokens"
        )
    run = Run.open(config, verb="prm")

    def scorer(temperature: float = 1.0) -> StepPRM | ImplicitPRM:
        options: dict[str, Any] = {"prompt": config.prompt, "tokens": config.fit.micro_tokens}
        return scorer_of(model, tokenizer, form, reference, temperature=temperature, **options)

    held_out = readable(scorer(), held_out, "validation")
    if processes.is_main():  # what a threshold may be chosen on, of this model or of an ensemble with it
        write_labeled(config.folder / "validation.jsonl", held_out)
    tests = {name: kept for name, items in tests.items() if (kept := readable(scorer(), items, name))}
    if config.tree_tokens:
        if not shares(model.base_model, rows):
            raise UserError("tree_tokens: the model attends to a window shorter than the solutions; leave it at 0")
        examples = grown(examples, config.tree_tokens)
    logits_of = trainable_logits(model, form, tokenizer, reference, _states_of(config))
    fit_prm(
        run, model, logits_of, examples, config.fit, config.seed,
        lambda: validation_metrics(scorer(), held_out, config.seed), config.eval_every,
    )  # fmt: skip
    temperature, threshold = calibrated(scorer(), held_out, config.calibrate)
    prm = scorer(temperature)
    reports = {name: assess(prm, items, threshold) for name, items in tests.items()}
    first = next(iter(reports.values()), {})
    summary = first | {"tests": reports} if len(reports) > 1 else first
    lines = [f"{name}: {_line(report)}" for name, report in reports.items()]
    run.summarise(summary | {"temperature": temperature, "threshold": threshold}, *lines)
    said: dict[str, Any] = {
        "format": name_of(config.head),
        "temperature": temperature,
        "threshold": threshold,
        "prompt": config.prompt,
    }
    said |= {"beta": config.beta, "reference": config.model.path} if config.head == "implicit" else {}
    setattr(model.config, SETTINGS, said)  # in config.json, so that a model never lies there without it
    run.finish(model=(model, tokenizer))


def _states_of(config: PRMConfig) -> StatesOf:
    """How the rows of a micro-batch are laid out for the trunk."""
    if config.tree_tokens:
        return tree_states_at
    packed = config.model.attention == "flash_attention_2" if config.packing is None else config.packing
    return packed_states_at if packed else states_at


def readable(prm: Scorer, items: Sequence[LabeledSolution], name: str) -> list[LabeledSolution]:
    """Those that the model can score. One that is longer than it reads must not end a run after the training."""
    sizes = prm.measure([item.solution for item in items])
    why = [size for size in sizes if isinstance(size, str)]
    if why and processes.is_main():
        print(f"{name}: {len(why)} of {len(items)} solutions left out; the first: {why[0]}", file=sys.stderr)
    return [item for item, size in zip(items, sizes, strict=True) if isinstance(size, int)]


def name_of(head: Head) -> str:
    """What the format of a head is called in ``prm.formats``."""
    return RUNG if head == "classes" else f"rung-{head}"


def scorer_of(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    form: Format,
    reference: "PreTrainedModel | None" = None,
    **options: Any,
) -> StepPRM | ImplicitPRM:
    """The scorer that ``prm.load`` would make of the model as it is now."""
    if reference is not None:
        return ImplicitPRM(model, reference, tokenizer, form, **options)
    if form.head == "verdicts":
        right, wrong = (token_id(tokenizer, text) for text in form.verdicts)
        return StepPRM(*verdict_head(model, right, wrong), tokenizer, form, **options)
    return StepPRM(*split_classifier(model), tokenizer, form, **options)


def _start(config: PRMConfig, items: Sequence[LabeledSolution]) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """The model at ``config.model.path`` with the head asked for, or a new one with a tokenizer of its own."""
    outputs = {"value": 1, "verdicts": 0, "implicit": 0}.get(config.head, 2)
    path, dtype, attention = config.model.path, config.model.dtype, config.model.attention
    if path is not None:
        tokenizer = load_tokenizer(path)
        loaded = (
            load_token_scorer(path, outputs, dtype, attention) if outputs else load_causal_lm(path, dtype, attention)
        )
        return loaded, tokenizer
    if config.head == "implicit":
        raise UserError("head=implicit learns how a model changes from its start: give model.path, a language model")
    from transformers import AutoModelForTokenClassification

    texts = {item.solution.problem.question: item.solution.text for item in items}
    tokenizer = train_tokenizer((f"{q}\n{t}" for q, t in texts.items()), config.model.vocabulary)
    causal = build_causal_lm(config.model, tokenizer)
    if not outputs:
        return causal, tokenizer
    sizes = causal.config
    sizes.num_labels = outputs
    sizes.classifier_dropout = 0.0
    return AutoModelForTokenClassification.from_config(sizes, dtype=sizes.dtype), tokenizer


def _reference(config: PRMConfig, model: "PreTrainedModel") -> "PreTrainedModel | None":
    """The frozen start of an implicit PRM: with an adapter the model itself, which is read without it."""
    if config.head != "implicit" or config.model.path is None:
        return None
    if config.lora.rank:
        return model
    frozen = load_causal_lm(config.model.path, config.model.dtype, config.model.attention).requires_grad_(False).eval()
    frozen.to(default_device())
    shard(frozen)
    return frozen


def calibrated(prm: StepPRM | ImplicitPRM, items: Sequence[LabeledSolution], warm: bool = True) -> tuple[float, float]:
    """(temperature, threshold) of a model whose own temperature is 1, of one reading of held-out solutions.

    The temperature is fitted to their judged steps (1 unless ``warm``); a step whose probability is then below the
    threshold is called wrong: it has the best first-error F1. An outcome model's number stands for each step.
    """
    logits = prm.logits([item.solution for item in items])
    rows = [np.broadcast_to(x, len(item.labels)) for x, item in zip(logits, items, strict=True)]
    pairs = [(x, y) for row, item in zip(rows, items, strict=True) for x, y in zip(row, item.labels, strict=True)]
    judged = [(x, y) for x, y in pairs if y is not None]
    temperature = fit_temperature([x for x, _ in judged], [y for _, y in judged]) if warm else 1.0
    gold = [item.first_error() for item in items]
    return temperature, best_threshold([sigmoid(row / temperature) for row in rows], gold)


def validation_metrics(prm: Scorer, items: Sequence[LabeledSolution], seed: int) -> Mapping[str, float]:
    """Step AUC, and first-error F1 at the threshold that is best on these rows, with its interval over problems."""
    scores = prm.score([item.solution for item in items])
    gold = np.array([item.first_error() for item in items])
    threshold = best_threshold([s.probabilities for s in scores], gold.tolist())
    said = np.array([first_error(s.probabilities, threshold) for s in scores])
    f1, low, high = bootstrap_statistic(
        [item.solution.problem.question for item in items],
        lambda rows: first_error_f1(said[rows].tolist(), gold[rows].tolist()).f1,
        seed,
        resamples=200,
    )
    return {"val_auc": auc(*judged_steps(scores, items)), "val_f1": f1, "val_f1_low": low, "val_f1_high": high}


def _line(report: Mapping[str, Any]) -> str:
    f1, base = report["first_error"], report["baseline"]
    return (
        f"step AUC {report['auc']:.3f} (constant {base['auc']:.3f}), calibration error "
        f"{report['calibration_error']:.3f}, first-error F1 {100 * f1['f1']:.1f} "
        f"(constant {100 * base['first_error']['f1']:.1f}, coin toss {100 * base['mixed_first_error']['f1']:.1f}) "
        f"on {report['solutions']} solutions"
    )


def assess(prm: Scorer, items: Sequence[LabeledSolution], threshold: float) -> dict:
    """Every number of a PRM on labelled solutions, beside what a constant guess earns on the same."""
    scores = prm.score([item.solution for item in items])
    probabilities, labels = judged_steps(scores, items)
    gold = [item.first_error() for item in items]
    predicted = [first_error(s.probabilities, threshold) for s in scores]
    return {
        "solutions": len(items),
        "steps": len(labels),
        "threshold": threshold,
        "auc": auc(probabilities, labels),
        "calibration_error": calibration_error(probabilities, labels),
        "brier": brier(probabilities, labels),
        "step_accuracy": step_accuracy(probabilities, labels),
        "first_error": asdict(first_error_f1(predicted, gold)),
        "baseline": asdict(constant_baseline(labels, gold)),
        "reliability": [asdict(row) for row in reliability(probabilities, labels)],
    }
