"""The ladder on GSM8K with a pretrained Qwen2: its real loading path, on a small random one saved to disk."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from toy_ladder import ROOT, read_json, write_gsm8k
from transformers import AutoConfig, PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

from lm.checkpoint import save_model
from lm.config import load, to_yaml
from lm.models import load_tokenizer
from lm.optim import OptimConfig, make_optimizer, optimizer_step
from lm.run import read_metrics
from lm.sft import encode_pairs
from lm.tokenizer import encode, prompt_text, token_ends
from prm.problems import load_problems
from rung.cli import main
from rung.ladder import Ladder, stage
from rung.sft import train

CONFIGS = ROOT / "configs" / "gsm8k"
SHARED = ROOT.parent / "shared" / "data" / "gsm8k" / "train.jsonl.gz"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# How Qwen2 cuts text into words before it merges bytes.
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Qwen2.5's template without its tools: a system turn, the messages, and the opening of the answer.
TEMPLATE = (
    "{%- if messages[0]['role'] != 'system' -%}"
    "{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}{%- endif -%}"
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


def qwen_tokenizer(texts: list[str], eos: str) -> PreTrainedTokenizerBase:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet))
    model = json.loads(bpe.to_str())["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    tokenizer = Qwen2Tokenizer(vocab=model["vocab"], merges=merges, eos_token=eos, pad_token="<|endoftext|>")
    tokenizer.add_tokens(SPECIAL, special_tokens=True)
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def save_qwen(folder: Path, texts: list[str], eos: str = "<|endoftext|>") -> str:
    """As Qwen2.5-0.5B is on the hub: grouped-query attention, tied embeddings, more rows in them than tokens, bf16."""
    tokenizer = qwen_tokenizer(texts, eos)
    config = Qwen2Config(
        vocab_size=len(tokenizer) + 13,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        max_position_embeddings=1024,
        eos_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        bos_token_id=None,
    )
    torch.manual_seed(0)
    save_model(folder, Qwen2ForCausalLM(config).to(torch.bfloat16))
    tokenizer.save_pretrained(folder)
    return str(folder)


def rows_of(path: str) -> list[str]:
    return [row["question"] + "\n" + row["answer"] for row in map(json.loads, Path(path).read_text().splitlines())]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("data")
    return write_gsm8k(folder / "train.jsonl", 60, 0), write_gsm8k(folder / "test.jsonl", 8, 1)


def overrides(folder: Path, model: str, train: str, test: str) -> list[str]:
    """The real config at a size of seconds."""
    labels = folder / "labels"
    sampling = {"n": 2, "max_tokens": 24}
    sizes: dict[str, Any] = {
        "folder": folder,
        "threads": 1,
        "problems.source": train,
        "problems.test_source": test,
        "problems.validation_fraction": 0.3,
        "sft.model.path": model,
        "sft.fit.steps": 6,
        "sft.fit.batch": 4,
        "sft.fit.optim.lr": 0.003,
        "label.train_problems": 8,
        "label.test_problems": 4,
        "label.rollouts": 2,
        "prm.data.train": f"[{labels}/train.monte_carlo.jsonl]",
        "prm.data.test": f"[{labels}/test.monte_carlo.jsonl, {labels}/test.symbolic.jsonl]",
        "prm.fit.steps": 2,
        "prm.fit.batch": 4,
        "ppo.problems_per_step": 4,
        "ppo.steps": 2,
        "ppo.eval_problems": 4,
        "ppo.minibatches": 2,
        "eval.count": 6,
    }
    sizes |= {f"{verb}.sampling.{k}": v for verb in ("label", "ppo", "eval") for k, v in sampling.items()}
    return [f"{name}={value}" for name, value in sizes.items()]


def check(folder: Path, dtype: str, arms: int = 3) -> None:
    for model in ("sft", "ppo-process", "ppo-outcome"):
        assert AutoConfig.from_pretrained(folder / model / "model").dtype == getattr(torch, dtype)
        assert load_tokenizer(str(folder / model / "model")).chat_template == TEMPLATE
    assert AutoConfig.from_pretrained(folder / "prm/model").dtype == getattr(torch, dtype)
    assert len(read_metrics(folder / "ppo-process")) == 2
    summary = read_json(folder / "eval/summary.json")
    assert len(summary["arms"]) == arms
    assert all(0 <= arm["greedy"]["mean"] <= 1 for arm in summary["arms"])
    assert (folder / "report.html").is_file()
    assert read_json(folder / "labels/summary.json")["solutions"] == 24


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_every_stage_on_a_pretrained_qwen2(dtype: str, sources: tuple[str, str], tmp_path: Path) -> None:
    model = save_qwen(tmp_path / "qwen", rows_of(sources[0]))
    words = overrides(tmp_path / "run", model, *sources)
    assert main(["demo", str(CONFIGS / "qwen0.5b.yaml"), *words, f"dtype={dtype}"]) == 0
    check(tmp_path / "run", dtype)


@pytest.mark.slow
def test_every_stage_on_twenty_real_problems(tmp_path: Path) -> None:
    if not SHARED.is_file():
        pytest.skip(f"{SHARED} is not here: GSM8K's training problems are not part of the repository")
    with gzip.open(SHARED, "rt", encoding="utf-8") as lines:
        rows = [next(lines) for _ in range(26)]
    (tmp_path / "train.jsonl").write_text("".join(rows[:20]))
    (tmp_path / "held.jsonl").write_text("".join(rows[20:]))
    model = save_qwen(tmp_path / "qwen", rows)
    words = overrides(tmp_path / "run", model, f"{tmp_path}/train.jsonl", f"{tmp_path}/held.jsonl")
    assert main(["demo", str(CONFIGS / "qwen0.5b.yaml"), *words]) == 0
    check(tmp_path / "run", "bfloat16")


def test_each_stage_by_its_own_verb(sources: tuple[str, str], tmp_path: Path) -> None:
    """The tiny config, one verb after the other, its overrides named as the verb's own keys are."""
    config, labels = str(CONFIGS / "tiny.yaml"), tmp_path / "labels"
    source = [f"problems.source={sources[0]}", "problems.validation_fraction=0.3", "threads=1"]
    policy, prm = f"{tmp_path}/sft/model", f"{tmp_path}/prm/model"
    sampling = ["sampling.n=2", "sampling.max_tokens=24"]
    label_files = [f"data.train=[{labels}/train.monte_carlo.jsonl]", f"data.test=[{labels}/test.monte_carlo.jsonl]"]
    few = ["steps=1", "problems_per_step=4", "eval_problems=4"]
    fit = ["threads=1", "fit.steps=3", "fit.batch=4"]
    held = [f"policies={{SFT: {policy}}}", f"problems.test_source={sources[1]}", "count=4"]
    stages = [
        ["sft", f"folder={tmp_path}/sft", *source, *fit, "model.vocabulary=400"],
        ["label", f"folder={labels}", f"policy={policy}", *source, *sampling, "train_problems=6", "test_problems=4"],
        ["prm", f"folder={tmp_path}/prm", f"model.path={policy}", *fit, *label_files],
        ["ppo", f"folder={tmp_path}/ppo-process", f"policy={policy}", f"prm={prm}", *source, *sampling, *few],
        ["eval", f"folder={tmp_path}/eval", f"prm={prm}", *source, *sampling, *held],
        ["report", f"folder={tmp_path}"],
    ]
    for verb, *words in stages:
        assert main([verb, config, *words]) == 0, verb
    assert (tmp_path / "report.html").is_file()
    prm_summary = read_json(tmp_path / "prm/summary.json")
    assert prm_summary["auc"] is None  # this policy solves nothing, so all its Monte Carlo labels are 0


