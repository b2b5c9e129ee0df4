"""lm.vllm_server and lm.server_engine: how a server ends, and (where vLLM is) what a real one samples."""

import copy
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from living import HAS_PROC, children, in_session, wait_for

from lm.chat import ChatConfig
from lm.engine import Completion, Sampling
from lm.engines import EngineConfig, open_engine
from lm.errors import UserError
from lm.lora import LoRAConfig, add_adapter, plain_weights
from lm.models import load_causal_lm, load_tokenizer
from lm.server_engine import ServerEngine
from lm.vllm_server import VLLMServer, is_healthy

ROOT = Path(__file__).resolve().parents[2]


def test_a_server_that_cannot_start_says_why_in_a_line(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path)], check=True)  # so without vLLM
    with pytest.raises(UserError, match=r"'some/model' ended \(status 1\): .*No module named .*; its log: ") as error:
        VLLMServer("some/model", python=str(tmp_path / "bin" / "python"))
    assert "\n" not in str(error.value)
    log = Path(str(error.value).rpartition(" ")[2])
    assert "No module named" in log.read_text()  # kept for the user
    log.unlink()
    with pytest.raises(UserError, match=r"rank 512 at most: set engine\.adapters=false"):
        VLLMServer("some/model", rank=600)
    with pytest.raises(UserError, match=r"cannot start .*absent: .*engine\.python"):
        VLLMServer("some/model", python=str(tmp_path / "absent"))


def test_a_server_that_is_joined_takes_no_weights_and_may_be_away(tokenizer: Any, tiny_policy: Any) -> None:
    engine = open_engine(EngineConfig(backend="vllm-server", url="http://127.0.0.1:9/v1"), "m", tokenizer)
    with pytest.raises(UserError, match=r"leave engine\.url out"):
        engine.load_weights(tiny_policy)
    away = ServerEngine(ChatConfig(url="http://127.0.0.1:9/v1", model="m", retries=0), tokenizer)
    with pytest.raises(UserError, match="does not answer"):
        away.generate([[1, 2]], Sampling(), 0)


