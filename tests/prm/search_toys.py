"""A tree of steps that is written down: a policy that walks it and a scorer that has looked every node up."""

from collections.abc import Mapping, Sequence

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lm.engine import Completion, Finished, Sampling
from prm.scores import StepScores
from prm.search_tree import Explorer
from verifiers.solution import Problem, Solution

QUESTION = Problem("toy", "Q", "9")


class TreePolicy:
    """The j-th continuation of a text is its j-th child, starting over where there are fewer; then first children."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, tree: Mapping[str, Sequence[str]]) -> None:
        self.tokenizer, self.tree = tokenizer, tree
        self.calls: list[tuple[list[str], Sampling, Sequence[int]]] = []

    def load_weights(self, model: PreTrainedModel) -> None:
        raise AssertionError("a table does not learn")

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        seed: Sequence[int],
        finished: Finished | None = None,
    ) -> list[Completion]:
        texts = [self.tokenizer.decode(prompt).split("\n", 1)[1] for prompt in prompts]  # without the question's line
        self.calls.append((texts, sampling, seed))
        return [self._continue(text, j, bool(sampling.stop)) for text in texts for j in range(sampling.n)]

    def _continue(self, text: str, j: int, one_step: bool) -> Completion:
        children = self.tree[text]
        written = children[j % len(children)]
        while not one_step and written.endswith("\n"):
            written += self.tree[text + written][0]
        ids = tuple(self.tokenizer(written, add_special_tokens=False)["input_ids"])
        ids = ids if written.endswith("\n") else (*ids, self.tokenizer.eos_token_id)
        return Completion(ids, np.zeros(len(ids), np.float32), "stop")


class TreeScorer:
    """Every step's score is looked up under the text up to its end."""

    def __init__(self, scores: Mapping[str, float], unreadable: str | None = None) -> None:
        self.scores, self.unreadable = scores, unreadable
        self.asked: list[list[str]] = []

    def score(self, solutions: Sequence[Solution], advance: object = None) -> list[StepScores]:
        self.asked.append([s.text for s in solutions])
        return [StepScores(np.array([self.scores[s.text[: step.end]] for step in s.steps])) for s in solutions]

    def measure(self, solutions: Sequence[Solution]) -> list[int | str]:
        """Ten tokens for a question and one for each step."""
        return ["too long" if s.text == self.unreadable else 10 + len(s.steps) for s in solutions]


def explorer(
    policy: TreePolicy, scorer: TreeScorer, problems: Sequence[Problem] = (QUESTION,), **more: int
) -> Explorer:
    return Explorer(policy, policy.tokenizer, scorer, problems, sampling=Sampling(max_tokens=40), **more)