@pytest.mark.parametrize("eos", ["<|endoftext|>", "<|im_end|>"])
def test_the_prompt_and_the_end_of_an_answer(eos: str, sources: tuple[str, str], tmp_path: Path) -> None:
    """Of the base model and of the instructed one: the answer follows the assistant's opening and ends in its EOS."""
    tokenizer = load_tokenizer(save_qwen(tmp_path / "qwen", rows_of(sources[0]), eos))
    assert tokenizer.eos_token == eos
    words = [f"problems.source={sources[0]}", "problems.validation_fraction=0.3"]
    config = stage(load(Ladder, CONFIGS / "qwen0.5b.yaml", words), "sft")
    example = load_problems(config.problems, "train", 1)[0]
    [(prompt, response)] = encode_pairs(tokenizer, [(example.problem.question, example.solution or "")], config.prompt)
    opening = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    assert tokenizer.decode(prompt) == f"{opening}{example.problem.question}<|im_end|>\n<|im_start|>assistant\n"
    assert prompt.count(tokenizer.convert_tokens_to_ids("<|im_start|>")) == 3
    assert response[-1] == tokenizer.convert_tokens_to_ids(eos)
    text, ends = token_ends(tokenizer, response)
    assert text == example.solution  # the EOS is no text
    assert ends[-1] == ends[-2] == len(text)
    assert encode(tokenizer, [prompt_text(tokenizer, example.problem.question)]) == [prompt]


def test_steps_too_small_for_bfloat16_are_not_lost() -> None:
    """A thousand steps of 1e-5 from 1 end at 0.99, though the bfloat16 below 1 is 0.996; and Adam alone stays at 1."""
    ends = []
    for optimizer_of in (lambda m: make_optimizer(m, OptimConfig(lr=1e-5, weight_decay=0.0)), plain_adamw):
        model = torch.nn.Linear(1, 1, bias=False).to(torch.bfloat16)
        model.weight.data.fill_(1.0)
        optimizer = optimizer_of(model)
        for _ in range(1000):
            model.weight.grad = torch.ones_like(model.weight)
            optimizer_step(model, optimizer, OptimConfig(), 1e-5)
        assert model.weight.dtype == torch.bfloat16
        ends.append(model.weight.item())
    assert ends == [pytest.approx(0.99, abs=0.003), 1.0]


def plain_adamw(model: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.0)


def test_a_bfloat16_run_resumes_to_the_same_metrics(sources: tuple[str, str], tmp_path: Path) -> None:
    model = save_qwen(tmp_path / "qwen", rows_of(sources[0]))
    words = [*overrides(tmp_path, model, *sources), "sft.fit.save_every=3", "sft.fit.optim.schedule=constant"]
    config = load(Ladder, CONFIGS / "qwen0.5b.yaml", words)
    whole = replace(stage(config, "sft"), folder=tmp_path / "whole")
    train(whole)
    half = replace(whole, folder=tmp_path / "half")
    train(replace(half, fit=replace(half.fit, steps=3)))
    (tmp_path / "half/config.yaml").write_text(to_yaml(half))  # as an interrupted run of all its steps leaves it
    train(replace(half, resume=True))
    metrics = [
        [{k: v for k, v in row.items() if k != "val_loss"} for row in read_metrics(run.folder)] for run in (whole, half)
    ]
    assert metrics[0] == metrics[1]
