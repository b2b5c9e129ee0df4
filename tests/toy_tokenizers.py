"""Small real BPE tokenizers that cut text as Qwen's, Llama 3's and Mistral's do, with the special tokens PRMs use."""

from functools import cache

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

QUESTION = "Sue has 5 + 4 flamingos.\nHow many are left if 3 fly away?"
STEPS = ["She has 5 + 4 = 9 flamingos.", "Of these 3 fly away: 9 - 3 = 6.", "So there are \\boxed{6} left.\n\nDone."]
_CORPUS = [
    QUESTION,
    *STEPS,
    "Step 1: She has 9. ки\nStep 2: 3 fly ки\nStep 3: 6 left ки",
    "a \n\n\n\n\n b. \n\n\n\n\n Step 2: + - +",
    "The step is \\boxed{correct} but that one is \\boxed{incorrect}. Yes No \\boxed{Yes} \\boxed{No}",
    "You are a math teacher. Please reason step by step, and put your final answer within \\boxed{}.",
]
# How Qwen2 and Llama 3 cut text into words: line breaks stick to the punctuation before them.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
LLAMA3 = (
    "{{ '<|begin_of_text|>' }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n'"
    " + m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)


def _byte_level(specials: list[str], bos: str | None, eos: str, template: str) -> PreTrainedTokenizerBase:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=440,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_CORPUS * 8, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=bos, eos_token=eos, pad_token=specials[0])
    tokenizer.chat_template = template
    return tokenizer


@cache
def qwen(bos: str | None = None) -> PreTrainedTokenizerBase:
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<extra_0>"]
    return _byte_level(specials, bos, "<|im_end|>", CHATML)


@cache
def llama3() -> PreTrainedTokenizerBase:
    specials = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    return _byte_level(specials, specials[0], "<|eot_id|>", LLAMA3)


@cache
def mistral(pad: str = "</s>") -> PreTrainedTokenizerBase:
    """Spaces become "▁" at the beginning of words and of texts, BOS stands first, as with SentencePiece."""
    bpe = Tokenizer(models.BPE(unk_token="<unk>"))
    line_breaks = pre_tokenizers.Split("\n", "isolated")  # SentencePiece merges nothing with them
    bpe.pre_tokenizer = pre_tokenizers.Sequence([line_breaks, pre_tokenizers.Metaspace(prepend_scheme="first")])
    bpe.decoder = decoders.Metaspace(prepend_scheme="first")
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=sorted({c for text in _CORPUS for c in text} | {"\n"}),
        show_progress=False,
    )
    bpe.train_from_iterator([*_CORPUS * 8, *["ки + -"] * 40], trainer)
    bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token=pad
    )
