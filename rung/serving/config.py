"""The keys of ``rung serve``."""

from dataclasses import dataclass
from pathlib import Path

from lm.config import REQUIRED, key, part
from lm.models import DType
from prm.loading import Reading
from prm.scores import Aggregation


@dataclass(frozen=True)
class Limits:
    """How much one request may hold. Over a limit it is answered with 413, and which limit that was."""

    body_bytes: int = key(2**20, "bytes of a request's body", low=1)
    body_seconds: float = key(30.0, "time a body may take to arrive; a slower client is answered with 408", low=0.1)
    solutions: int = key(256, "solutions, or documents to rank, in one request", low=1)
    steps: int = key(1024, "steps of one solution", low=1)
    characters: int = key(100_000, "characters of a question and one of its solutions", low=1)


@dataclass(frozen=True)
class ServeConfig:
    """Serve step scores of a process reward model over HTTP: /v1/score, /v1/rerank, /health, /metrics and a page."""

    model: str = key(REQUIRED, "the process reward model: folder, hub name or symbolic")
    reading: Reading = part(Reading, "what kind of reward model it is, where its name does not say")
    host: str = key("127.0.0.1", "address to listen on; 0.0.0.0 lets other machines in, so set a key as well")
    port: int = key(8000, "port to listen on; 0 takes any free one", low=0, high=65535)
    api_key_env: str | None = key(None, "environment variable with the key that clients must send")
    api_key_file: Path | None = key(None, "file with the key that clients must send")
    aggregate: Aggregation = key("min", "how a solution's step scores become its score where a request does not say")
    prompt: str | None = key(None, "prompt with {question} in it; null uses the tokenizer's chat template")
    dtype: DType = key("float32", "precision of the model; bfloat16 for GPUs")
    batch_tokens: int = key(4096, "tokens scored in one go; more for a GPU, fewer for a quicker first answer", low=1)
    queue: int = key(1024, "requests that may wait; the next is answered with 429 and when to come back", low=1)
    threads: int | None = key(None, "CPU threads; null leaves it to torch")
    limits: Limits = part(Limits)
