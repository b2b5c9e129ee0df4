"""Scoring steps with vLLM: its pooling path runs trunk and head, and we read the steps' tokens."""

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lm.errors import UserError
from lm.vllm_engine import start_vllm, stop_vllm
from prm.formats import Format
from prm.heads import step_logits
from prm.scorer import Advance, measure_rows, rows_of, scores_of, stop_at_complaint
from prm.scores import StepScores
from verifiers.solution import Solution

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


class VLLMStepPRM:
    """``StepPRM`` over vLLM, for token classifiers and Qwen2.5-Math-PRM; vLLM makes the batches.

    Layout, positions and the reading of the logits are those of ``StepPRM``, so the scores agree.
    """

    def __init__(
        self,
        name: str,
        tokenizer: "PreTrainedTokenizerBase",
        form: Format,
        *,
        dtype: str = "float32",
        prompt: str | None = None,
        temperature: float = 1.0,
        cache_gib: float | None = None,
    ) -> None:
        if form.head not in ("classes", "mlp"):
            raise UserError(f"vLLM runs no head of kind {form.head!r}, which {name!r} has: use backend=transformers")
        from vllm.config import PoolerConfig

        self.llm = start_vllm(
            name, dtype=dtype, batch=256, context=None, cache_gib=cache_gib, memory=0.9, runner="pooling",
            pooler_config=PoolerConfig(task="token_classify", tok_pooling_type="ALL"),
            enable_prefix_caching=False,  # a token in the cache would have no logits
        )  # fmt: skip
        self.tokenizer, self.form, self.prompt, self.temperature = tokenizer, form, prompt, temperature
        weakref.finalize(self, stop_vllm, self.llm)
        first, second = (logits[:2] for logits in self._logits([[1, 2, 3], [1, 2, 4]]))
        if not first.allclose(second, atol=1e-3):
            raise UserError(f"{name!r} reads a text in both directions: a step's score would depend on what follows")

    def score(self, solutions: Sequence[Solution], advance: Advance | None = None) -> list[StepScores]:
        """As ``StepPRM.score``."""
        rows = rows_of(self.form, self.tokenizer, solutions, self.prompt)
        stop_at_complaint(measure_rows(rows, solutions, self._context()))
        outputs = iter(self._logits([row.ids for row in rows if row.ends]))
        found = []
        for row, solution in zip(rows, solutions, strict=True):
            logits = np.empty(0)
            if row.ends:
                logits = step_logits(next(outputs)[row.ends], self.form.right).double().numpy()
            found.append(scores_of(logits, solution, self.form, self.temperature))
        if advance is not None:
            advance(len(solutions))
        return found

    def _logits(self, rows: Sequence[Sequence[int]]) -> "list[torch.Tensor]":
        """(T, C) of each row: the head's outputs at every token."""
        from vllm import PoolingParams

        asked = [{"prompt_token_ids": list(row)} for row in rows]
        raw = PoolingParams(use_activation=False)
        outputs = self.llm.encode(asked, raw, pooling_task="token_classify", use_tqdm=False) if asked else []
        return [output.outputs.data for output in outputs]

    def measure(self, solutions: Sequence[Solution]) -> list[int | str]:
        """As ``StepPRM.measure``."""
        rows = rows_of(self.form, self.tokenizer, solutions, self.prompt)
        return measure_rows(rows, solutions, self._context())

    def _context(self) -> int:
        return int(self.llm.model_config.max_model_len)
