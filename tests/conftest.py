"""Shared fixtures: a small byte-level tokenizer, a tiny random policy, and one fitted just enough to stop sometimes."""

import copy
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from lm.vllm_server import VLLMServer

ROOT = Path(__file__).resolve().parents[1]

# A shell's background job ignores SIGINT, and so would the runs that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def worked() -> list[tuple[str, str]]:
    """(question, worked solution) of 200 sums, "8+4-3" -> "12-3\\n#### 9"; written here, not by the code under test."""
    rng = random.Random(0)
    pairs = []
    for _ in range(200):
        a, b = rng.randint(0, 9), rng.randint(0, 9)
        c = rng.randint(0, a + b)
        pairs.append((f"{a}+{b}-{c}", f"{a + b}-{c}\n#### {a + b - c}"))
    return pairs


@pytest.fixture(scope="session")
def tokenizer(worked: list[tuple[str, str]]) -> "PreTrainedTokenizerBase":
    from lm.tokenizer import train_tokenizer

    return train_tokenizer([f"{q}\n{s}" for q, s in worked], 300)


@pytest.fixture(scope="session")
def tiny_policy(tokenizer: "PreTrainedTokenizerBase") -> "PreTrainedModel":
    """A random Qwen2 with 2 layers of width 32. Session-wide, so copy it before changing it."""
    import torch

    from lm.models import ModelConfig, build_causal_lm

    torch.set_num_threads(1)
    torch.manual_seed(0)
    sizes = ModelConfig(
        architecture="qwen2", hidden_size=32, layers=2, heads=2, intermediate_size=64, initializer_range=0.09
    )
    return build_causal_lm(sizes, tokenizer).eval()


@pytest.fixture(scope="session")
def fitted_policy(
    tiny_policy: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", worked: list[tuple[str, str]]
) -> "PreTrainedModel":
    """The tiny policy after 60 plain AdamW steps: it writes lines of sums, often wrong, and sometimes stops."""
    import torch

    policy = copy.deepcopy(tiny_policy)
    rows = [tokenizer(f"{q}\n{s}")["input_ids"] + [tokenizer.eos_token_id] for q, s in worked]
    optimizer = torch.optim.AdamW(policy.parameters(), lr=5e-3)
    rng = random.Random(0)
    for _ in range(60):
        batch = rng.sample(rows, 16)
        width = max(map(len, batch))
        ids = torch.tensor([row + [tokenizer.pad_token_id] * (width - len(row)) for row in batch])
        targets = torch.tensor([row + [-100] * (width - len(row)) for row in batch])
        loss = policy(input_ids=ids, labels=targets).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    optimizer.zero_grad()
    return policy.eval()


@pytest.fixture(scope="session")
def tiny_critic(tiny_policy: "PreTrainedModel", tmp_path_factory: pytest.TempPathFactory) -> "PreTrainedModel":
    """The random policy's trunk under a random head of one number a token."""
    import torch

    from lm.models import load_token_scorer

    folder = tmp_path_factory.mktemp("critic")
    tiny_policy.save_pretrained(folder)
    torch.manual_seed(1)
    critic: Any = load_token_scorer(str(folder), 1)
    torch.nn.init.normal_(critic.score.weight, std=0.3)
    return critic.eval()


@pytest.fixture(scope="session")
def vllm_python() -> str:
    """An interpreter that has vLLM: VLLM_PYTHON, where it is set, or this one."""
    python = os.environ.get("VLLM_PYTHON", sys.executable)
    program = "import importlib.util as u; raise SystemExit(u.find_spec('vllm') is None)"
    if subprocess.run([python, "-c", program]).returncode != 0:
        pytest.skip("vLLM is not installed here, nor is an interpreter that has it named by VLLM_PYTHON")
    return python


@pytest.fixture(scope="session")
def vllm_model(tokenizer: "PreTrainedTokenizerBase", tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Folders of random Llamas, one a seed, with heads that vLLM has kernels for on a CPU (32 wide, at least)."""

    def make(seed: int) -> Path:
        import torch

        from lm.models import ModelConfig, build_causal_lm

        folder = home / str(seed)
        if not folder.exists():
            torch.manual_seed(seed)
            sizes = ModelConfig(
                hidden_size=32, layers=2, heads=1, intermediate_size=64, initializer_range=0.09, max_positions=2048
            )
            build_causal_lm(sizes, tokenizer).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        return folder

    home = tmp_path_factory.mktemp("vllm")
    return make


@pytest.fixture(scope="session")
def vllm_server(vllm_python: str, vllm_model: Callable[[int], Path]) -> "VLLMServer":
    """A running server of ``vllm_model(0)``."""
    from lm.vllm_server import VLLMServer

    return VLLMServer(str(vllm_model(0)), cache_gib=0.1, python=vllm_python)


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[Any]:
    """Two nodes of one CPU, each a raylet with workers of its own, and this process joined to them."""
    ray = pytest.importorskip("ray", reason="Ray is not installed here: pip install 'rung[ray]'")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        # Workers import this repository, and not Ray's usage statistics.
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("OMP_NUM_THREADS", "1")
        head = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
        made = Cluster(initialize_head=True, head_node_args=head)
        made.add_node(num_cpus=1, object_store_memory=100 * 2**20)
        ray.init(address=made.address, log_to_driver=False)
        yield made
        ray.shutdown()
        made.shutdown()
