"""prm.forward: sharing a beginning changes how much is computed and nothing else."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from toy_models import solution, toy_classifier, toy_tokenizer
from transformers import MistralConfig, MistralModel, PreTrainedTokenizerBase, Qwen2Config, Qwen2Model

from lm.errors import UserError
from prm.formats import FORMATS
from prm.forward import batched_states, check_causal, shared_groups, shares
from prm.heads import split_classifier
from prm.layout import Row
from prm.scorer import StepPRM
from verifiers.solution import Problem, Solution, Step


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return toy_tokenizer()


def random_rows(seed: int, problems: int = 4) -> tuple[list[Row], list[str]]:
    """Rows of problems with prompts of different lengths; some identical, some the beginning of another."""
    rng = random.Random(seed)
    rows, keys = [], []
    for problem in range(problems):
        prompt = [rng.randrange(5, 90) for _ in range(rng.randint(3, 40))]
        for _ in range(rng.randint(1, 6)):
            rest = [rng.randrange(5, 90) for _ in range(rng.randint(1, 30))]
            ids = prompt + rest
            ends = sorted({rng.randrange(len(prompt), len(ids)) for _ in range(4)})
            rows.append(Row(ids, ends, len(prompt)))
            keys.append(str(problem))
        rows += [rows[-1], Row(rows[-1].ids[:-1], [len(prompt) - 1, *rows[-1].ends[:1]], 0)]
        keys += [str(problem)] * 2
    return [r for r in rows if max(r.ends) < len(r.ids)], [
        k for r, k in zip(rows, keys, strict=True) if max(r.ends) < len(r.ids)
    ]


def trunks() -> Iterator[Any]:
    torch.manual_seed(0)
    sizes = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3}
    yield Qwen2Model(Qwen2Config(**sizes)).eval()
    yield MistralModel(MistralConfig(**sizes, sliding_window=200)).eval()
    yield MistralModel(MistralConfig(**sizes, sliding_window=16)).eval()


@pytest.mark.parametrize("tokens", [64, 300, 100_000])
def test_states_are_those_of_each_row_by_itself(tokens: int) -> None:
    for trunk in trunks():
        rows, keys = random_rows(1)
        done: list[int] = []
        with torch.inference_mode():
            for batch, states in batched_states(trunk, rows, keys, tokens):
                done += batch
                expected = [
                    trunk(input_ids=torch.tensor([rows[i].ids])).last_hidden_state[0, rows[i].ends] for i in batch
                ]
                torch.testing.assert_close(states, torch.cat(expected), atol=1e-4, rtol=1e-4)
        assert sorted(done) == list(range(len(rows)))


def test_a_short_window_is_not_shared() -> None:
    rows, _ = random_rows(2)
    full, wide, narrow = trunks()
    assert [shares(trunk, rows) for trunk in (full, wide, narrow)] == [True, True, False]


def test_what_is_shared() -> None:
    rows = [
        Row([1] * 9 + [2, 3], [10], 9),
        Row([1] * 9 + [2, 4, 5], [11], 9),
        Row([1] * 9, [8], 9),
        Row([7] * 20, [9], 5),
    ]
    assert shared_groups(rows, ["a", "a", "b", "c"]) == [(10, [0, 1])]
    assert shared_groups(rows, ["a", "a", "a", "a"]) == []
    assert shared_groups(rows[:3], ["a", "a", "a"]) == [(9, [2, 0, 1])]
    assert shared_groups([], []) == []


def test_the_shared_part_is_computed_once(tokenizer: PreTrainedTokenizerBase) -> None:
    problem = Problem("p", "How many eggs are there in " + "the basket of " * 10 + "May?", "3")
    solutions = [solution(f"She has {i} eggs.\nShe eats {i}.\n#### 0", problem) for i in range(10, 42)]
    trunk, head = split_classifier(toy_classifier(tokenizer))
    seen: list[int] = []
    trunk.register_forward_pre_hook(lambda _, __, given: seen.append(given["input_ids"].numel()), with_kwargs=True)
    shared = StepPRM(trunk, head, tokenizer).score(solutions)
    with_sharing, seen[:] = sum(seen), []
    plain = StepPRM(trunk, head, tokenizer, share=False).score(solutions)
    assert with_sharing < 0.5 * sum(seen)
    for a, b in zip(shared, plain, strict=True):
        np.testing.assert_allclose(a.probabilities, b.probabilities, atol=1e-5)


def test_causal_or_not() -> None:
    from transformers import BertConfig, BertModel

    sizes = {
        "vocab_size": 97,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    assert check_causal(next(trunks()))
    assert not check_causal(BertModel(BertConfig(**sizes)).eval())


# --- what cannot be scored --------------------------------------------------------------------------------------------


def test_ten_thousand_steps_and_no_step(tokenizer: PreTrainedTokenizerBase) -> None:
    model = toy_classifier(tokenizer)
    model.config.max_position_embeddings = 40_000
    prm = StepPRM(*split_classifier(model), tokenizer)
    problem = Problem("long", "1", "1")
    many, none, blank = solution("\n".join(["1"] * 10_000), problem), solution("", problem), solution(" \n ", problem)
    a, b, c = prm.score([many, none, blank])
    assert a.probabilities.shape == (10_000,)
    assert b.probabilities.shape == c.probabilities.shape == (0,)
    assert b.aggregate("softmin") == 0.0
    [start] = prm.score([solution("1\n1\n1", problem)])
    np.testing.assert_allclose(a.probabilities[:3], start.probabilities, atol=1e-5)


def test_a_step_beyond_the_context_names_the_solution(tokenizer: PreTrainedTokenizerBase) -> None:
    prm = StepPRM(*split_classifier(toy_classifier(tokenizer)), tokenizer)
    problem = Problem("p7", "How many?", "1")
    fine, long = solution("1+1=2", problem), solution("1+1=2\n" + "1+1" * 200, problem)
    with pytest.raises(UserError, match=r"^solution 'p7': step 2 ends at token \d+, the model reads 256; shorten it"):
        prm.score([fine, long])
    assert [type(size) for size in prm.measure([fine, long])] == [int, str]
    # What stands behind the last step is never read, so it may be as long as it likes.
    tail = Solution(problem, fine.text + " " * 3000 + "x" * 900, fine.steps)
    np.testing.assert_array_equal(prm.score([tail])[0].probabilities, prm.score([fine])[0].probabilities)


def test_an_empty_step_has_no_score(tokenizer: PreTrainedTokenizerBase) -> None:
    prm = StepPRM(*split_classifier(toy_classifier(tokenizer)), tokenizer)
    text = "1+1=2\n\n2+2=4"
    steps = (Step("1+1=2", 0, 5), Step("", 6, 6), Step("2+2=4", 7, 12))
    with pytest.raises(UserError, match=r"solution 'e': step 2 is empty"):
        prm.score([Solution(Problem("e", "q", ""), text, steps)])


def test_an_outcome_model_says_one_thing(tokenizer: PreTrainedTokenizerBase) -> None:
    trunk, head = split_classifier(toy_classifier(tokenizer))
    problem = Problem("p", "How many?", "1")
    s = solution("1+1=2\n2+2=4\n#### 4", problem)
    [steps] = StepPRM(trunk, head, tokenizer).score([s])
    [whole] = StepPRM(trunk, head, tokenizer, FORMATS["rung-outcome"]).score([s])
    np.testing.assert_allclose(whole.probabilities, [steps.probabilities[-1]] * 3, atol=1e-6)
    assert {whole.aggregate(how) for how in ("min", "product", "mean", "last", "softmin")} == {whole.probabilities[0]}
