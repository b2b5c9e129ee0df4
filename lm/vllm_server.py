"""An OpenAI-compatible vLLM server that Rung starts, waits for and stops."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lm.errors import UserError
from lm.vllm_engine import CPU_CACHE_GIB, ON_CPU

_PATIENCE = 900.0  # seconds until a large model has to be up
_GRACE = 20.0  # seconds to end by itself
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM makes room for
_KEEPER = Path(__file__).with_name("keeper.py")


class VLLMServer:
    """A running server of the model at ``name`` on a free port of this machine; ``url`` ends in /v1.

    It ends when nothing refers to it any more, when this process ends in whatever way, or at ``stop()``: lm/keeper.py,
    which is ``process``, sees to that. ``python`` is the interpreter that has vLLM. With a ``rank`` it takes LoRA
    adapters of that rank while it runs. Raises UserError with the end of its log where it does not come up.
    """

    def __init__(
        self,
        name: str,
        *,
        dtype: str = "float32",
        batch: int = 256,
        context: int | None = None,
        cache_gib: float | None = None,
        memory: float = 0.9,
        python: str = sys.executable,
        arguments: Sequence[str] = (),
        rank: int = 0,
    ) -> None:
        import torch

        if shutil.which(python) is None:
            raise UserError(f"cannot start {python}: there is no such program; engine.python is to have vLLM")
        if rank > _RANKS[-1]:
            raise UserError(f"vLLM takes adapters of rank {_RANKS[-1]} at most: set engine.adapters=false")
        self.name, self.rank = name, rank
        port = _free_port()
        self.address = f"http://127.0.0.1:{port}"
        self.url = f"{self.address}/v1"
        words = ["--model", name, "--served-model-name", name, "--host", "127.0.0.1", "--port", str(port)]
        words += ["--dtype", dtype, "--max-num-seqs", str(batch), "--gpu-memory-utilization", str(memory)]
        words += ["--generation-config", "vllm", "--logprobs-mode", "processed_logprobs"]
        on_cpu = not torch.cuda.is_available()
        # Between the parts of a prompt vLLM winds a seeded generator back, which one on a CPU cannot: its worker dies.
        words += ["--enforce-eager", "--no-enable-chunked-prefill"] if on_cpu else []
        cache_gib = CPU_CACHE_GIB if cache_gib is None and on_cpu else cache_gib
        words += [] if context is None else ["--max-model-len", str(context)]
        words += [] if cache_gib is None else ["--kv-cache-memory-bytes", str(int(cache_gib * 2**30))]
        words += ["--enable-lora", "--max-lora-rank", str(min(r for r in _RANKS if r >= rank))] if rank else []
        words += arguments
        descriptor, log = tempfile.mkstemp(prefix="rung-vllm-", suffix=".log")
        self.log = Path(log)
        # Development mode has the calls by which weights are replaced; only this machine can reach them.
        environment = (
            (ON_CPU if on_cpu else {}) | os.environ | {"VLLM_SERVER_DEV_MODE": "1", "VLLM_NO_USAGE_STATS": "1"}
        ) | ({"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"} if rank else {})
        keeper = [sys.executable, "-P", str(_KEEPER), str(os.getpid()), str(_GRACE)]
        server = [python, "-m", "vllm.entrypoints.openai.api_server", *words]
        # In a session of its own, Ctrl-C at the terminal reaches the run alone, which ends its step first.
        self.process = subprocess.Popen(
            [*keeper, *server], env=environment, stdout=descriptor, stderr=descriptor, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        os.close(descriptor)
        self.stop = weakref.finalize(self, _stop, self.process, self.log)
        self._wait_until_healthy()

    def check(self) -> None:
        """Raise UserError where the server has ended by itself."""
        status = self.process.poll()
        if status is not None:
            self.stop.detach()  # the log stays, for the user to read
            raise UserError(f"the vLLM server of {self.name!r} ended ({_ending(status)}): {_last_words(self.log)}")

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Around what asks the server: where it has died, that is the error, not that nobody answers."""
        try:
            yield
        except UserError:
            self.check()
            raise

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not is_healthy(self.address):
            self.check()
            if time.monotonic() > deadline:
                raise UserError(f"the vLLM server of {self.name!r} is not up after {_PATIENCE:.0f} s: see {self.log}")
            time.sleep(0.2)


def is_healthy(address: str) -> bool:
    """Whether a vLLM server at ``address`` (without /v1) answers."""
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _stop(process: "subprocess.Popen[bytes]", log: Path) -> None:
    process.terminate()
    process.wait()
    log.unlink(missing_ok=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ending(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"status {status}"


def _last_words(log: Path) -> str:
    """The last exception in a log that does not point to another, else its last line; and where the rest is."""
    text = log.read_text(errors="replace")
    raised = [line for line in re.findall(r"\b[A-Z]\w*(?:Error|Exception): .+", text) if "root cause" not in line]
    said = (raised or text.strip().splitlines() or ["it said nothing"])[-1].strip()
    return f"{said[:300]}; its log: {log}"
