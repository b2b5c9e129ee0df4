"""The speed benchmarks compare like with like only if samples end where both sides were told."""

from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import LogitsProcessorList

import lm.engine
from benchmarks.lengths import ForcedEnds, forced_draws
from lm.engine import Sampling, TransformersEngine, in_groups

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LENGTHS, CAP = [3, 8, 1, 5, 2, 8], 8


def test_the_engine_ends_where_it_is_told(
    tiny_policy: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = tokenizer(["8+4-3\n", "7", "1+1\n"])["input_ids"]
    assert tokenizer.eos_token_id == 0
    seeds = [5, 3, 4]
    wanted = dict(zip(seeds, in_groups(LENGTHS, 2), strict=True))
    monkeypatch.setattr(lm.engine, "uniform_draws", forced_draws(wanted, CAP))
    for batch in (64, 2):  # all prompts at once, and one by one
        made = TransformersEngine(tiny_policy, tokenizer, batch).generate(prompts, Sampling(max_tokens=CAP, n=2), seeds)
        assert [len(c.token_ids) for c in made] == LENGTHS
    assert [c.finish for c in made] == ["stop", "length", "stop", "stop", "stop", "length"]


def test_generate_ends_where_it_is_told(tiny_policy: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
    model: Any = tiny_policy
    ids = torch.full((6, 2), 9)
    out = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=True, max_new_tokens=CAP, eos_token_id=0,
        pad_token_id=tokenizer.pad_token_id, logits_processor=LogitsProcessorList([ForcedEnds(0, LENGTHS, CAP)]),
    )[:, 2:]  # fmt: skip
    ends = [row.index(0) + 1 if 0 in row else CAP for row in out.tolist()]
    assert ends == LENGTHS