def gap(model: Any, prompts: list[list[int]], found: list[Completion], temperature: float) -> float:
    """The largest difference between the log-probs of completions and those of a plain pass in float64."""
    exact, n, worst = copy.deepcopy(model).double(), len(found) // len(prompts), 0.0
    for i, completion in enumerate(found):
        prompt, ids = prompts[i // n], list(completion.token_ids)
        with torch.no_grad():
            logits = exact(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
        wanted = torch.log_softmax(logits / temperature, -1)[torch.arange(len(ids)), ids]
        worst = max(worst, float(np.abs(wanted.numpy() - completion.logprobs).max()))
    return worst


@pytest.mark.slow
def test_a_servers_completions_are_those_of_the_weights_it_was_given(
    vllm_server: VLLMServer, vllm_model: Callable[[int], Path]
) -> None:
    tokenizer = load_tokenizer(str(vllm_model(0)))
    prompts = tokenizer(["8+4-3\n", "1+1-0\n", "9+9-12\n", "3+"])["input_ids"]
    endpoint = ChatConfig(url=vllm_server.url, model=vllm_server.name)
    engine = ServerEngine(endpoint, tokenizer, vllm_server)
    sampling, told = Sampling(0.7, max_tokens=24, n=8), list[Any]()
    first, second = (load_causal_lm(str(vllm_model(i))) for i in (0, 1))
    drawn = engine.generate(prompts, sampling, 1, told.append)
    assert gap(first, prompts, drawn, 0.7) < 1e-4
    assert (len(drawn), [len(some) for some in told]) == (32, [1] * 4)  # each prompt as it is done
    assert [c for place in range(4) for some in told for c in some.get(place, ())] == drawn
    assert all((c.finish == "stop") == (c.token_ids[-1] == tokenizer.eos_token_id) for c in drawn)
    assert [c.token_ids for c in engine.generate(prompts, sampling, 1)] == [c.token_ids for c in drawn]
    greedy = engine.generate(prompts, Sampling(0, max_tokens=8, n=2), 1)
    assert all(greedy[i].token_ids == greedy[i + 1].token_ids for i in range(0, 8, 2))

    engine.load_weights(second)
    assert gap(second, prompts, engine.generate(prompts, sampling, 1), 0.7) < 1e-4
    engine.load_weights(first)  # as the other tests expect it
    assert gap(first, prompts, engine.generate(prompts, sampling, 1), 0.7) < 1e-4
    long = [[token] + [1] * 600 for token in range(3, 13)]  # more at once than vLLM reads in a step
    assert gap(first, long, engine.generate(long, Sampling(0.7, max_tokens=4), 1), 0.7) < 1e-4
    with pytest.raises(UserError, match=r"refuses a prompt of 3000 tokens"):
        engine.generate([[1] * 3000], sampling, 1)


@pytest.mark.slow
def test_of_a_policy_with_an_adapter_a_server_gets_the_adapter_alone(
    vllm_python: str, vllm_model: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = str(vllm_model(0))
    tokenizer, policy, merged = load_tokenizer(name), load_causal_lm(name), load_causal_lm(name)
    add_adapter(policy, LoRAConfig(rank=2))
    config = EngineConfig(backend="vllm-server", python=vllm_python, cache_gib=0.1)
    engine: Any = open_engine(config, name, tokenizer, batch=8, model=policy)
    prompts = tokenizer(["8+4-3\n", "1+1-0\n", "9+9-12\n", "3+"])["input_ids"]
    sampling = Sampling(0.7, max_tokens=24, n=8)
    monkeypatch.setattr("lm.server_engine.plain_weights", lambda _: pytest.fail("all the weights were sent"))
    assert gap(merged, prompts, engine.generate(prompts, sampling, 1), 0.7) < 1e-4
    for update in range(3):  # more than vLLM keeps
        for weight_name, weight in policy.named_parameters():
            if ".lora_B." in weight_name:
                torch.nn.init.normal_(weight, std=0.05, generator=torch.Generator().manual_seed(update))
        before = copy.deepcopy(merged)
        engine.load_weights(policy)
        merged.load_state_dict(plain_weights(policy))
        found = engine.generate(prompts, sampling, 1)
        assert gap(merged, prompts, found, 0.7) < 1e-4
        assert gap(before, prompts, found, 0.7) > 0.01


@pytest.mark.slow
def test_a_started_server_ends_with_its_engine_and_its_death_is_one_line(
    vllm_python: str, vllm_model: Callable[[int], Path]
) -> None:
    tokenizer = load_tokenizer(str(vllm_model(0)))
    config = EngineConfig(backend="vllm-server", python=vllm_python, cache_gib=0.1)
    engine: Any = open_engine(config, str(vllm_model(0)), tokenizer, batch=8)
    address, log = engine.server.address, engine.server.log
    assert is_healthy(address)
    assert log.exists()
    keeper = engine.server.process.pid
    assert len(in_session(keeper)) > 2  # the server has an engine in a process of its own
    for server in children(keeper):
        os.kill(server, signal.SIGKILL)
    with pytest.raises(UserError, match=r"ended \(signal 9\): .*; its log: "):
        engine.generate([[1, 2]], Sampling(max_tokens=4), 0)
    assert in_session(keeper) == []
    del engine
    assert log.exists()  # the error named it
    log.unlink()


@pytest.mark.slow
@pytest.mark.skipif(not HAS_PROC, reason="looks in /proc for who is alive")
@pytest.mark.parametrize(("number", "starting"), [(signal.SIGKILL, True), (signal.SIGINT, False)])
def test_a_started_server_outlives_its_parent_in_no_case(
    vllm_python: str, vllm_model: Callable[[int], Path], number: int, starting: bool
) -> None:
    """Killed while the engine loads, or by Ctrl-C while it serves; tests/lm/test_keeper.py has the other ways."""
    program = "import sys, time; from lm.vllm_server import VLLMServer\n"
    program += "server = VLLMServer(sys.argv[1], cache_gib=0.1, python=sys.argv[2])\n"
    program += "print('up', flush=True); time.sleep(600)"
    words = [sys.executable, "-c", program, str(vllm_model(0)), vllm_python]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        assert parent.stdout is not None
        wait_for(lambda: children(parent.pid), 120)
        [keeper] = children(parent.pid)
        if starting:
            wait_for(lambda: len(in_session(keeper)) > 2, 300)
        else:
            assert parent.stdout.readline() == "up\n"
        parent.send_signal(number)
    wait_for(lambda: not in_session(keeper))
