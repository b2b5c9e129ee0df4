"""Tokenizers: lossless on any text, and offsets that agree with counting bytes."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lm.errors import UserError
from lm.models import load_tokenizer
from lm.tokenizer import END, PAD, check_tokenizer, encode, prompt_text, token_ends, train_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

HOSTILE = [
    "12-3\n#### 9",
    "",
    " ",
    "  two  spaces\t\ttabs \n\n lines\r\n",
    "don 't , stop . n't",  # what clean_up_tokenization_spaces would change
    "e\u0301\u0323 naïve ﬁ Å \u200d\u202e\ufeff\u2028",
    "👩‍👩‍👧‍👦🏳️‍🌈 𝔘𝔫𝔦 १२३ ٣ 四",
    "\x00\x01\x7f\x80\x85",
    "1234567/89#### 10",
    "<|end|><|pad|>",
]


@settings(deadline=None, max_examples=150)
@given(text=st.text())
def test_decoding_what_was_encoded_gives_the_text(tokenizer: "PreTrainedTokenizerBase", text: str) -> None:
    assert tokenizer.decode(encode(tokenizer, [text])[0]) == text


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_survives(tokenizer: "PreTrainedTokenizerBase", text: str) -> None:
    assert tokenizer.decode(encode(tokenizer, [text])[0]) == text


def byte_of_character() -> dict[str, int]:
    """GPT-2's printable stand-ins for bytes: printable Latin-1 stands for itself, the rest for U+0100 onwards."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [b for b in range(256) if b not in plain]
    return {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(others)}


WITHOUT_REPLACEMENT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd"))


@settings(deadline=None, max_examples=150)
@given(text=WITHOUT_REPLACEMENT)
@example(text="x²=4 → x=±2 👩‍👧 ok")
def test_token_ends_count_whole_characters(tokenizer: "PreTrainedTokenizerBase", text: str) -> None:
    """Independently: join the bytes of the first tokens and count the characters that are whole in them."""
    if END in text or PAD in text:
        return
    ids = encode(tokenizer, [text])[0]
    table, spelt = byte_of_character(), b""
    expected = []
    for piece in tokenizer.convert_ids_to_tokens(ids):
        spelt += bytes(table[c] for c in piece)
        expected.append(len(spelt.decode("utf-8", errors="ignore")))
    assert token_ends(tokenizer, ids) == (text, expected)


@settings(deadline=None, max_examples=150)
@given(ids=st.lists(st.integers(0, 299), max_size=30))
@example(ids=[0, 0, 1])
@example(ids=list(range(2, 30)))
def test_any_tokens_at_all_have_ends(tokenizer: "PreTrainedTokenizerBase", ids: list[int]) -> None:
    """A bad policy writes bytes that are no UTF-8; what stands is the decoded text but for a tail that never ended."""
    ids = [i % len(tokenizer) for i in ids]
    text, ends = token_ends(tokenizer, ids)
    assert len(ends) == len(ids)
    assert ends == sorted(ends)
    assert (ends or [0])[-1] == len(text)
    assert str(tokenizer.decode(ids, skip_special_tokens=True)).rstrip("\ufffd") == text.rstrip("\ufffd")


def test_special_tokens_leave_no_text(tokenizer: "PreTrainedTokenizerBase") -> None:
    (ids,) = encode(tokenizer, ["8+"])
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    assert token_ends(tokenizer, [*ids, end]) == ("8+", [1, 2, 2])
    assert token_ends(tokenizer, [pad, *ids, end, pad]) == ("8+", [0, 1, 2, 2, 2])
    assert token_ends(tokenizer, []) == ("", [])


def test_arithmetic_is_cut_into_numbers_and_signs(tokenizer: "PreTrainedTokenizerBase") -> None:
    (ids,) = encode(tokenizer, ["13-3+6\n#### 16"])
    assert [tokenizer.decode([i]) for i in ids] == ["13", "-", "3", "+", "6", "\n", "####", " ", "16"]
    (long,) = encode(tokenizer, ["12131415"])
    assert [tokenizer.decode([i]) for i in long] == ["12", "13", "14", "15"]


def test_vocabulary_is_bounded_and_training_repeats(worked: list[tuple[str, str]]) -> None:
    texts = [s for _, s in worked]
    small, large = train_tokenizer(texts, 258), train_tokenizer(texts, 262)
    assert (len(small), len(large)) == (258, 262)
    assert (large.eos_token, large.pad_token) == (END, PAD)
    assert train_tokenizer(texts, 262).get_vocab() == large.get_vocab()
    assert encode(small, ["10"])[0] != encode(large, ["10"])[0]


@pytest.mark.parametrize("beside_a_model", [False, True])
def test_a_saved_tokenizer_is_the_same_one(
    tokenizer: "PreTrainedTokenizerBase", tiny_policy: "PreTrainedModel", tmp_path: Path, beside_a_model: bool
) -> None:
    """Beside a Qwen2 model too, for which AutoTokenizer would put Qwen2's way of cutting words in place of ours."""
    if beside_a_model:
        tiny_policy.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = load_tokenizer(str(tmp_path))
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert encode(loaded, HOSTILE) == encode(tokenizer, HOSTILE)
    assert [loaded.decode(ids) for ids in encode(loaded, HOSTILE)] == HOSTILE
    assert prompt_text(loaded, "1+1") == "1+1\n"
    assert (loaded.eos_token_id, loaded.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)


def test_encode_adds_nothing(tokenizer: "PreTrainedTokenizerBase") -> None:
    assert encode(tokenizer, []) == []
    assert encode(tokenizer, ["", "1"]) == [[], tokenizer("1", add_special_tokens=False)["input_ids"]]


def test_prompts_come_from_the_template_or_the_chat_template(tokenizer: "PreTrainedTokenizerBase") -> None:
    assert prompt_text(tokenizer, "What is {question}?") == "What is {question}?\n"
    assert prompt_text(tokenizer, "1+1", "Q: {question} {x}\nA:") == "Q: 1+1 {x}\nA:"
    with pytest.raises(UserError, match=r"no \{question\} in it"):
        prompt_text(tokenizer, "1+1", "Q: question")


def test_tokenizers_that_cannot_serve_are_refused_or_mended(worked: list[tuple[str, str]]) -> None:
    bare = train_tokenizer([s for _, s in worked], 260)
    bare.chat_template = None
    with pytest.raises(UserError, match="no chat template"):
        prompt_text(bare, "1+1")
    bare.pad_token = None
    assert check_tokenizer(bare, "bare").pad_token_id == bare.eos_token_id
    bare.eos_token = None
    with pytest.raises(UserError, match="'bare' has no EOS token"):
        check_tokenizer(bare, "bare")
