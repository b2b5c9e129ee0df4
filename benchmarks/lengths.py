"""What the speed benchmarks share: a model of 5.9 million parameters, GSM8K's prompts, and samples that end where a
benchmark says, in Rung's engine and in transformers' ``generate`` alike."""

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import LogitsProcessor

from lm.models import ModelConfig, build_causal_lm
from lm.tokenizer import train_tokenizer
from verifiers.data import read_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CAP = 256  # tokens; a sample that reaches it has no EOS


def model_and_prompts(
    file: Path, count: int
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase, list[str], list[int]]":
    """(model, tokenizer, questions, lengths of GSM8K's solutions in tokens with EOS, at most ``CAP``)."""
    examples = [row for _, row in read_rows(file)]
    tokenizer = train_tokenizer([f"{e['question']}\n{e['solution']}" for e in examples], 8192)
    sizes = ModelConfig(
        architecture="qwen2", hidden_size=256, layers=4, heads=4, intermediate_size=896, max_positions=1024,
        vocabulary=8192, initializer_range=0.02,
    )  # fmt: skip
    torch.manual_seed(0)
    model = build_causal_lm(sizes, tokenizer)
    rng = random.Random(0)
    questions = [e["question"] for e in rng.sample(examples, count)]
    lengths = [min(CAP, len(tokenizer(e["solution"])["input_ids"]) + 1) for e in rng.sample(examples, 1000)]
    return model, tokenizer, questions, lengths


def forced_draws(lengths: Mapping[int, Sequence[int]], cap: int) -> Callable[[Sequence[int], Any], np.ndarray]:
    """What to put in the place of ``lm.engine.uniform_draws`` so that the samples of the prompt with seed s have
    ``lengths[s]`` tokens.

    EOS is token 0, which a draw of 0 takes and one above a twentieth does not while the model is near uniform.
    """

    def draws(seeds: Sequence[int], sampling: Any) -> np.ndarray:
        wanted = [length for seed in seeds for length in lengths[seed]]
        chances = 0.05 + 0.95 * np.random.default_rng(seeds[0]).random((len(wanted), sampling.max_tokens))
        for row, length in enumerate(wanted):
            if length < cap:
                chances[row, length - 1] = 0.0
        return chances

    return draws


class ForcedEnds(LogitsProcessor):
    """For ``generate``: EOS as the ``lengths[i]``-th token of row i where that is below ``cap``, and nowhere else."""

    def __init__(self, eos: int, lengths: Sequence[int], cap: int) -> None:
        self.eos, self.lengths, self.cap, self.begun = eos, torch.tensor(lengths), cap, 0

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        self.begun += 1
        forced: Any = scores.clone()
        forced[:, self.eos] = -torch.inf
        ends = (self.lengths == self.begun) & (self.lengths < self.cap)
        forced[ends] = -torch.inf
        forced[ends, self.eos] = 0.0
        return forced
