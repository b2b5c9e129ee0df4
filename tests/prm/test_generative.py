"""prm.generative: prompts as the cards have them, verdict probabilities by straight-line code, and no code run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_models import completion, save
from toy_tokenizers import QUESTION, STEPS, qwen
from transformers import Qwen2Config, Qwen2ForCausalLM

import prm
from lm.engine import Completion, Finished, Sampling
from lm.errors import UserError
from prm.formats import FORMATS
from prm.generative import GenerativePRM, verdict_tokens
from verifiers.solution import Problem, Solution
from verifiers.split import split_steps

TOKENIZER = qwen()
PROBLEM = Problem("p", QUESTION, "6")
SOLUTION = Solution(PROBLEM, "\n".join(STEPS[:2]), split_steps("\n".join(STEPS[:2])))


def model() -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"num_key_value_heads": 2, "vocab_size": len(TOKENIZER), "max_position_embeddings": 2048}
    return Qwen2ForCausalLM(Qwen2Config(**sizes, initializer_range=0.3)).eval()


class Writes:
    """An engine whose texts are written down, in the order they are asked for."""

    def __init__(self, *texts: str) -> None:
        self.texts, self.asked = iter(texts), []  # type: ignore[var-annotated]

    def load_weights(self, model: object) -> None:
        raise AssertionError("a text does not learn")

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        seed: int | Sequence[int],
        finished: Finished | None = None,
    ) -> list[Completion]:
        self.asked += [TOKENIZER.decode(ids) for ids in prompts]
        return [completion(TOKENIZER, next(self.texts)) for _ in range(len(prompts) * sampling.n)]


def told_apart(right: str, wrong: str) -> tuple[list[int], int, int]:
    """As this tokenizer cuts boxed verdicts: two tokens that both begin with, then the brace with the word."""
    first, second, *words = TOKENIZER.convert_tokens_to_ids(["\\", "boxed", f"{{{right}", f"{{{wrong}"])
    assert TOKENIZER.unk_token_id not in words
    return [first, second], words[0], words[1]


def encode(*pieces: str) -> list[int]:
    return [i for piece in pieces for i in TOKENIZER(piece, add_special_tokens=False)["input_ids"]]


def test_thinkprm() -> None:
    lm = model()
    critique = "\nStep 1: fine. It is \\boxed{correct}\nStep 2: no. It is \\boxed{incorrect}\nDone \\boxed{correct}"
    engine = Writes(critique)
    sampling = Sampling(temperature=0, max_tokens=64)
    [scores] = GenerativePRM(lm, TOKENIZER, FORMATS["thinkprm"], engine, sampling=sampling).score([SOLUTION])
    asked = (
        "You are given a math problem and a proposed step-by-step solution:\n\n[Math Problem]\n\n"
        f"{QUESTION}\n\n[Solution]\n\nStep 1: {STEPS[0]}\nStep 2: {STEPS[1]}\n\nReview and critique each step in the "
        "proposed solution to determine whether each step is correct. If the solution is incomplete, only verify the "
        "provided steps\n"
    )
    prompt = f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n\nLet's verify step by step:"
    assert engine.asked == [prompt]
    lead, right, wrong = told_apart("correct", "incorrect")
    assert verdict_tokens(TOKENIZER, ("correct", "incorrect")) == (lead, right, wrong)
    box = "\\boxed"
    first = critique.index("\\boxed{")
    second = critique.index("\\boxed{", first + 1)
    one = [*encode(prompt + critique[:first]), *lead]
    two = [*one, *encode(critique[first + len(box) : second]), *lead]
    with torch.no_grad():
        expected = [float(lm(torch.tensor([ids])).logits[0, -1, [right, wrong]].softmax(0)[0]) for ids in (one, two)]
    np.testing.assert_allclose(scores.probabilities, expected, atol=1e-5)
    assert scores.unsaid == ()


def test_a_critique_that_stops_early_leaves_steps_unsaid() -> None:
    lm, sampling = model(), Sampling(max_tokens=64, n=2)
    engine = Writes("Step 1: \\boxed{incorrect}", "I cannot tell. os.system('rm -rf /') \\boxed{maybe}")
    [scores] = GenerativePRM(lm, TOKENIZER, FORMATS["thinkprm"], engine, sampling=sampling).score([SOLUTION])
    assert scores.unsaid == (1,)
    assert scores.probabilities[1] == 0.5
    assert scores.probabilities[0] != 0.5


def test_genprm() -> None:
    lm = model()
    texts = [
        "it is 9.</analyze>\n<verify>\n```python\nopen('/never', 'w')\n```",
        "9 - 3 = 6, fine.</analyze>\n<output>",
    ]
    engine = Writes(*texts)
    sampling = Sampling(temperature=0, max_tokens=64)
    [scores] = GenerativePRM(lm, TOKENIZER, FORMATS["genprm"], engine, sampling=sampling).score([SOLUTION])
    system = "You are a math teacher. Your task is to review and critique the paragraphs in solution step by step."
    talk = f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{QUESTION}\n{STEPS[0]}<|im_end|>\n"
    talk += "<|im_start|>assistant\n"
    lead, right, wrong = told_apart("Yes", "No")
    expected = []
    for number, said in enumerate(("it is 9.", "9 - 3 = 6, fine."), 1):
        start = f"<analyze>\nLet's analyze the Paragraph {number} step by step: "
        assert engine.asked[number - 1] == talk + start
        body = f"{start}{said}</analyze>\n<output>\n**Judgement**: $"
        ids = [*encode(talk + body), *lead]
        with torch.no_grad():
            expected.append(float(lm(torch.tensor([ids])).logits[0, -1, [right, wrong]].softmax(0)[0]))
        verdict = "Yes" if expected[-1] >= 0.5 else "No"
        talk += f"{body}\\boxed{{{verdict}}}$\n</output>\n<|im_end|>\n"
        if number == 1:
            talk += f"<|im_start|>user\n{STEPS[1]}<|im_end|>\n<|im_start|>assistant\n"
    np.testing.assert_allclose(scores.probabilities, expected, atol=1e-5)


def test_from_a_folder_with_its_own_engine(tmp_path: Path) -> None:
    path = save(model(), TOKENIZER, tmp_path / "ThinkPRM-1.5B")
    scorer = prm.load(path, critique_tokens=16)
    [a, none] = scorer.score([SOLUTION, Solution(PROBLEM, "", ())])
    assert a.probabilities.shape == (2,)
    assert none.probabilities.shape == (0,)
    [again] = prm.load(path, critique_tokens=16).score([SOLUTION])
    np.testing.assert_array_equal(a.probabilities, again.probabilities)
    with pytest.raises(UserError, match=r"solution 'p' and its critique need \d+ tokens, the model reads 2048"):
        prm.load(path, critique_tokens=4000).score([SOLUTION])
