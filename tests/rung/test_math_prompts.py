"""Prompts against the chat templates that they spell out, and what a base model is given."""

import pytest
from toy_tokenizers import llama3, qwen

from lm.errors import UserError
from rung.math_prompts import BOXED, PROMPTS, Prompt, few_shot, find_prompt, render

QUESTION = "How many {question}s are 5 + 4?"


def test_qwens_prompt_is_its_template_with_a_system_message() -> None:
    messages = [{"role": "system", "content": BOXED}, {"role": "user", "content": QUESTION}]
    expected = qwen().apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert render(PROMPTS["qwen2.5-math"], qwen(), QUESTION) == expected


@pytest.mark.parametrize(("name", "end"), [("llama3-math", f"Problem: {QUESTION}"), ("llama3-gsm8k", "the problem.")])
def test_llamas_prompts_are_a_users_message_in_its_template(name: str, end: str) -> None:
    said = render(PROMPTS[name], llama3(), QUESTION)
    message = said.partition("user<|end_header_id|>\n\n")[2].partition("<|eot_id|>")[0]
    assert QUESTION in message
    assert message.endswith(end)
    messages = [{"role": "user", "content": message}]
    assert said == llama3().apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def test_a_chat_prompt_goes_through_the_tokenizers_template() -> None:
    said = render(PROMPTS["boxed"], qwen(), QUESTION)
    assert said == f"<|im_start|>user\n{QUESTION}\n{BOXED}<|im_end|>\n<|im_start|>assistant\n"
    assert render(PROMPTS["plain"], qwen(), "5 + 4") == "<|im_start|>user\n5 + 4<|im_end|>\n<|im_start|>assistant\n"


def test_a_base_model_gets_worked_examples() -> None:
    assert few_shot([("1+1?", "It is 2.")]) == Prompt(
        "Question: 1+1?\nAnswer: It is 2.\n\nQuestion: {question}\nAnswer:", stop=("\nQuestion:",)
    )
    said = render(PROMPTS["few-shot"], qwen(), QUESTION)
    assert said.count("Question: ") == 5
    assert said.endswith(f"\n\nQuestion: {QUESTION}\nAnswer:")
    assert render(PROMPTS["base"], qwen(), "Q") == "Question: Q\nAnswer:"


def test_bos_stands_first_once_where_the_tokenizer_puts_one() -> None:
    from toy_tokenizers import mistral

    assert render(PROMPTS["base"], mistral(), "Q") == "<s>Question: Q\nAnswer:"
    assert render(Prompt("<s>{question}"), mistral(), "Q") == "<s>Q"


def test_a_prompt_is_a_name_or_a_text() -> None:
    assert find_prompt("base") is PROMPTS["base"]
    assert find_prompt("Q: {question} A:") == Prompt("Q: {question} A:")
    with pytest.raises(UserError, match=r"no prompt 'boxd'; did you mean boxed\?"):
        find_prompt("boxd")
    with pytest.raises(UserError, match=r"one of plain, boxed, .* or a text with \{question\} in it"):
        find_prompt("zzz")
