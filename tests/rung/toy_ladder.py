"""A ladder of seconds, and small GSM8K-like files, for the tests of the stages."""

import json
import os
import random
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def rung_command(*words: str) -> list[str]:
    return [sys.executable, "-m", "rung", *words]


def miniature(folder: Path) -> dict[str, Any]:
    """Every stage on one built-in family, as small as it goes."""
    optim = {"lr": 5.0e-3, "warmup": 5}
    sampling = {"n": 2, "max_tokens": 24}
    return {
        "folder": str(folder),
        "problems": {"families": ["chain", "word"], "levels": [1, 2]},
        "threads": 1,
        "sft": {
            "examples": 200,
            "model": {"hidden_size": 32, "layers": 2, "heads": 2, "intermediate_size": 48, "vocabulary": 280},
            "fit": {"steps": 60, "batch": 32, "optim": optim},
        },
        "label": {"train_problems": 40, "test_problems": 16, "sampling": sampling, "rollouts": 2, "batch_problems": 8},
        "prm": {"fit": {"steps": 20, "batch": 16, "optim": optim}},
        "ppo": {
            "sampling": sampling,
            "problems_per_step": 8,
            "steps": 6,
            "epochs": 1,
            "minibatches": 2,
            "pool": 60,
            "eval_every": 3,
            "eval_problems": 10,
        },
        "eval": {"count": 20, "sampling": sampling, "shown": 6},
    }


def write_yaml(path: Path, tree: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return path


def write_gsm8k(path: Path, count: int, seed: int) -> str:
    """Rows as the hub has them: a story, its working with calculator marks, and the answer behind ####."""
    rng = random.Random(seed)
    rows = []
    for i in range(count):
        a, b, c = rng.randint(2, 20), rng.randint(2, 9), rng.randint(1, 9)
        question = f"Story {seed}-{i}. Mia has {a} boxes of {b} eggs. She eats {c} eggs. How many eggs are left?"
        first = f"She has {a}*{b}=<<{a}*{b}={a * b}>>{a * b} eggs."
        second = f"She is left with {a * b}-{c}=<<{a * b}-{c}={a * b - c}>>{a * b - c} eggs."
        rows.append({"question": question, "answer": f"{first}\n{second}\n#### {a * b - c}"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
