"""Solutions sampled from a policy, for labelling and evaluation."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lm.engine import Completion, Engine, Sampling
from lm.tokenizer import encode, prompt_text, token_ends
from verifiers.solution import Problem, Solution
from verifiers.split import split_steps

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def sample_solutions(
    engine: Engine,
    tokenizer: "PreTrainedTokenizerBase",
    problems: Sequence[Problem],
    sampling: Sampling,
    seed: int | Sequence[int],
    prompt: str | None = None,
) -> list[tuple[Solution, Completion]]:
    """``sampling.n`` solutions of each problem, those of one problem side by side; ``seed`` is as for an engine."""
    prompts = encode(tokenizer, [prompt_text(tokenizer, p.question, prompt) for p in problems])
    completions = engine.generate(prompts, sampling, seed)
    found = []
    for i, completion in enumerate(completions):
        text, _ = token_ends(tokenizer, completion.token_ids)
        found.append((Solution(problems[i // sampling.n], text, split_steps(text)), completion))
    return found
