"""Implicit process rewards: how much likelier a trained language model finds a step than the model it started from."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lm.lora import adapter_off
from lm.models import output_layer
from lm.padding import by_length, pad
from prm.formats import Format
from prm.layout import Row, encode_solutions
from prm.scorer import Advance, context_length, measure_rows, sigmoid, stop_at_complaint
from prm.scores import StepScores
from verifiers.solution import Solution

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CHUNK = 2048  # positions whose logits over the vocabulary are held at once


class ImplicitPRM:
    """Two causal LMs; the log-odds of step k are q_k = Σ_{t ≤ end of k} β log π(y_t) / π_ref(y_t).

    Yuan et al. 2024, arXiv:2412.01981, eq. 4: π is trained so that σ(q) over the whole answer is P(right), so σ(q_k) is
    its estimate after step k. Published EurusPRM scores are q_k itself, in nats: ``logits`` returns those.
    """

    def __init__(
        self,
        policy: "PreTrainedModel",
        reference: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        form: Format,
        *,
        prompt: str | None = None,
        tokens: int = 16384,
        temperature: float = 1.0,
    ) -> None:
        self.policy, self.reference, self.tokenizer, self.form = policy, reference, tokenizer, form
        self.prompt, self.tokens, self.temperature = prompt, tokens, temperature

    def score(self, solutions: Sequence[Solution], advance: Advance | None = None) -> list[StepScores]:
        """As ``StepPRM.score``."""
        return [StepScores(sigmoid(row / self.temperature)) for row in self.logits(solutions, advance)]

    def logits(self, solutions: Sequence[Solution], advance: Advance | None = None) -> list[np.ndarray]:
        """q_k of each step, (S,) float64, before the temperature."""
        import torch

        rows = encode_solutions(self.form, self.tokenizer, solutions, self.prompt)
        stop_at_complaint(measure_rows(rows, solutions, context_length(self.policy)))
        found: list[np.ndarray] = [np.empty(0)] * len(rows)
        training = self.policy.training
        self.policy.eval()
        with torch.inference_mode():
            for batch in by_length([len(row.ids) for row in rows], self.tokens):
                chosen = [rows[i] for i in batch]
                values = cumulative_rewards(self.policy, self.reference, chosen, self.form.beta)
                for i, value in zip(batch, values, strict=True):
                    found[i] = value.double().cpu().numpy()
                if advance is not None:
                    advance(len(batch))
        self.policy.train(training)
        return found

    def measure(self, solutions: Sequence[Solution]) -> list[int | str]:
        """As ``StepPRM.measure``; both models read the tokens, each is counted once."""
        rows = encode_solutions(self.form, self.tokenizer, solutions, self.prompt)
        return measure_rows(rows, solutions, context_length(self.policy))


def cumulative_rewards(policy: Any, reference: Any, rows: Sequence[Row], beta: float) -> "list[torch.Tensor]":
    """q at the end of each step of each row, [(S,)]; the policy's gradient flows, the reference's does not.

    The reference may be the policy itself, where that has an adapter: it is read without it.
    """
    import torch

    ids = pad([row.ids for row in rows], 0, torch.long).to(policy.device)
    with torch.no_grad(), adapter_off(reference):
        expected = token_logprobs(reference, ids)
    ratio = token_logprobs(policy, ids) - expected
    found = []
    for line, row in zip(ratio, rows, strict=True):
        # line[i] is token i + 1, so tokens start..end are line[start - 1 : end]
        sums = (beta * line[row.start - 1 :].double()).cumsum(0)
        found.append(sums[[end - row.start for end in row.ends]] if row.ends else sums[:0])
    return found


def token_logprobs(model: Any, ids: "torch.Tensor") -> "torch.Tensor":
    """log π(ids_{t+1} | ids_{≤t}): (B, T) to (B, T − 1) float32, with few positions' vocabularies held at once."""
    import torch

    output = output_layer(model)
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1].flatten(0, 1)
    targets = ids[:, 1:].flatten()
    parts = []
    for states, wanted in zip(hidden.split(CHUNK), targets.split(CHUNK), strict=True):
        logits = output(states).float()
        parts.append(logits.gather(1, wanted[:, None])[:, 0] - logits.logsumexp(-1))
    return torch.cat(parts).view(len(ids), -1)
