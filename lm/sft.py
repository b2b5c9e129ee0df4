"""Supervised fine-tuning of a causal LM on (prompt, response) pairs of token ids."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lm import processes
from lm.config import key, part
from lm.optim import OptimConfig, learning_rate, make_optimizer, optimizer_step
from lm.padding import pad
from lm.run import Run
from lm.tokenizer import encode, prompt_text

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Pair = tuple[Sequence[int], Sequence[int]]


@dataclass(frozen=True)
class FitConfig:
    """How long and how fast a model is fitted to labelled examples."""

    steps: int = key(600, "optimizer steps", low=1)
    batch: int = key(64, "examples an optimizer step", low=1)
    micro_tokens: int = key(16384, "padded tokens a forward pass: memory, not results", low=1)
    save_every: int = key(200, "steps between checkpoints")
    optim: OptimConfig = part(OptimConfig)


def fit_lm(
    run: Run, model: "PreTrainedModel", pairs: Sequence[Pair], held_out: Sequence[Pair], config: FitConfig, seed: int
) -> None:
    """Minimise the cross-entropy of the responses (with their EOS), averaged over response tokens of a batch."""
    optimizer = make_optimizer(model, config.optim)
    run.track(model=model, optimizer=optimizer)
    model.train()
    for step in run.steps(config.steps, save_every=config.save_every, label="SFT", show=["loss"]):
        loss = backward(model, batch_of(pairs, config.batch, seed, step), config.micro_tokens)
        rate = learning_rate(config.optim, step, config.steps)
        norm = optimizer_step(model, optimizer, config.optim, rate)
        metrics = {"loss": loss, "learning_rate": rate, "grad_norm": norm}
        if held_out and (step + 1 == config.steps or step % 100 == 0):
            metrics["val_loss"] = mean_loss(model, held_out, config.micro_tokens)
        run.log(step, **metrics)


def backward(model: "PreTrainedModel", batch: Sequence[Pair], micro_tokens: int) -> float:
    """Accumulate the gradient of the mean −log p of a batch's response tokens, a few pairs at a time; returns it."""
    tokens, total = sum(len(response) for _, response in batch), 0.0
    for rows, weight in processes.my_micro_batches([len(p) + len(r) for p, r in batch], micro_tokens):
        loss = weight * response_loss(model, [batch[i] for i in rows]) / tokens
        loss.backward()
        total += float(loss.detach())
    return processes.sum_metrics({"loss": total})["loss"]


def encode_pairs(
    tokenizer: "PreTrainedTokenizerBase", texts: Sequence[tuple[str, str]], prompt: str | None = None
) -> list[Pair]:
    """(question, response) texts as token ids: the prompt of the question, and the response with its EOS."""
    prompts = encode(tokenizer, [prompt_text(tokenizer, question, prompt) for question, _ in texts])
    responses = encode(tokenizer, [response for _, response in texts])
    return [(p, [*r, tokenizer.eos_token_id]) for p, r in zip(prompts, responses, strict=True)]


def batch_of(items: Sequence, size: int, seed: int, step: int) -> list:
    """The batch of one step: epochs of shuffled items laid end to end; a function of seed and step alone."""
    first = step * size
    chosen: list = []
    while len(chosen) < size:
        epoch, place = divmod(first + len(chosen), len(items))
        order = list(range(len(items)))
        random.Random(f"{seed}/{epoch}").shuffle(order)
        chosen += [items[i] for i in order[place : place + size - len(chosen)]]
    return chosen


def response_loss(model: "PreTrainedModel", pairs: Sequence[Pair]) -> "torch.Tensor":
    """Sum of −log p over the response tokens of some pairs."""
    import torch

    ids = pad([[*p, *r] for p, r in pairs], 0, torch.long).to(model.device)
    attention = pad([[1] * (len(p) + len(r)) for p, r in pairs], 0, torch.long).to(model.device)
    targets = pad([[-100] * len(p) + list(r) for p, r in pairs], -100, torch.long).to(model.device)
    logits = model(input_ids=ids, attention_mask=attention).logits.float()
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten(), reduction="sum")


def mean_loss(model: "PreTrainedModel", pairs: Sequence[Pair], tokens: int) -> float:
    """Cross-entropy a response token, without a gradient."""
    import torch

    model.eval()
    with torch.no_grad():
        total = sum(
            weight * float(response_loss(model, [pairs[i] for i in rows]))
            for rows, weight in processes.my_micro_batches([len(p) + len(r) for p, r in pairs], tokens)
        )
    model.train()
    return processes.sum_metrics({"loss": total})["loss"] / sum(len(r) for _, r in pairs)
