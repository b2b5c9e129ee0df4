"""``rung rm``: a reward model from preferences: one number for a response, read at its last token (Bradley-Terry)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lm.config import key, part
from lm.models import DType, default_device, load_token_scorer, load_tokenizer, make_trainable, zero_head
from lm.optim import OptimConfig
from lm.padding import by_length
from lm.run import Run
from lm.sft import FitConfig, Pair, encode_pairs
from lm.torch_setup import prepare_torch
from prm.heads import check_head
from prm.scorer import sigmoid
from prm.scores import StepScores
from rl.batch import pack_pairs
from rl.losses import Metrics, bradley_terry_loss
from rl.pair_fit import Compared, PairConfig, accumulate, fit_pairs, ranking_accuracy
from rl.preferences import encode_preferences, load_preferences
from verifiers.solution import Solution

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class RewardModelConfig(PairConfig):
    """A reward model on the trunk of a language model."""

    folder: Path = key(Path("runs/rm"), "the run folder; the reward model is saved in FOLDER/model")
    fit: FitConfig = part(FitConfig, steps=200, batch=32, optim=OptimConfig(lr=5e-4, warmup=10))


def train(config: RewardModelConfig) -> None:
    """Learn to rank the pairs; write ``folder/model`` and ``folder/summary.json`` with held-out accuracy."""
    prepare_torch(config.seed, config.threads)
    pairs, held_out_pairs = load_preferences(config.data, config.seed)
    tokenizer = load_tokenizer(config.policy)
    model = load_token_scorer(config.policy, 1, config.dtype).to(default_device())  # type: ignore[arg-type]
    zero_head(model)
    make_trainable(model, config.lora, config.gradient_checkpointing)
    run = Run.open(config, verb="rm")
    rows, held_out = (
        [Compared(sides) for sides in zip(*encode_preferences(tokenizer, some, config.prompt), strict=True)]
        for some in (pairs, held_out_pairs)
    )
    micro_tokens = config.fit.micro_tokens
    fit_pairs(
        run, model, rows, held_out, config, label="RM",
        backward=lambda batch: backward(model, batch, micro_tokens),
        accuracy=lambda some: ranking_accuracy(some, micro_tokens, lambda part: margin(model, part)),
    )  # fmt: skip
    run.finish(model=(model, tokenizer))


class RewardModel:
    """A trained reward model that rates texts, with its own tokenizer and prompt."""

    def __init__(
        self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prompt: str | None, micro_tokens: int
    ) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer
        self.prompt, self.micro_tokens = prompt, micro_tokens

    def rate(self, texts: Sequence[tuple[str, str]]) -> list[float]:
        """r of each (question, response), the response as one that ended by itself."""
        import torch

        pairs = encode_pairs(self.tokenizer, texts, self.prompt)
        found = [0.0] * len(pairs)
        with torch.no_grad():
            for rows in by_length([len(p) + len(r) for p, r in pairs], self.micro_tokens):
                for i, value in zip(rows, rewards(self.model, [pairs[i] for i in rows]).tolist(), strict=True):
                    found[i] = value
        return found


def load_reward_model(name: str, dtype: DType, prompt: str | None, micro_tokens: int) -> RewardModel:
    """The reward model at ``name``: a folder that ``rung rm`` wrote, or a hub name. UserError where it has no head."""
    check_head(name)
    model = load_token_scorer(name, 1, dtype).to(default_device())  # type: ignore[arg-type]
    return RewardModel(model, load_tokenizer(name), prompt, micro_tokens)


def outcome_scores(rewards: Sequence[float], solutions: Sequence[Solution]) -> list[StepScores]:
    """σ(r), the chance of being preferred to a response of reward 0, as every step's score: for the metrics."""
    chances = sigmoid(np.array(rewards))
    return [StepScores(np.full(len(s.steps), p), outcome=True) for s, p in zip(solutions, chances, strict=True)]


def rewards(model: "PreTrainedModel", pairs: Sequence[Pair]) -> "torch.Tensor":
    """r(prompt, response), the model's output at the last token of each: (B,)."""
    import torch

    tokens = pack_pairs(pairs, model.device)
    out = model(input_ids=tokens.ids, attention_mask=tokens.attention).logits[..., 0].float()
    return out[torch.arange(len(pairs), device=out.device), tokens.attention.sum(1) - 1]


def both_rewards(model: "PreTrainedModel", rows: Sequence[Compared]) -> "tuple[torch.Tensor, torch.Tensor]":
    """Rewards of the chosen and of the rejected side, (B,) each, in one pass."""
    both = rewards(model, [row.sides[0] for row in rows] + [row.sides[1] for row in rows])
    return both[: len(rows)], both[len(rows) :]


def margin(model: "PreTrainedModel", rows: Sequence[Compared]) -> "torch.Tensor":
    """The chosen side's reward less the rejected one's: (B,)."""
    chosen, rejected = both_rewards(model, rows)
    return chosen - rejected


def backward(model: "PreTrainedModel", batch: Sequence[Compared], micro_tokens: int) -> Metrics:
    """Accumulate the gradient of the mean Bradley-Terry loss over a batch; returns its metrics."""
    return accumulate(batch, micro_tokens, lambda rows: bradley_terry_loss(*both_rewards(model, rows)))
