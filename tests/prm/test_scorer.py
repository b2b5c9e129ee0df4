"""prm.scorer: a step's score depends on what stands before it, and on nothing else."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from toy_models import save, solution, toy_classifier, toy_tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from lm.tokenizer import PLAIN_TEMPLATE, prompt_text
from prm.heads import split_classifier
from prm.layout import encode_steps
from prm.loading import load as load_prm
from prm.scorer import StepPRM
from verifiers.families import FAMILIES, distinct
from verifiers.solution import Problem, Solution

PROBLEM = Problem("p", "How many eggs are left?", "13")
LINES = ["He has 16 eggs.", "He eats 3.", "So 16-3 = 13 are left.", "#### 13"]


@pytest.fixture(scope="module")
def plain() -> PreTrainedTokenizerBase:
    return toy_tokenizer()


@pytest.fixture(scope="module")
def merging() -> PreTrainedTokenizerBase:
    """A byte-level BPE that, like Qwen's, makes one token of a full stop and the line break behind it."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?[\p{L}\p{N}]+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<end>"], initial_alphabet=alphabet)
    bpe.train_from_iterator(["\n".join(LINES)] * 10, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<end>", pad_token="<end>")
    tokenizer.chat_template = PLAIN_TEMPLATE
    return tokenizer


def some_solutions(count: int = 12) -> list[Solution]:
    examples = distinct(tuple(FAMILIES), (1, 2, 3), "train", 3, count)
    return [solution(e.solution or "", e.problem) for e in examples]


def test_the_merging_tokenizer_merges(merging: PreTrainedTokenizerBase) -> None:
    whole = merging("\n".join(LINES[:2]))["input_ids"]
    assert any(merging.decode([token]) == ".\n" for token in whole)


@pytest.mark.parametrize("name", ["plain", "merging"])
def test_scores_of_a_step_do_not_see_what_comes_later(name: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(name)
    prm = StepPRM(*split_classifier(toy_classifier(tokenizer)), tokenizer)
    later = ["", "\n", "\n\n\nHe eats 30.", "\n#### 1"]
    for shown in (1, 2, 3):
        start = "\n".join(LINES[:shown])
        texts = [start, "\n".join(LINES), *(start + more for more in later)]
        scores = prm.score([solution(text, PROBLEM) for text in texts])
        for score in scores:
            np.testing.assert_allclose(score.probabilities[:shown], scores[0].probabilities, atol=1e-6)
        rows = encode_steps(tokenizer, [solution(text, PROBLEM) for text in texts])
        ids, ends = rows[0].ids, rows[0].ends
        assert all(r.ids[: len(ids)] == ids and r.ends[:shown] == ends and r.start == rows[0].start for r in rows)


@pytest.mark.parametrize("name", ["plain", "merging"])
def test_steps_end_where_their_text_ends(name: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(name)
    s = solution("  \n" + "\n\n".join(LINES) + "\n", PROBLEM)
    [row] = encode_steps(tokenizer, [s], "Q: {question}\nA:")
    prompt = "Q: How many eggs are left?\nA:"
    assert tokenizer.decode(row.ids[: row.start]) == prompt
    for step, end in zip(s.steps, row.ends, strict=True):
        assert tokenizer.decode(row.ids[: end + 1]) == prompt + s.text[: step.end]
    assert len(row.ids) == row.ends[-1] + 1


def test_a_batch_scores_as_one_at_a_time(plain: PreTrainedTokenizerBase) -> None:
    model = toy_classifier(plain)
    solutions = [*some_solutions(), solution("", PROBLEM), solution("#### 13", PROBLEM)]
    together = StepPRM(*split_classifier(model), plain).score(solutions)
    small = StepPRM(*split_classifier(model), plain, tokens=150).score(solutions)
    counted: list[int] = []
    alone = [StepPRM(*split_classifier(model), plain).score([s], counted.append)[0] for s in solutions]
    assert sum(counted) == len(solutions)
    for a, b, c, s in zip(together, small, alone, solutions, strict=True):
        assert a.probabilities.shape == (len(s.steps),)
        np.testing.assert_allclose(a.probabilities, c.probabilities, atol=1e-5)
        np.testing.assert_allclose(b.probabilities, c.probabilities, atol=1e-5)
    assert len({round(p, 6) for a in together for p in a.probabilities}) > 10  # not one number for everything


def test_a_score_is_the_softmax_at_the_step_s_last_token(plain: PreTrainedTokenizerBase) -> None:
    model = toy_classifier(plain).eval()
    s = solution("\n".join(LINES), PROBLEM)
    [score] = StepPRM(*split_classifier(model), plain).score([s])
    for i, step in enumerate(s.steps):
        pieces = [prompt_text(plain, PROBLEM.question), LINES[0], *("\n" + line for line in LINES[1 : i + 1])]
        ids = [token for piece in pieces for token in plain(piece)["input_ids"]]
        with torch.no_grad():
            wrong, right = model(torch.tensor([ids])).logits[0, -1].double().exp().tolist()
        assert score.probabilities[i] == pytest.approx(right / (right + wrong), abs=1e-6), step.text


def test_scoring_leaves_the_model_as_it_was(plain: PreTrainedTokenizerBase) -> None:
    model = toy_classifier(plain).train()
    StepPRM(*split_classifier(model), plain).score(some_solutions(3))
    assert model.training
    assert all(p.grad is None for p in model.parameters())


def test_from_a_folder(plain: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    model = toy_classifier(plain)
    name = save(model, plain, tmp_path / "prm")
    solutions = some_solutions(4)
    loaded = load_prm(name)
    for a, b in zip(loaded.score(solutions), StepPRM(*split_classifier(model), plain).score(solutions), strict=True):
        np.testing.assert_allclose(a.probabilities, b.probabilities, atol=1e-6)
    half = load_prm(name, "bfloat16")
    assert half.trunk.dtype == torch.bfloat16
    for a, b in zip(half.score(solutions), loaded.score(solutions), strict=True):
        np.testing.assert_allclose(a.probabilities, b.probabilities, atol=0.03)
