"""Scoring steps: solutions in, P(step right | the steps before it) out."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lm.models import DType, default_device, load_token_scorer, load_tokenizer
from lm.padding import by_length, pad
from lm.tokenizer import encode, prompt_text
from prm.scores import StepScores
from verifiers.solution import Solution

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

RIGHT = 1  # class of a right step in a two-class head, as TRL's and Qwen's PRMs have it


class Scorer(Protocol):
    """Anything that scores steps."""

    def score(
        self, solutions: Sequence[Solution], advance: Callable[[int], None] | None = None
    ) -> list[StepScores]: ...


def encode_steps(
    tokenizer: "PreTrainedTokenizerBase", solutions: Sequence[Solution], prompt: str | None = None
) -> list[tuple[list[int], list[int]]]:
    """Token ids of each solution after its prompt, and the positions of the S tokens that end its steps.

    The text is tokenised piece by piece, each piece ending where a step ends, so the ids up to a step depend on the
    text up to that step and on nothing after it: a tokenizer that merges a full stop with the line break behind it
    would otherwise tell the model whether another step follows.
    """
    pieces: list[str] = []
    for solution in solutions:
        pieces.append(prompt_text(tokenizer, solution.problem.question, prompt))
        start = 0
        for step in solution.steps:
            pieces.append(solution.text[start : step.end])
            start = step.end
    ids = iter(encode(tokenizer, pieces))
    out = []
    for solution in solutions:
        row = list(next(ids))
        ends = []
        for _ in solution.steps:
            row += next(ids)
            ends.append(len(row) - 1)
        out.append((row, ends))
    return out


class TokenClassifierPRM:
    """A token-classification model read at the last token of each step: P = softmax(logits)[right].

    ``tokens`` bounds a batch after padding. Works with any transformers model that has such a head, whatever
    tokenizer the policy has.
    """

    def __init__(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        prompt: str | None = None,
        tokens: int = 16384,
    ) -> None:
        self.model, self.tokenizer, self.prompt, self.tokens = model, tokenizer, prompt, tokens

    def score(self, solutions: Sequence[Solution], advance: Callable[[int], None] | None = None) -> list[StepScores]:
        import torch

        rows = encode_steps(self.tokenizer, solutions, self.prompt)
        scores: list[StepScores] = [StepScores(np.empty(0))] * len(rows)
        training = self.model.training
        self.model.eval()
        with torch.inference_mode():
            for batch in by_length([len(ids) for ids, _ in rows], self.tokens):
                logits = step_logits(self.model, [rows[i] for i in batch])
                probabilities = logits.float().softmax(-1)[:, RIGHT].cpu().numpy()
                start = 0
                for i in batch:
                    end = start + len(rows[i][1])
                    scores[i] = StepScores(probabilities[start:end])
                    start = end
                if advance is not None:
                    advance(len(batch))
        self.model.train(training)
        return scores


def load_prm(name: str, dtype: DType = "float32", tokens: int = 16384, prompt: str | None = None) -> TokenClassifierPRM:
    """The step scorer at ``name`` (folder or hub name), with the tokenizer that lies beside it."""
    model = load_token_scorer(name, 2, dtype)
    model.to(default_device())  # type: ignore[arg-type]
    return TokenClassifierPRM(model, load_tokenizer(name), prompt, tokens)


def step_logits(model: "PreTrainedModel", rows: Sequence[tuple[list[int], list[int]]]) -> "torch.Tensor":
    """Logits (steps of all rows, classes) at the ends of the steps, row by row."""
    import torch

    device = model.device
    ids = pad([ids for ids, _ in rows], 0, torch.long).to(device)
    attention = pad([[1] * len(ids) for ids, _ in rows], 0, torch.long).to(device)
    logits = model(input_ids=ids, attention_mask=attention).logits
    where = [(row, end) for row, (_, ends) in enumerate(rows) for end in ends]
    index = torch.tensor(where, dtype=torch.long, device=device).reshape(-1, 2)
    return logits[index[:, 0], index[:, 1]]
