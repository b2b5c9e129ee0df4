"""Training a step scorer: Rung against TRL's PRMTrainer, on the same data, tokens, model and optimizer steps.

    PEER -m benchmarks.prm_training DATA/prm800k/phase1_train.paths.jsonl.gz

PEER is a Python that has this repository's packages and trl 1.12 (whose PRMTrainer went away in 1.14). Both start from
one random model, take turns in one process on one thread, see the same rows of TRL's own tokens, and are timed by CPU
time, so that other work on the machine does not count.
"""

import argparse
import copy
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lm.models import ModelConfig, build_causal_lm
from lm.optim import OptimConfig
from lm.run import Run
from lm.sft import FitConfig
from lm.tokenizer import train_tokenizer
from prm.fit import Example, fit_prm, trainable_logits
from prm.formats import FORMATS, RUNG
from prm.layout import Row
from prm.train import PRMConfig
from verifiers.data import read_rows


def fully_judged(path: Path, count: int) -> list[dict[str, Any]]:
    """The first solutions whose every step is rated, as TRL's rows: prompt, completions, labels (neutral is right)."""
    rows: list[dict[str, Any]] = []
    for _, row in read_rows(path):
        if len(rows) == count:
            break
        if None not in row["labels"]:
            labels = [rating >= 0 for rating in row["labels"]]
            rows.append({"prompt": row["question"], "completions": row["steps"], "labels": labels})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--steps", type=int, default=6, help="optimizer steps in each turn")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--micro-tokens", type=int, default=4096)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = fully_judged(arguments.file, arguments.steps * arguments.batch)
    tokenizer = train_tokenizer([f"{r['prompt']}\n" + "\n".join(r["completions"]) for r in rows], 4000)
    sizes = ModelConfig(
        architecture="qwen2", hidden_size=arguments.hidden, layers=arguments.layers, heads=arguments.hidden // 64,
        intermediate_size=4 * arguments.hidden, max_positions=4096,
    )  # fmt: skip
    from transformers import AutoModelForTokenClassification

    torch.manual_seed(0)
    config = build_causal_lm(sizes, tokenizer).config
    config.num_labels, config.classifier_dropout = 2, 0.0
    start = AutoModelForTokenClassification.from_config(config)
    size = sum(p.numel() for p in start.parameters())
    print(f"{size / 1e6:.1f} million parameters, 1 thread, batches of {arguments.batch}")

    seconds: dict[str, list[float]] = {"TRL PRMTrainer": [], "Rung": []}
    for turn in range(arguments.turns):
        with tempfile.TemporaryDirectory() as folder:
            trainer = trl_trainer(copy.deepcopy(start), tokenizer, rows, arguments, Path(folder))
            tokenised = [labelled(example) for example in trainer.train_dataset]
            began = time.process_time()
            trainer.train()
            seconds["TRL PRMTrainer"].append(time.process_time() - began)
            fit = FitConfig(
                steps=arguments.steps, batch=arguments.batch, micro_tokens=arguments.micro_tokens, save_every=0,
                optim=OptimConfig(lr=1e-4, warmup=0),
            )  # fmt: skip
            model = copy.deepcopy(start)
            run = Run.open(PRMConfig(folder=Path(folder) / "ours", fit=fit), verb="benchmark")
            began = time.process_time()
            fit_prm(run, model, trainable_logits(model, FORMATS[RUNG], tokenizer), tokenised, fit, turn)
            seconds["Rung"].append(time.process_time() - began)
        print({name: f"{times[-1]:.1f} s" for name, times in seconds.items()}, flush=True)
    lengths = [len(example.row.ids) for example in tokenised]
    print(f"{len(rows)} solutions of {min(lengths)} to {max(lengths)} tokens, on average {np.mean(lengths):.0f}")
    trl, ours = (len(rows) / min(times) for times in seconds.values())
    print(f"samples a CPU second: TRL {trl:.2f}, Rung {ours:.2f}: {ours / trl:.2f} times")


def trl_trainer(
    model: Any, tokenizer: Any, rows: list[dict[str, Any]], arguments: argparse.Namespace, folder: Path
) -> Any:
    """TRL's trainer with its defaults, but for what would not be the same work: no report, no saving, float32."""
    from datasets import Dataset

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from trl.experimental.prm import PRMConfig as TRLConfig
        from trl.experimental.prm import PRMTrainer
    options = TRLConfig(
        output_dir=str(folder / "trl"), per_device_train_batch_size=arguments.batch, max_steps=arguments.steps,
        learning_rate=1e-4, max_length=None, max_completion_length=None, report_to=[], save_strategy="no",
        use_cpu=True, bf16=False, gradient_checkpointing=False, disable_tqdm=True, logging_strategy="no",
    )  # fmt: skip
    return PRMTrainer(model=model, args=options, processing_class=tokenizer, train_dataset=Dataset.from_list(rows))


def labelled(example: dict[str, Any]) -> Example:
    """A row of TRL's tokenised data set as ours: where its labels stand, and what they are."""
    ends = [i for i, label in enumerate(example["labels"]) if label != -100]
    targets = [float(example["labels"][i]) for i in ends]
    return Example(Row(list(example["input_ids"]), ends, 0), targets, [1.0] * len(ends))


if __name__ == "__main__":
    main()
