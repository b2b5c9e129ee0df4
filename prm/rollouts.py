"""Roll-outs: letting the policy go on from somewhere inside a solution, and seeing whether it arrives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lm.engine import Engine, Sampling
from lm.progress import progress
from lm.tokenizer import encode, prompt_text, token_ends
from verifiers.solution import Problem, Solution
from verifiers.verify import verify

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Sample:
    """A solution to label; ``finished`` is False where it was cut off, so that it can be gone on with."""

    solution: Solution
    finished: bool = True

    def prefix(self, steps: int) -> str:
        """The text of the first ``steps`` steps, with the break that follows: the next token begins the next step."""
        if steps == 0:
            return ""
        spans = self.solution.steps
        return self.solution.text[: spans[steps].start if steps < len(spans) else spans[steps - 1].end]


@dataclass(frozen=True)
class Rollout:
    """One way on from a prefix: ``text`` is the whole solution, prefix included; ``tokens`` are those sampled."""

    text: str
    tokens: int
    finished: bool
    right: bool


@dataclass(frozen=True)
class Roller:
    """What rolls out: a policy with its sampling; ``sampling.n`` roll-outs a prefix.

    ``context`` is how many tokens the policy can read and write at once; None: any number.
    """

    engine: Engine
    tokenizer: "PreTrainedTokenizerBase"
    sampling: Sampling
    prompt: str | None = None
    context: int | None = None

    def reach(self, problem: Problem, text: str) -> int:
        """How many characters of a solution's text the policy can have read and still have room to go on.

        Found from one encoding of the text: to encode each prefix of a very long one would take its length squared.
        """
        if self.context is None:
            return len(text)
        (asked,) = encode(self.tokenizer, [prompt_text(self.tokenizer, problem.question, self.prompt)])
        room = max(0, self.context - self.sampling.max_tokens - len(asked))
        if 4 * len(text) <= room:  # a token is at least a byte, and a character at most four
            return len(text)
        (ids,) = encode(self.tokenizer, [text])
        return len(text) if len(ids) <= room else token_ends(self.tokenizer, ids[:room])[1][-1] if room else 0

    def roll(self, prefixes: Sequence[tuple[Problem, str]], seed: int) -> list[tuple[Rollout, ...] | None]:
        """N roll-outs of each (problem, text so far); None where the context leaves no room to go on."""
        texts = [prompt_text(self.tokenizer, problem.question, self.prompt) + text for problem, text in prefixes]
        ids = encode(self.tokenizer, texts)
        room = None if self.context is None else self.context - self.sampling.max_tokens
        fits = [i for i, prompt in enumerate(ids) if room is None or len(prompt) <= room]
        with progress("roll-outs", len(fits)) as bar:
            fitting = [ids[i] for i in fits]
            completions = self.engine.generate(fitting, self.sampling, seed, lambda some: bar.advance(len(some)))
        found: list[tuple[Rollout, ...] | None] = [None] * len(prefixes)
        for place, i in enumerate(fits):
            problem, prefix = prefixes[i]
            group = completions[place * self.sampling.n : (place + 1) * self.sampling.n]
            rollouts = []
            for c in group:
                text = prefix + token_ends(self.tokenizer, c.token_ids)[0]
                rollouts.append(Rollout(text, len(c.token_ids), c.finish == "stop", verify(problem, text).correct))
            found[i] = tuple(rollouts)
        return found
