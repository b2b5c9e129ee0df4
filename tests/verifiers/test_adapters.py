"""The adapters' signatures and what "could not tell" earns; TRL's own reward machinery where it is installed."""

import importlib.util
from pathlib import Path

import pytest

from verifiers.adapters import lm_eval_results, reward, trl_reward, verl_score
from verifiers.solution import Verdict

TEXTS = ["\\boxed{3}", "\\boxed{4}", "\\boxed{\\strange}"]
GOLDS = ["3", "3", "3"]


def test_reward() -> None:
    assert reward(Verdict(True, "3", "match")) == 1.0
    assert reward(Verdict(False, "4", "mismatch"), unknown=0.5) == 0.0
    assert reward(Verdict(False, None, "no answer"), unknown=0.5) == 0.5


def test_trl_signature() -> None:
    chats = [[{"role": "assistant", "content": text}] for text in TEXTS]
    assert trl_reward()(completions=chats, solution=GOLDS, prompts=["p"] * 3, trainer_state=None) == [1.0, 0.0, None]
    assert trl_reward(unknown=0.0, column="answer")(TEXTS, answer=GOLDS) == [1.0, 0.0, 0.0]


def test_verl_signature() -> None:
    assert verl_score("gsm8k", "Answer: 3", "3") == {"score": 1.0, "acc": 1.0, "reason": "match"}
    question = {"question": "Pick one. (A) 3 (B) 4"}
    assert verl_score("aqua", "The answer is 4", "B", question)["score"] == 1.0
    assert verl_score("gsm8k", "", "3") == {"score": 0.0, "acc": 0.0, "reason": "no answer"}


def test_lm_eval_signature() -> None:
    assert lm_eval_results({"question": "?", "answer": "#### 3"}, ["So it is 3."]) == {
        "exact_match": 1.0,
        "untold": 0.0,
    }
    assert lm_eval_results({"target": "3"}, [""]) == {"exact_match": 0.0, "untold": 1.0}


@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="trl is not installed")
def test_inside_trl(tmp_path: Path) -> None:
    """GRPOTrainer's own scoring of rewards: a None leaves the sample out (it becomes NaN)."""
    import torch
    from datasets import Dataset
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from trl import GRPOConfig, GRPOTrainer

    words = {"<pad>": 0, "<eos>": 1, "3": 2}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="<pad>")), pad_token="<pad>", eos_token="<eos>"
    )
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=3, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
    )
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=[trl_reward()],
        args=GRPOConfig(
            output_dir=str(tmp_path), report_to=[], use_cpu=True, num_generations=2, per_device_train_batch_size=2
        ),
        train_dataset=Dataset.from_list([{"prompt": "3", "solution": "3"}]),
        processing_class=tokenizer,
    )
    inputs = [{"prompt": "p", "solution": gold} for gold in GOLDS]
    rewards = trainer._calculate_rewards(inputs, ["p"] * 3, TEXTS, [[2]] * 3)
    assert rewards[:2, 0].tolist() == [1.0, 0.0]
    assert torch.isnan(rewards[2, 0])
