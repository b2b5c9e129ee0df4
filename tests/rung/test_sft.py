"""rung.sft: from worked solutions to a policy that plain transformers loads."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_ladder import write_gsm8k
from transformers import AutoModelForCausalLM

from lm.engine import Sampling, TransformersEngine
from lm.errors import UserError
from lm.lora import LoRAConfig
from lm.models import ModelConfig, load_causal_lm, load_tokenizer
from lm.optim import OptimConfig
from lm.run import read_metrics
from lm.sft import FitConfig, encode_pairs
from lm.tokenizer import train_tokenizer
from prm.problems import ProblemsConfig, load_problems
from prm.sample import sample_solutions
from rung.sft import SFTConfig, train

SIZES = ModelConfig(hidden_size=48, layers=2, heads=2, intermediate_size=96, vocabulary=300)
PROBLEMS = ProblemsConfig(families=("chain", "word"), levels=(1, 2))


def config(folder: Path, **changes: object) -> SFTConfig:
    fit = FitConfig(steps=150, batch=32, save_every=100, optim=OptimConfig(lr=5e-3, warmup=10))
    settings: dict = {"folder": folder, "problems": PROBLEMS, "examples": 12, "model": SIZES, "fit": fit, "threads": 1}
    return SFTConfig(**settings | changes)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> SFTConfig:
    asked = config(tmp_path_factory.mktemp("sft"))
    train(asked)
    return asked


def test_the_loss_falls(learnt: SFTConfig) -> None:
    rows = read_metrics(learnt.folder)
    assert rows[0]["loss"] == pytest.approx(np.log(len(load_tokenizer(str(learnt.folder / "model")))), rel=0.3)
    assert rows[-1]["loss"] < 0.2
    assert "val_loss" in rows[0]
    assert "val_loss" in rows[-1]


def test_the_policy_writes_what_it_was_shown_and_stops(learnt: SFTConfig) -> None:
    """Twelve solutions are learnt by heart, so each comes back: the prompt, the text and EOS fit together."""
    name = str(learnt.folder / "model")
    tokenizer = load_tokenizer(name)
    engine = TransformersEngine(load_causal_lm(name), tokenizer)
    examples = load_problems(PROBLEMS, "train", 12, stream=1, repeats=True)
    greedy = Sampling(temperature=0, max_tokens=64)
    solved = sample_solutions(engine, tokenizer, [e.problem for e in examples], greedy, 0)
    assert np.mean([s.text == e.solution for (s, _), e in zip(solved, examples, strict=True)]) > 0.9
    assert all(c.finish == "stop" for _, c in solved)


def test_the_saved_tokenizer_cuts_as_the_one_that_was_trained(learnt: SFTConfig) -> None:
    """AutoTokenizer would make another of it beside a Qwen2 model, and two-digit numbers would fall apart."""
    examples = load_problems(PROBLEMS, "train", 12, stream=1, repeats=True)
    trained = train_tokenizer((f"{e.problem.question}\n{e.solution}" for e in examples), SIZES.vocabulary)
    loaded = load_tokenizer(str(learnt.folder / "model"))
    for text in ("12x=48\n", "x=10\n#### 10", "a  b\n\n#### -12/35", "Mia's 1,024 coins.\n"):
        assert loaded(text)["input_ids"] == trained(text)["input_ids"]
        assert loaded.decode(loaded(text)["input_ids"]) == text


def test_plain_transformers_loads_the_weights(learnt: SFTConfig) -> None:
    model = AutoModelForCausalLM.from_pretrained(learnt.folder / "model")
    assert model.dtype == torch.float32
    assert model.config.eos_token_id == load_tokenizer(str(learnt.folder / "model")).eos_token_id
    assert not list((learnt.folder / "model").glob("*.bin"))


def test_a_response_ends_in_eos(learnt: SFTConfig) -> None:
    tokenizer = load_tokenizer(str(learnt.folder / "model"))
    [example] = load_problems(PROBLEMS, "train", 1)
    texts = [(example.problem.question, example.solution or "")]
    [(prompt, response)] = encode_pairs(tokenizer, texts)
    assert tokenizer.decode(prompt) == f"{example.problem.question}\n"
    assert response[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(response[:-1]) == example.solution
    [(prompt, _)] = encode_pairs(tokenizer, texts, "Q: {question} A:")
    assert tokenizer.decode(prompt) == f"Q: {example.problem.question} A:"


def test_fine_tuning_a_model_in_bfloat16(learnt: SFTConfig, tmp_path: Path) -> None:
    start = ModelConfig(path=str(learnt.folder / "model"), dtype="bfloat16")
    train(asked := config(tmp_path / "more", model=start, fit=FitConfig(steps=2, batch=4)))
    assert AutoModelForCausalLM.from_pretrained(asked.folder / "model").dtype == torch.bfloat16
    assert read_metrics(asked.folder)[0]["loss"] < 0.3  # it went on from what it knew


def test_fine_tuning_by_an_adapter(learnt: SFTConfig, tmp_path: Path) -> None:
    start = str(learnt.folder / "model")
    fit = FitConfig(steps=4, batch=4, optim=OptimConfig(lr=1e-2, warmup=1))
    asked = config(tmp_path / "run", model=ModelConfig(path=start), fit=fit, lora=LoRAConfig(rank=2), examples=40)
    train(asked)
    before, after = (load_causal_lm(folder).state_dict() for folder in (start, str(asked.folder / "model")))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.endswith("_proj.weight") for name in changed)
    with pytest.raises(UserError, match=r"give model\.path"):
        train(replace(asked, folder=tmp_path / "new", model=SIZES))


def test_a_new_model_in_bfloat16(tmp_path: Path) -> None:
    train(asked := config(tmp_path / "new", model=replace(SIZES, dtype="bfloat16"), fit=FitConfig(steps=2, batch=4)))
    assert AutoModelForCausalLM.from_pretrained(asked.folder / "model").dtype == torch.bfloat16


def test_from_a_file_to_the_same_bytes(tmp_path: Path) -> None:
    source = ProblemsConfig(source=write_gsm8k(tmp_path / "train.jsonl", 40, 0), validation_fraction=0.2)
    for name in ("a", "b"):
        train(config(tmp_path / name, problems=source, examples=None, fit=FitConfig(steps=3, batch=8)))
    assert (tmp_path / "a/metrics.jsonl").read_bytes() == (tmp_path / "b/metrics.jsonl").read_bytes()


def test_answers_alone_teach_nothing(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps({"question": f"q{i}", "gold_answer": "1"}) + "\n" for i in range(40)))
    with pytest.raises(UserError, match="has no worked solutions to learn from"):
        train(config(tmp_path / "sft", problems=ProblemsConfig(source=str(path))))
