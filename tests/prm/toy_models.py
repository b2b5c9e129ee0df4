"""Models and tokenizers small enough for tests, and a policy that is a table."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoModelForTokenClassification, PreTrainedModel, PreTrainedTokenizerBase

from lm.checkpoint import save_model
from lm.engine import Completion, Finished, Sampling
from lm.models import ModelConfig, build_causal_lm
from lm.tokenizer import train_tokenizer
from verifiers.families import FAMILIES, distinct
from verifiers.solution import Problem, Solution
from verifiers.split import split_steps

SIZES = ModelConfig(hidden_size=32, layers=2, heads=2, intermediate_size=48, vocabulary=300, max_positions=256)


def toy_tokenizer() -> PreTrainedTokenizerBase:
    examples = distinct(tuple(FAMILIES), (1, 2), "train", 0, 200)
    return train_tokenizer((f"{e.problem.question}\n{e.solution}" for e in examples), SIZES.vocabulary)


def toy_policy(tokenizer: PreTrainedTokenizerBase, seed: int = 0) -> PreTrainedModel:
    torch.manual_seed(seed)
    return build_causal_lm(SIZES, tokenizer)


def toy_classifier(tokenizer: PreTrainedTokenizerBase, seed: int = 0) -> PreTrainedModel:
    config = toy_policy(tokenizer, seed).config
    config.num_labels, config.classifier_dropout = 2, 0.0
    torch.manual_seed(seed)
    return AutoModelForTokenClassification.from_config(config)


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> str:
    save_model(folder, model)
    tokenizer.save_pretrained(folder)
    return str(folder)


def save_with_head(
    trunk: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    head: dict[str, torch.Tensor],
    **config: Any,
) -> str:
    """A checkpoint as authors of a class of their own leave it: trunk under "model.", their head, their code."""
    tokenizer.save_pretrained(folder)
    tensors = {f"model.{key}": value.contiguous() for key, value in trunk.state_dict().items()}
    save_file(tensors | head, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "modeling_theirs.py").write_text(f"open({str(folder / 'was_run')!r}, 'w')\n")
    their = {"auto_map": {"AutoModel": "modeling_theirs.Theirs", "AutoModelForCausalLM": "modeling_theirs.Theirs"}}
    (folder / "config.json").write_text(json.dumps(trunk.config.to_dict() | their | config))
    return str(folder)


def solution(text: str, problem: Problem) -> Solution:
    return Solution(problem, text, split_steps(text))


class TablePolicy:
    """An engine whose n continuations of each text are written down, so that what follows can be worked by hand."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, table: Mapping[str, Sequence[str]]) -> None:
        self.tokenizer, self.table = tokenizer, table
        self.asked: list[str] = []

    def load_weights(self, model: PreTrainedModel) -> None:
        raise AssertionError("a table does not learn")

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        seed: int,
        finished: Finished | None = None,
    ) -> list[Completion]:
        completions = []
        for prompt in prompts:
            text = self.tokenizer.decode(prompt)
            self.asked.append(text)
            assert len(self.table[text]) == sampling.n
            completions += [completion(self.tokenizer, continuation) for continuation in self.table[text]]
        return completions


def completion(tokenizer: PreTrainedTokenizerBase, text: str, finish: str = "stop") -> Completion:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if finish == "stop":
        return Completion((*ids, tokenizer.eos_token_id), np.zeros(len(ids) + 1, np.float32), "stop")
    return Completion(tuple(ids), np.zeros(len(ids), np.float32), "length")
