"""rung plan: parameters against transformers' own count, activations against autograd's, memory against real runs."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForTokenClassification, Qwen2Config, Qwen2ForCausalLM

from lm.errors import UserError
from lm.lora import LoRAConfig
from lm.models import make_trainable
from lm.run import read_metrics
from lm.tokenizer import train_tokenizer
from rl.chosen import CHUNK
from rl.config import RLConfig
from rung.cli import main
from rung.planning.cost import LOGIT_ROWS, activation_bytes, engine_split, forward_flops, peak
from rung.planning.plan import PlanConfig, advice, make_plan, read_run, workload
from rung.planning.shapes import KNOWN, MACHINES, Shape, read_shape, shape_of

ROOT = Path(__file__).resolve().parents[2]
SIZES = {
    "vocab_size": 512, "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 3, "num_attention_heads": 8,
    "num_key_value_heads": 2,
}  # fmt: skip


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("config", "model"), [(LlamaConfig, LlamaForCausalLM), (Qwen2Config, Qwen2ForCausalLM)])
def test_parameters_are_transformers_count(config: type, model: type, tied: bool) -> None:
    built = model(config(**SIZES, tie_word_embeddings=tied))
    shape = read_shape(built.config.to_dict(), "it")
    assert shape.parameters == built.num_parameters()
    assert shape.trunk == built.model.num_parameters()


def test_an_adapters_parameters_are_pefts_count() -> None:
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    shape = read_shape(model.config.to_dict(), "it")
    make_trainable(model, LoRAConfig(rank=4), gradient_checkpointing=False)
    assert shape.adapter(4) == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_the_known_shapes_have_the_parameters_on_their_cards() -> None:
    billions = {name.split("/")[1]: shape.parameters / 1e9 for name, shape in KNOWN.items()}
    assert billions["Qwen2.5-0.5B"] == pytest.approx(0.494, abs=0.001)
    assert billions["Qwen2.5-7B"] == pytest.approx(7.616, abs=0.001)
    assert billions["Llama-3.1-8B"] == pytest.approx(8.030, abs=0.001)
    assert billions["Llama-3.1-70B"] == pytest.approx(70.55, abs=0.01)
    assert shape_of("Qwen/Qwen2.5-Math-7B-Instruct") == KNOWN["Qwen/Qwen2.5-7B"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_activations_are_what_autograd_keeps(dtype: torch.dtype) -> None:
    """Bytes of the tensors saved by three layers less those of one, every storage once."""

    def kept(layers: int) -> int:
        model = LlamaForCausalLM(LlamaConfig(**SIZES | {"num_hidden_layers": layers})).to(dtype)
        weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
        saved: dict[int, tuple[int, torch.Tensor]] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                saved[storage.data_ptr()] = storage.nbytes(), tensor  # the tensor, so that its place is not used again
            return tensor

        attention = torch.ones(4, 48, dtype=torch.long)
        attention[0, :3] = 0
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model.model(input_ids=torch.ones(4, 48, dtype=torch.long), attention_mask=attention, use_cache=False)
        return sum(size for size, _ in saved.values())

    shape = read_shape(LlamaConfig(**SIZES).to_dict(), "it")
    found = (kept(3) - kept(1)) / 2 / (4 * 48)
    assert activation_bytes(shape, dtype.itemsize, 48) == pytest.approx(found, rel=0.01)


def test_flops_by_hand() -> None:
    """One layer of width 2, MLP 3, one head of 2, vocabulary 5: weights 4·4 + 3·6 + 2·2 + 2 = 40 a token."""
    shape = Shape(1, 2, 3, 1, 1, 2, 5, True, False)
    assert shape.multiplied == 40
    assert forward_flops(shape, tokens=10, width=4) == 2 * 40 * 10 + 2 * 2 * 4 * 10
    assert forward_flops(shape, 10, 4, heads=3) - forward_flops(shape, 10, 4) == 2 * 5 * 2 * 3


def run_file(path: Path, **keys: object) -> Path:
    path.write_text(yaml.safe_dump(keys), encoding="utf-8")
    return path


def save_models(folder: Path, name: str, **sizes: int) -> dict[str, str]:
    """A policy and a PRM of a size, with one small tokenizer."""
    tokenizer = train_tokenizer(["3+4-2", "7-2", "#### 5", "+-*/=0123456789"], 260)
    common = {"tie_word_embeddings": True, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    torch.manual_seed(0)
    for part, kind, more in (("policy", LlamaForCausalLM, {}), ("prm", LlamaForTokenClassification, {"num_labels": 2})):
        config = LlamaConfig(**sizes, **common, **more, pad_token_id=tokenizer.pad_token_id)
        kind(config).save_pretrained(folder / name / part)
        tokenizer.save_pretrained(folder / name / part)
    return {"policy": str(folder / name / "policy"), "prm": str(folder / name / "prm")}


def peak_of_a_run(config: Path) -> int:
    """Bytes. What is freed goes back to the system (MALLOC_MMAP_THRESHOLD_), as a GPU's caching allocator has it
    counted; glibc would keep it."""
    code = "import sys; from rung.cli import main; main(['rl', sys.argv[1]]); print(open('/proc/self/status').read())"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(config)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stdout.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("estimator", ["gae", "group"])
def test_planned_memory_is_within_15_percent_of_a_real_runs(tmp_path: Path, estimator: str) -> None:
    keys = {
        "sampling": {"n": 4, "max_tokens": 48}, "problems_per_step": 8, "steps": 2, "micro_tokens": 1024, "epochs": 1,
        "minibatches": 1, "pool": 50, "eval_every": 0, "save_every": 0, "threads": 1,
        "advantage": {"estimator": estimator, "whiten": False},
    }  # fmt: skip
    big = save_models(tmp_path, "big", vocab_size=8192, hidden_size=256, intermediate_size=1024, num_hidden_layers=6,
                      num_attention_heads=4, num_key_value_heads=4)  # fmt: skip
    small = save_models(tmp_path, "small", **SIZES | {"num_hidden_layers": 1})
    one = run_file(tmp_path / "big.yaml", **keys, **big, folder=str(tmp_path / "run"))
    none = run_file(tmp_path / "small.yaml", **keys | {"micro_tokens": 64}, **small, folder=str(tmp_path / "none"))
    measured = peak_of_a_run(one) - peak_of_a_run(none)  # what Python and its packages take cancels
    length = round(read_metrics(tmp_path / "run")[0]["response_length"])
    plan = make_plan(read_run(one), PlanConfig(config=one, prompt_tokens=35, response_tokens=length))
    phase, planned = peak(plan.parts)
    assert phase == "learn"
    assert planned == pytest.approx(measured, rel=0.15)


def test_logits_are_made_in_pieces_of_the_learners_size() -> None:
    assert LOGIT_ROWS == CHUNK


def test_what_does_not_fit_says_what_to_change(tmp_path: Path) -> None:
    path = run_file(tmp_path / "it.yaml", policy="Qwen/Qwen2.5-7B", prm="Qwen/Qwen2.5-7B", dtype="bfloat16")
    config = PlanConfig(config=path, gpus=1, gpu="h100")
    run = read_run(path)
    first, *_ = advice(make_plan(run, config), workload(run, config), config)
    assert first.startswith("does not fit")
    assert "more gpus" in first
    many = replace(config, gpus=8)
    assert advice(make_plan(run, many), workload(run, many), many)[0].startswith("fits")


def test_an_engine_spans_as_many_accelerators_as_its_weights_need() -> None:
    anything = PlanConfig(config=Path("x"))
    work = replace(workload(RLConfig(), anything), bytes=2)
    assert engine_split(KNOWN["Qwen/Qwen2.5-7B"], work, MACHINES["h100"], 8) == 1  # 15 GB
    assert engine_split(KNOWN["meta-llama/Llama-3.1-70B"], work, MACHINES["h100"], 64) == 8  # 141 / 8 = 18 < 32 GB


def test_the_verb_prints_both_tables_and_names_a_missing_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(ROOT / "configs/gsm8k/qwen0.5b.yaml"), "gpus=2"]) == 0
    out = capsys.readouterr().out
    assert "KV cache" in out
    assert "bottleneck" in out
    assert main(["plan", str(ROOT / "configs/rl/grpo.yaml")]) == 2
    assert "give model=NAME" in capsys.readouterr().err
    with pytest.raises(UserError, match="rollouts an update"):
        make_plan(RLConfig(), PlanConfig(config=tmp_path, gpus=100, model="Qwen/Qwen2.5-0.5B"))
