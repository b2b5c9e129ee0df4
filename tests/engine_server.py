"""vLLM's completions protocol, spoken by transformers: a server for a verb to join where no vLLM is installed."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from chat_server import Served, serving

from lm.engine import Sampling, TransformersEngine

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@contextmanager
def completing(policy: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> Iterator[Served]:
    """A server that samples from ``policy``, token ids in and out."""
    engine, turn = TransformersEngine(policy, tokenizer), threading.Lock()

    def complete(body: dict[str, Any], number: int) -> Any:
        sampling = Sampling(body["temperature"], body["top_p"], body["max_tokens"], body["n"], tuple(body["stop"]))
        with turn:
            found = engine.generate([body["prompt"]], sampling, [body["seed"]])
        choices = [
            {
                "index": i,
                "token_ids": c.token_ids,
                "logprobs": {"token_logprobs": c.logprobs.tolist()},
                "finish_reason": c.finish,
            }
            for i, c in enumerate(found)
        ]
        return {"choices": choices}

    with serving(complete) as served:
        yield served
