"""Prompts as data: how a mathematical question is put to a chat model, to a model in its own template, to a base model.

The published ones are given letter for letter: Qwen2.5-Math's (its repository's evaluation, ``qwen25-math-cot``), and
those of Meta's evaluations of Llama 3.1 Instruct on MATH and GSM8K.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lm.errors import UserError
from lm.tokenizer import prompt_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Prompt:
    """``text`` with {question} in it, as a user's message (``chat``) or as all that a model is given.

    ``stop`` are texts at which an answer is over: a base model goes on with questions of its own.
    """

    text: str
    chat: bool = False
    stop: tuple[str, ...] = ()


BOXED = "Please reason step by step, and put your final answer within \\boxed{}."
_LLAMA = "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
_LLAMA += "<|start_header_id|>assistant<|end_header_id|>\n\n"
_LLAMA_MATH = """Solve the following math problem efficiently and clearly:

- For simple problems (2 steps or fewer):
Provide a concise solution with minimal explanation.

- For complex problems (3 steps or more):
Use this step-by-step format:

## Step 1: [Concise description]
[Brief explanation and calculations]

## Step 2: [Concise description]
[Brief explanation and calculations]

...

Regardless of the approach, always conclude with:

Therefore, the final answer is: $\\boxed{answer}$. I hope it is correct.

Where [answer] is just the final number or expression that solves the problem.

Problem: {question}"""
_LLAMA_GSM8K = """Given the following problem, reason and give a final answer to the problem.
Problem: {question}
Your response should end with "The final answer is [answer]" where [answer] is the response to the problem."""
_SHOTS = (  # written for Rung
    (
        "A baker fills 6 trays with 8 rolls each and sells 31 rolls. How many rolls are left?",
        "The trays hold 6 * 8 = 48 rolls. After the sale 48 - 31 = 17 rolls are left. The answer is 17.",
    ),
    (
        "What is the sum of the solutions of $x^2 - 7x + 10 = 0$?",
        "The quadratic factors as $(x - 2)(x - 5) = 0$, so $x = 2$ or $x = 5$. Their sum is $2 + 5 = 7$. "
        "The answer is $7$.",
    ),
    (
        "A train covers 150 km in 2.5 hours. At the same speed, how long does it take for 90 km?",
        "Its speed is 150 / 2.5 = 60 km an hour. For 90 km it takes 90 / 60 = 1.5 hours. The answer is 1.5.",
    ),
    (
        "Two fair dice are rolled. What is the probability that the numbers are equal?",
        "There are 36 outcomes, and in 6 of them the numbers are equal. The probability is "
        "$\\frac{6}{36} = \\frac{1}{6}$. The answer is $\\frac{1}{6}$.",
    ),
)


def few_shot(shots: Sequence[tuple[str, str]]) -> Prompt:
    """Worked examples (question, solution), then the question: for models that were never taught to chat."""
    worked = "".join(f"Question: {question}\nAnswer: {solution}\n\n" for question, solution in shots)
    return Prompt(f"{worked}Question: {{question}}\nAnswer:", stop=("\nQuestion:",))


PROMPTS: Mapping[str, Prompt] = {
    "plain": Prompt("{question}", chat=True),
    "boxed": Prompt(f"{{question}}\n{BOXED}", chat=True),
    "qwen2.5-math": Prompt(
        f"<|im_start|>system\n{BOXED}<|im_end|>\n<|im_start|>user\n{{question}}<|im_end|>\n<|im_start|>assistant\n"
    ),
    "llama3-math": Prompt(_LLAMA.replace("{}", _LLAMA_MATH)),
    "llama3-gsm8k": Prompt(_LLAMA.replace("{}", _LLAMA_GSM8K)),
    "base": few_shot(()),
    "few-shot": few_shot(_SHOTS),
}


def find_prompt(name: str) -> Prompt:
    """The prompt of that name, or, where it has {question} in it, that text as all that a model is given."""
    if name in PROMPTS:
        return PROMPTS[name]
    if "{question}" in name:
        return Prompt(name)
    near = difflib.get_close_matches(name, PROMPTS, 1)
    hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(PROMPTS)}, or a text with {{question}} in it"
    raise UserError(f"no prompt {name!r}; {hint}")


def render(prompt: Prompt, tokenizer: "PreTrainedTokenizerBase", question: str) -> str:
    """The text that a model goes on from. What is not a chat begins with BOS where the tokenizer would put one."""
    if prompt.chat:
        return prompt_text(tokenizer, prompt.text.replace("{question}", question))
    text = prompt.text.replace("{question}", question)
    begins = list(tokenizer("")["input_ids"])[:1]
    bos = tokenizer.bos_token if tokenizer.bos_token_id is not None and begins == [tokenizer.bos_token_id] else ""
    return text if text.startswith(str(bos)) else f"{bos}{text}"
