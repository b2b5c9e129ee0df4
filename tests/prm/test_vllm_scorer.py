"""prm.vllm_scorer: `rung score` by vLLM's pooling path (in a process of its own) against the transformers path."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_models import save_with_head, solution
from toy_tokenizers import QUESTION, STEPS, qwen
from transformers import Qwen2Config, Qwen2Model

import prm
from lm.errors import UserError
from lm.models import load_token_scorer, load_tokenizer
from prm.formats import FORMATS
from prm.vllm_scorer import VLLMStepPRM
from verifiers.solution import Problem

ROOT = Path(__file__).resolve().parents[2]
TEXTS = ["\n".join(STEPS), STEPS[0], "\n".join([*STEPS, *STEPS]), "", "\n".join(STEPS[:2])]


def by_vllm(python: str, model: str, folder: Path) -> list[dict[str, Any]]:
    """The rows that `rung score` writes of TEXTS."""
    rows = [json.dumps({"question": QUESTION, "text": text}) + "\n" for text in TEXTS]
    (folder / "solutions.jsonl").write_text("".join(rows))
    words = [python, "-m", "rung", "score", f"file={folder / 'solutions.jsonl'}", f"out={folder / 'scored.jsonl'}"]
    words += [f"prm={model}", "reading.backend=vllm", "threads=1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return [json.loads(line) for line in (folder / "scored.jsonl").read_text().splitlines()]


def agree(python: str, model: str, folder: Path) -> None:
    solutions = [solution(text, Problem("p", QUESTION, "")) for text in TEXTS]
    wanted = [scores.probabilities for scores in prm.load(model).score(solutions)]
    assert float(np.concatenate(wanted).std()) > 0.02, "scores that are all alike would agree with anything"
    for row, expected in zip(by_vllm(python, model, folder), wanted, strict=True):
        np.testing.assert_allclose(row["step_scores"], expected, atol=1e-4)


@pytest.mark.slow
def test_qwen_math_prm_scores_the_same_by_vllms_pooling(vllm_python: str, tmp_path: Path) -> None:
    tokenizer = qwen()
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 1,
        "num_key_value_heads": 1, "max_position_embeddings": 1024, "initializer_range": 0.3,
        "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    trunk = Qwen2Model(Qwen2Config(**sizes))
    score = torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
    head = {f"score.{name}": value for name, value in score.state_dict().items()}
    folder = tmp_path / "Qwen2.5-Math-PRM-tiny"
    agree(
        vllm_python,
        save_with_head(trunk, tokenizer, folder, head, architectures=["Qwen2ForProcessRewardModel"]),
        tmp_path,
    )
    assert not (folder / "was_run").exists()


@pytest.mark.slow
def test_rungs_own_prms_score_the_same_by_vllms_pooling(
    vllm_python: str, vllm_model: Callable[[int], Path], tmp_path: Path
) -> None:
    model: Any = load_token_scorer(str(vllm_model(0)), 2)
    torch.nn.init.normal_(model.score.weight, std=0.5, generator=torch.Generator().manual_seed(0))
    model.save_pretrained(tmp_path / "prm")
    load_tokenizer(str(vllm_model(0))).save_pretrained(tmp_path / "prm")
    agree(vllm_python, str(tmp_path / "prm"), tmp_path)


def test_heads_that_vllm_does_not_run_are_refused() -> None:
    with pytest.raises(UserError, match=r"'verdicts'.*backend=transformers"):
        VLLMStepPRM("some/model", qwen(), FORMATS["math-shepherd"])
