"""Tokenizers: train a byte-level BPE from scratch, encode prompts, and say which characters each token made."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lm.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

END, PAD = "<|end|>", "<|pad|>"
# What a from-scratch model sees: the question, a line break, the solution. Any chat model's template goes the same way.
PLAIN_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{{ '\\n' }}{% endfor %}"
# Words with their leading space, numbers of up to two digits, and every other character by itself, so that
# "13-3+6" is five tokens. Byte-level, hence lossless: decode(encode(text)) == text.
_SPLIT = r" ?\p{L}+|\p{N}{1,2}|#+|\s|[^\s\p{L}\p{N}]"


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> "PreTrainedTokenizerBase":
    """A byte-level BPE tokenizer of at most ``vocabulary`` entries (at least 256 bytes + 2), with EOS and padding."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary, special_tokens=[END, PAD], initial_alphabet=alphabet, show_progress=False
        ),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=END, pad_token=PAD)
    tokenizer.chat_template = PLAIN_TEMPLATE
    return tokenizer


def check_tokenizer(tokenizer: "PreTrainedTokenizerBase", name: str) -> "PreTrainedTokenizerBase":
    """Refuse a tokenizer without EOS (a policy could never stop); give one without padding its EOS for padding."""
    if tokenizer.eos_token_id is None:
        raise UserError(f"the tokenizer of {name!r} has no EOS token: set eos_token in its tokenizer_config.json")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def prompt_text(tokenizer: "PreTrainedTokenizerBase", question: str, template: str | None = None) -> str:
    """The text a model continues: ``template`` with ``{question}`` filled in, or else the tokenizer's chat template."""
    if template is not None:
        if "{question}" not in template:
            raise UserError(f"the prompt template {template!r} has no {{question}} in it")
        return template.replace("{question}", question)
    if not tokenizer.chat_template:
        raise UserError(
            f"the tokenizer of {tokenizer.name_or_path!r} has no chat template: "
            r'set prompt, for example prompt="{question}\n"'
        )
    messages = [{"role": "user", "content": question}]
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def encode(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, with no special token added (a chat template has written its own)."""
    if not texts:
        return []
    return [list(ids) for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]]


def token_ends(tokenizer: "PreTrainedTokenizerBase", ids: Sequence[int]) -> tuple[str, list[int]]:
    """The text of ``ids`` (special tokens left out) and, for each token, how many characters stand once it is out.

    A token that ends in the middle of a character counts only the characters that are whole.
    """
    from tokenizers.decoders import DecodeStream

    stream = DecodeStream(skip_special_tokens=True)
    backend = tokenizer.backend_tokenizer
    text, ends = "", []
    for token in ids:
        text += stream.step(backend, int(token)) or ""
        ends.append(len(text))
    return text, ends
