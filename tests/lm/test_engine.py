"""The engine against the learner's forward pass, transformers' own generate, brute force and the softmax itself."""

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from scipy import stats

from lm.config import load
from lm.engine import Completion, Sampling, TransformersEngine, draw, nucleus, request_seeds
from lm.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

QUESTIONS = ["8+4-3\n", "1+1-0\n", "9+9-12\n", "3+", "7", "2+2-1\n1+1", "5+5-5\n10-5\n#### "]


@pytest.fixture
def engine(fitted_policy: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> TransformersEngine:
    return TransformersEngine(fitted_policy, tokenizer)


@pytest.fixture
def prompts(tokenizer: "PreTrainedTokenizerBase") -> list[list[int]]:
    return tokenizer(QUESTIONS)["input_ids"]


def same(left: list[Completion], right: list[Completion]) -> bool:
    return [(c.token_ids, c.finish, c.logprobs.tolist()) for c in left] == [
        (c.token_ids, c.finish, c.logprobs.tolist()) for c in right
    ]


def plain_logprobs(
    policy: "PreTrainedModel", prompt: list[int], completion: Completion, temperature: float
) -> np.ndarray:
    """One unpadded row at a time, without a cache, in float64."""
    exact = copy.deepcopy(policy).double()
    ids = torch.tensor([[*prompt, *completion.token_ids]])
    with torch.no_grad():
        logprobs = torch.log_softmax(exact(ids).logits[0, len(prompt) - 1 : -1] / temperature, -1)
    return logprobs[torch.arange(len(completion.token_ids)), list(completion.token_ids)].numpy()


@pytest.mark.parametrize(("temperature", "top_p", "batch"), [(1.0, 1.0, 256), (0.7, 1.0, 8), (1.3, 0.8, 5)])
def test_logprobs_are_those_of_a_plain_forward_pass(
    fitted_policy: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: list[list[int]],
    temperature: float,
    top_p: float,
    batch: int,
) -> None:
    engine = TransformersEngine(fitted_policy, tokenizer, batch)
    completions = engine.generate(prompts, Sampling(temperature, top_p, 24, n=3), seed=1)
    assert len(completions) == 3 * len(prompts)
    lengths = {len(c.token_ids) for c in completions}
    assert len(lengths) > 3, "rows must end at different times for this to test that ended ones leave the batch"
    for i, completion in enumerate(completions):
        expected = plain_logprobs(fitted_policy, prompts[i // 3], completion, temperature)
        np.testing.assert_allclose(completion.logprobs, expected, atol=1e-4)
        assert completion.logprobs.dtype == np.float32


def test_the_learner_recomputes_the_engines_logprobs(
    fitted_policy: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prompts: list[list[int]]
) -> None:
    from rl.batch import pack
    from rl.forward import action_logprobs
    from rl.rollout import make_rollout
    from verifiers.solution import Problem

    sampling = Sampling(0.9, 1.0, 20, n=4)
    completions = TransformersEngine(fitted_policy, tokenizer, 12).generate(prompts, sampling, seed=2)
    problem = Problem("p", "q", "1")
    tokens = pack([make_rollout(tokenizer, problem, prompts[i // 4], c) for i, c in enumerate(completions)])
    with torch.no_grad():
        learner, _ = action_logprobs(fitted_policy, tokens, 0.9)
    sampled = np.concatenate([c.logprobs for c in completions])
    np.testing.assert_allclose(learner[tokens.actions].numpy(), sampled, atol=1e-4)


def test_greedy_is_what_transformers_generate_writes(
    engine: TransformersEngine, prompts: list[list[int]], tokenizer: "PreTrainedTokenizerBase"
) -> None:
    completions = engine.generate(prompts, Sampling(0, max_tokens=16), seed=0)
    model: Any = engine.model
    for prompt, completion in zip(prompts, completions, strict=True):
        ids = torch.tensor([prompt])
        out = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=16,
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        assert list(completion.token_ids) == out[0, len(prompt) :].tolist()
        expected = plain_logprobs(engine.model, prompt, completion, 1.0)
        np.testing.assert_allclose(completion.logprobs, expected, atol=1e-4)


def test_a_prompt_gets_the_same_answer_whatever_shares_its_batch(
    fitted_policy: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prompts: list[list[int]]
) -> None:
    greedy = Sampling(0, max_tokens=12, n=2)
    together = TransformersEngine(fitted_policy, tokenizer).generate(prompts, greedy, 0)
    alone = TransformersEngine(fitted_policy, tokenizer, batch=1).generate(prompts, greedy, 0)
    assert [c.token_ids for c in together] == [c.token_ids for c in alone]
    assert all(together[i].token_ids == together[i + 1].token_ids for i in range(0, len(together), 2))


def test_the_same_seed_gives_the_same_completions(engine: TransformersEngine, prompts: list[list[int]]) -> None:
    sampling = Sampling(max_tokens=12, n=3)
    first = engine.generate(prompts, sampling, seed=5)
    torch.manual_seed(99)  # the engine's draws are its own
    state = torch.get_rng_state()
    assert same(first, engine.generate(prompts, sampling, seed=5))
    assert torch.equal(state, torch.get_rng_state())
    assert not same(first, engine.generate(prompts, sampling, seed=6))
    assert len({c.token_ids for c in first[:3]}) > 1, "the n completions of a prompt are separate draws"


def test_a_request_with_its_seed_gets_the_same_sample_whatever_else_is_sampled(
    fitted_policy: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prompts: list[list[int]]
) -> None:
    sampling, seeds = Sampling(max_tokens=16, n=2), request_seeds(4, len(QUESTIONS))
    together = TransformersEngine(fitted_policy, tokenizer).generate(prompts, sampling, 4)
    assert request_seeds(4, 3) == seeds[:3]
    assert len(set(seeds)) == len(seeds)
    for batch, chosen in ((1, [5, 0]), (6, [2, 3, 6, 1])):
        engine = TransformersEngine(fitted_policy, tokenizer, batch)
        some = engine.generate([prompts[i] for i in chosen], sampling, [seeds[i] for i in chosen])
        assert [c.token_ids for c in some] == [together[2 * i + k].token_ids for i in chosen for k in (0, 1)]


def test_a_stop_string_ends_a_completion_at_the_token_that_completes_it(
    engine: TransformersEngine, prompts: list[list[int]], tokenizer: "PreTrainedTokenizerBase"
) -> None:
    plain = engine.generate(prompts, Sampling(max_tokens=20, n=3), seed=2)
    stopped = engine.generate(prompts, Sampling(max_tokens=20, n=3, stop=("-", "\n##")), seed=2)
    cut = 0
    for whole, short in zip(plain, stopped, strict=True):
        n = len(short.token_ids)
        assert short.token_ids == whole.token_ids[:n]
        text, before = (tokenizer.decode(short.token_ids[:k], skip_special_tokens=True) for k in (n, n - 1))
        assert not any(s in before for s in ("-", "\n##"))
        if any(s in text for s in ("-", "\n##")):
            assert short.finish == "stop"
            cut += n < len(whole.token_ids)
        else:
            assert (short.finish, n) == (whole.finish, len(whole.token_ids))
    assert cut > 3


def test_completions_end_in_eos_or_at_the_limit(engine: TransformersEngine, prompts: list[list[int]]) -> None:
    completions = engine.generate(prompts, Sampling(max_tokens=10, n=6), seed=3)
    assert {c.finish for c in completions} == {"stop", "length"}
    for completion in completions:
        assert len(completion.logprobs) == len(completion.token_ids)
        assert engine.eos not in completion.token_ids[:-1]
        if completion.finish == "stop":
            assert completion.token_ids[-1] == engine.eos
            assert len(completion.token_ids) <= 10
        else:
            assert completion.token_ids[-1] != engine.eos
            assert len(completion.token_ids) == 10


def test_an_empty_stop_string_is_refused_in_a_line() -> None:
    with pytest.raises(UserError, match=r"^sampling\.stop holds an empty text.*: take it out$"):
        load(Sampling, None, ["stop=[a,'']"])


def test_eos_as_the_last_allowed_token_is_a_stop(engine: TransformersEngine, prompts: list[list[int]]) -> None:
    long = engine.generate(prompts, Sampling(0, max_tokens=30), 0)
    stopped = next(i for i, c in enumerate(long) if c.finish == "stop" and len(c.token_ids) > 1)
    length = len(long[stopped].token_ids)
    exact, short = (engine.generate([prompts[stopped]], Sampling(0, max_tokens=m), 0)[0] for m in (length, length - 1))
    assert (exact.finish, exact.token_ids) == ("stop", long[stopped].token_ids)
    assert (short.finish, short.token_ids) == ("length", long[stopped].token_ids[:-1])


def test_finished_is_told_of_prompts_with_their_completions(
    fitted_policy: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prompts: list[list[int]]
) -> None:
    told: list[Any] = []
    found = TransformersEngine(fitted_policy, tokenizer, 6).generate(
        prompts, Sampling(max_tokens=2, n=2), 0, told.append
    )
    assert [len(some) for some in told] == [3, 3, 1]  # 6 sequences at once are 3 prompts of 2
    whole = {place: completions for some in told for place, completions in some.items()}
    assert [c for place in range(7) for c in whole[place]] == found
    assert TransformersEngine(fitted_policy, tokenizer).generate([], Sampling(), 0) == []


def test_load_weights_copies_and_training_mode_is_put_back(
    tiny_policy: "PreTrainedModel",
    fitted_policy: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: list[list[int]],
) -> None:
    mine = copy.deepcopy(tiny_policy).train()
    engine = TransformersEngine(mine, tokenizer)
    greedy = Sampling(0, max_tokens=8)
    wanted = TransformersEngine(fitted_policy, tokenizer).generate(prompts, greedy, 0)
    assert not same(engine.generate(prompts, greedy, 0), wanted)
    assert mine.training
    engine.load_weights(fitted_policy)
    assert same(engine.generate(prompts, greedy, 0), wanted)
    assert all(p.requires_grad and not p.is_inference() for p in mine.parameters())


@pytest.mark.parametrize("top_p", [0.05, 0.3, 0.9, 0.999])
def test_nucleus_keeps_the_smallest_set_by_brute_force(top_p: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logprobs = torch.log_softmax(3 * torch.randn(40, 17, generator=generator, dtype=torch.float64), -1)
    kept = nucleus(logprobs, top_p)
    for row, out in zip(logprobs.exp().tolist(), kept.tolist(), strict=True):
        chosen, total = set(), 0.0
        for token in sorted(range(17), key=lambda i: -row[i]):
            if total >= top_p:
                break
            chosen.add(token)
            total += row[token]
        assert {i for i, value in enumerate(out) if value > -np.inf} == chosen
        assert all(out[i] == pytest.approx(np.log(row[i])) for i in chosen)


def test_a_nucleus_is_never_empty() -> None:
    logprobs = torch.tensor([[0.2, 0.7, 0.1]]).log()
    assert torch.isfinite(nucleus(logprobs, 0.0)).tolist() == [[False, True, False]]
    token, _ = draw(logprobs, Sampling(top_p=0.0), torch.tensor([0.99], dtype=torch.float64))
    assert token.item() == 1


def test_a_draw_inverts_the_distribution_function_by_hand() -> None:
    logprobs = torch.tensor([0.2, 0.0, 0.5, 0.3]).log()
    uniforms = torch.tensor([0.0, 0.19, 0.21, 0.69, 0.71, 1 - 2**-53], dtype=torch.float64)
    token, logprob = draw(logprobs.expand(6, -1), Sampling(), uniforms)
    assert token.tolist() == [0, 0, 2, 2, 3, 3]  # never the token of probability 0
    torch.testing.assert_close(logprob, logprobs[token])
    token, logprob = draw(torch.full((1, 4), torch.nan), Sampling(), uniforms[:1])
    assert torch.isnan(logprob).all()


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (2.0, 1.0), (1.0, 0.8)])
def test_draws_have_the_frequencies_of_the_softmax(temperature: float, top_p: float) -> None:
    logits, draws = np.array([0.0, 1.0, -1.0, 2.0, 0.5]), 40_000
    sampling = Sampling(temperature, top_p)
    rows = torch.tensor(logits, dtype=torch.float32).expand(draws, -1)
    token, logprob = draw(rows, sampling, torch.from_numpy(np.random.default_rng(7).random(draws)))
    p = np.exp(logits / temperature) / np.exp(logits / temperature).sum()
    np.testing.assert_allclose(logprob.numpy(), np.log(p)[token.numpy()], rtol=1e-5)  # before truncation
    kept = np.ones(5, bool) if top_p == 1 else np.array([False, True, False, True, True])  # 0.58 + 0.21 + 0.13 > 0.8
    counts = np.bincount(token.numpy(), minlength=5)
    assert not counts[~kept].any()
    assert stats.chisquare(counts[kept], draws * p[kept] / p[kept].sum()).pvalue > 1e-3


def test_first_tokens_have_the_frequencies_of_the_model(engine: TransformersEngine, prompts: list[list[int]]) -> None:
    draws = 4000
    completions = engine.generate([prompts[0]], Sampling(max_tokens=1, n=draws), seed=11)
    with torch.no_grad():
        p = engine.model(torch.tensor([prompts[0]])).logits[0, -1].double().softmax(-1).numpy()
    counts = np.bincount([c.token_ids[0] for c in completions], minlength=len(p))
    common = p * draws >= 5
    observed, expected = [*counts[common], counts[~common].sum()], [*(p[common] * draws), p[~common].sum() * draws]
    assert stats.chisquare(observed, expected).pvalue > 1e-3


@pytest.mark.parametrize("override", ["temperature=-1", "top_p=1.5", "max_tokens=0", "n=0"])
def test_impossible_settings_are_refused(override: str) -> None:
    with pytest.raises(UserError, match=override.partition("=")[0]):
        load(Sampling, None, [override])
