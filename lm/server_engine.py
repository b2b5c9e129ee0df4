"""Sampling from a vLLM server, started by Rung or joined: token ids go out, token ids and log-probs come back."""

import json
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lm.chat import ChatConfig, post
from lm.engine import Completion, Finished, Sampling, in_order
from lm.errors import UserError
from lm.lora import has_adapter, plain_weights, save_adapter, trained_weights
from lm.vllm_engine import prompt_seeds
from lm.vllm_server import VLLMServer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class ServerEngine:
    """Samples by ``POST endpoint.url/completions``, ``endpoint.concurrency`` prompts at once.

    ``server`` is the one that Rung started, if it did; it lives as long as this engine. Only such a server takes new
    weights, and only its log-probs are sure to be those of ``VLLMEngine`` (another's may be those at temperature 1).
    """

    def __init__(
        self, endpoint: ChatConfig, tokenizer: "PreTrainedTokenizerBase", server: VLLMServer | None = None
    ) -> None:
        self.endpoint, self.server = endpoint, server
        self.eos = int(tokenizer.eos_token_id)
        self.model = endpoint.model  # by which name the newest weights are asked for
        self.adapters = 0  # how many were sent

    def load_weights(self, model: "PreTrainedModel") -> None:
        """Hand the weights over as files: the server's process reads them in place of its own, or of a model with an
        adapter, where the server takes one, the adapter alone.

        vLLM's own weight transfer needs NCCL or CUDA, which a CPU has not; files need a disk that both see.
        """
        if self.server is None:
            raise UserError("a vLLM server that Rung did not start takes no weights; leave engine.url out")
        if self.server.rank and has_adapter(model):
            self._load_adapter(model)
            return
        from safetensors.torch import save_file

        with tempfile.TemporaryDirectory(prefix="rung-weights-") as folder:
            # Every name, the tied LM head too, which save_pretrained leaves out: vLLM would keep a stale one. Copies,
            # because safetensors refuses two names for one memory.
            weights = {name: tensor.detach().clone() for name, tensor in plain_weights(model).items()}
            save_file(weights, Path(folder) / "model.safetensors", metadata={"format": "pt"})
            reload = {"method": "reload_weights", "kwargs": {"weights_path": folder}}
            self._command("collective_rpc", reload)
        if not json.loads(self._command("reset_prefix_cache", {})).get("success"):
            raise RuntimeError("vLLM kept its prefix cache: requests are still running")
        self.model = self.endpoint.model

    def _load_adapter(self, model: "PreTrainedModel") -> None:
        """Under a new name, by which vLLM also tells apart what it has cached; it forgets the one used least lately."""
        old, self.adapters = self.model, self.adapters + 1
        self.model = f"adapter-{self.adapters}"
        with tempfile.TemporaryDirectory(prefix="rung-adapter-") as folder:
            path = Path(folder) / "adapter"
            save_adapter(path, model, trained_weights(model))
            self._command("v1/load_lora_adapter", {"lora_name": self.model, "lora_path": str(path)})
        if old != self.endpoint.model:
            self._command("v1/unload_lora_adapter", {"lora_name": old})

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        seed: int | Sequence[int],
        finished: Finished | None = None,
    ) -> list[Completion]:
        """``sampling.n`` completions a prompt. Raises UserError where the server refuses a prompt (it fills the
        context, say), cannot be reached, or has died."""
        pool = ThreadPoolExecutor(self.endpoint.concurrency)
        asked = enumerate(zip(prompts, prompt_seeds(seed, len(prompts)), strict=True))
        places = {pool.submit(self._complete, prompt, sampling, own): place for place, (prompt, own) in asked}
        found: dict[int, list[Completion]] = {}
        try:
            with self.server.blamed() if self.server is not None else nullcontext():
                for answer in as_completed(places):
                    some = {places[answer]: answer.result()}
                    found |= some
                    if finished is not None:
                        finished(some)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return in_order(found)

    def _complete(self, prompt: Sequence[int], sampling: Sampling, seed: int) -> list[Completion]:
        drawn = sampling.temperature > 0  # vLLM refuses n greedy completions, all the same
        body = {
            "model": self.model, "prompt": list(prompt), "n": sampling.n if drawn else 1, "seed": seed,
            "temperature": sampling.temperature, "top_p": sampling.top_p, "max_tokens": sampling.max_tokens,
            "logprobs": 0, "return_token_ids": True, "ignore_eos": True, "stop_token_ids": [self.eos],
            "stop": list(sampling.stop), "add_special_tokens": False,
        }  # fmt: skip
        completions, refused, _ = post(self.endpoint, "completions", body, self._read)
        if completions is None:
            raise UserError(f"{self.endpoint.url} refuses a prompt of {len(prompt)} tokens ({refused}); leave it out")
        return completions if drawn else completions * sampling.n

    def _read(self, answer: Any) -> list[Completion]:
        completions = []
        for choice in sorted(answer["choices"], key=lambda choice: choice["index"]):
            ids = tuple(int(i) for i in choice["token_ids"])
            logprobs = np.array(choice["logprobs"]["token_logprobs"], dtype=np.float32)
            if len(logprobs) != len(ids):
                raise ValueError("as many log-probs as tokens")
            completions.append(Completion(ids, logprobs, "stop" if choice["finish_reason"] == "stop" else "length"))
        return completions

    def _command(self, path: str, body: Any) -> bytes:
        """One of the calls that a started server answers beside the protocol's."""
        assert self.server is not None
        request = urllib.request.Request(
            f"{self.server.address}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=600) as response:
                answer: bytes = response.read()
                return answer
        except (OSError, urllib.error.URLError) as error:
            self.server.check()
            raise UserError(
                f"the vLLM server did not take the weights ({error}): its log is {self.server.log}"
            ) from error
