"""The adapters' signatures and what "could not tell" earns; TRL, verl and lm-evaluation-harness where installed."""

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from verifiers import adapters
from verifiers.adapters import lm_eval_results, reward, trl_reward, verl_score
from verifiers.solution import Verdict

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

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


def words_only(*words: str) -> "PreTrainedTokenizerFast":
    """A tokenizer that knows these words and no more."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    ids = {word: number for number, word in enumerate(("<pad>", "<eos>", *words))}
    model = Tokenizer(WordLevel(ids, unk_token="<pad>"))
    model.pre_tokenizer = WhitespaceSplit()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(tokenizer_object=model, pad_token="<pad>", eos_token="<eos>")


@pytest.mark.skipif(importlib.util.find_spec("verl") is None, reason="verl is not installed")
def test_inside_verl() -> None:
    """verl's own loading of a custom reward function by its file, and its naive reward manager's scoring of a batch."""
    import numpy as np
    import torch
    from omegaconf import OmegaConf
    from verl import DataProto
    from verl.trainer.ppo.reward import get_custom_reward_fn
    from verl.workers.reward_manager.naive import NaiveRewardManager

    custom = {"path": adapters.__file__, "name": "verl_score"}
    score = get_custom_reward_fn(OmegaConf.create({"reward": {"custom_reward_function": custom}}))
    tokenizer = words_only("how", *TEXTS)
    responses = torch.tensor([tokenizer.encode(text) for text in TEXTS])
    prompts = torch.full((3, 1), tokenizer.convert_tokens_to_ids("how"))
    batch = DataProto.from_dict(
        {"prompts": prompts, "responses": responses, "attention_mask": torch.ones(3, 2, dtype=torch.long)},
        {
            "reward_model": np.array([{"ground_truth": gold} for gold in GOLDS], dtype=object),
            "data_source": np.array(["math"] * 3, dtype=object),
            "extra_info": np.array([{"question": "?"} for _ in GOLDS], dtype=object),
        },
    )
    scored = NaiveRewardManager(tokenizer, num_examine=0, compute_score=score)(batch, return_dict=True)
    assert scored["reward_tensor"].tolist() == [[1.0], [0.0], [0.0]]
    assert scored["reward_extra_info"]["reason"] == ["match", "mismatch", "unparsable"]


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm-evaluation-harness is not installed")
def test_inside_lm_evaluation_harness(tmp_path: Path) -> None:
    """Its own evaluation of a task whose ``process_results`` is ours, over a model that answers from a list."""
    from lm_eval import simple_evaluate
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import LM
    from lm_eval.api.task import ConfigurableTask

    class Listed(LM):
        def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
            return [TEXTS[int(request.args[0])] for request in requests]

        def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
            raise AssertionError("the task asks for generated text alone")

        def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
            raise AssertionError("the task asks for generated text alone")

    rows = [{"question": str(number), "answer": gold} for number, gold in enumerate(GOLDS)]
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = ConfigurableTask(
        config={
            "task": "ours",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(tmp_path / "test.jsonl")}, "cache_dir": str(tmp_path)},
            "test_split": "test",
            "output_type": "generate_until",
            "doc_to_text": "{{question}}",
            "doc_to_target": "{{answer}}",
            "process_results": lm_eval_results,
            "generation_kwargs": {"until": ["\n"]},
            "metric_list": [
                {"metric": name, "aggregation": "mean", "higher_is_better": name == "exact_match"}
                for name in ("exact_match", "untold")
            ],
        }
    )
    results = simple_evaluate(Listed(), tasks=[task], bootstrap_iters=0, log_samples=False)["results"]["ours"]
    assert results["exact_match,none"] == pytest.approx(1 / 3)
    assert results["untold,none"] == pytest.approx(1 / 3)


@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="trl is not installed")
def test_inside_trl(tmp_path: Path) -> None:
    """GRPOTrainer's own scoring of rewards: a None leaves the sample out (it becomes NaN)."""
    import torch
    from datasets import Dataset
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl import GRPOConfig, GRPOTrainer

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
        processing_class=words_only("3"),
    )
    inputs = [{"prompt": "p", "solution": gold} for gold in GOLDS]
    rewards = trainer._calculate_rewards(inputs, ["p"] * 3, TEXTS, [[2]] * 3)
    assert rewards[:2, 0].tolist() == [1.0, 0.0]
    assert torch.isnan(rewards[2, 0])
