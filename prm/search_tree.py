"""What a search grows: partial solutions, and the two calls, one of the policy and one of the PRM, that grow them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from lm.engine import Completion, Engine, Sampling, TokenSampling
from lm.tokenizer import encode, prompt_text, token_ends
from prm.scorer import Scorer
from prm.scores import Aggregation
from verifiers.solution import Problem, Solution
from verifiers.split import BREAKS, Separator, split_steps

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Node:
    """A solution as far as it is written: ``ids`` are its tokens after the prompt of problem number ``problem``.

    ``path`` says which child of which child of the root it is. An open node ends where a step does and can be gone on
    with; a finished one ends in EOS; a cut one ran out of tokens.
    """

    problem: int
    ids: tuple[int, ...] = ()
    text: str = ""
    path: tuple[int, ...] = ()
    end: Literal["open", "finished", "cut"] = "open"


class Scored(NamedTuple):
    """A node, what the PRM makes of it, in [0, 1], and how many of the draws from its parent said the same."""

    node: Node
    value: float
    votes: int = 1

    @property
    def weight(self) -> float:
        """The sum of the values of those draws: what counts in a weighted majority among candidates."""
        return self.value * self.votes


@dataclass(frozen=True)
class Cost:
    """Tokens that a search took, each model's in its own, with no cache between requests.

    ``sampled`` were written by the policy, ``prefilled`` read by it before it wrote (the question and the steps so far,
    once a request, whatever its n), ``scored`` read by the PRM (the question and the steps so far, once a node).
    """

    sampled: int = 0
    prefilled: int = 0
    scored: int = 0

    @property
    def total(self) -> int:
        return self.sampled + self.prefilled + self.scored

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.sampled + other.sampled, self.prefilled + other.prefilled, self.scored + other.scored)


class Explorer:
    """Grows and judges nodes of P problems side by side, and counts what each problem took.

    ``sampling.max_tokens`` bounds a whole solution. ``budget`` bounds the tokens of a problem, all kinds together: one
    that has spent it gets no more children, so it exceeds it by what its last round took. A request's seed follows from
    ``seed``, the problem and the node's path: what else is searched changes nothing.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: "PreTrainedTokenizerBase",
        scorer: Scorer,
        problems: Sequence[Problem],
        *,
        sampling: TokenSampling,
        aggregate: Aggregation = "last",
        separator: Separator = "line",
        prompt: str | None = None,
        seed: int = 0,
        budget: int | None = None,
    ) -> None:
        self.engine, self.tokenizer, self.scorer, self.problems = engine, tokenizer, scorer, problems
        self.sampling, self.aggregate, self.separator = sampling, aggregate, separator
        self.seed, self.budget = seed, budget
        self.prompts = encode(tokenizer, [prompt_text(tokenizer, p.question, prompt) for p in problems])
        self.costs = [Cost() for _ in problems]

    def roots(self) -> list[Node]:
        return [Node(problem) for problem in range(len(self.problems))]

    def write(self, nodes: Sequence[Node], n: int, *, whole: bool = False, greedy: bool = False) -> list[list[Node]]:
        """n children of each open node in one call of the engine: each one step further, or (``whole``) to its end.

        No children of a node whose problem has spent its budget.
        """
        paying = [i for i, node in enumerate(nodes) if not self._spent(node.problem)]
        children: list[list[Node]] = [[] for _ in nodes]
        if not paying:
            return children
        sampling = Sampling(
            temperature=0.0 if greedy else self.sampling.temperature,
            top_p=self.sampling.top_p,
            max_tokens=max(self.sampling.max_tokens - len(nodes[i].ids) for i in paying),
            n=n,
            stop=() if whole else (BREAKS[self.separator],),
        )
        prompts = [[*self.prompts[nodes[i].problem], *nodes[i].ids] for i in paying]
        completions = self.engine.generate(prompts, sampling, [self._request_seed(nodes[i]) for i in paying])
        for place, i in enumerate(paying):
            group = completions[place * n : (place + 1) * n]
            children[i] = [self._child(nodes[i], number, completion) for number, completion in enumerate(group)]
            self._pay(nodes[i].problem, Cost(sum(len(c.token_ids) for c in group), len(prompts[place])))
        return children

    def judge(self, nodes: Sequence[Node]) -> list[float]:
        """The PRM's value of each node, in one call: its step scores aggregated; 0 where the PRM cannot read it."""
        solutions = [self.solution(node) for node in nodes]
        sizes = self.scorer.measure(solutions)
        scores = iter(self.scorer.score([s for s, size in zip(solutions, sizes, strict=True) if isinstance(size, int)]))
        for node, size in zip(nodes, sizes, strict=True):
            if isinstance(size, int):
                self._pay(node.problem, Cost(scored=size))
        return [next(scores).aggregate(self.aggregate) if isinstance(size, int) else 0.0 for size in sizes]

    def solution(self, node: Node) -> Solution:
        return Solution(self.problems[node.problem], node.text, split_steps(node.text, self.separator))

    def _child(self, node: Node, number: int, completion: Completion) -> Node:
        ids = (*node.ids, *completion.token_ids)
        end: Literal["open", "finished", "cut"] = "cut"
        if ids[-1:] == (self.tokenizer.eos_token_id,):
            end = "finished"
        elif completion.finish == "stop" and len(ids) < self.sampling.max_tokens:  # at the end of a step
            end = "open"
        return Node(node.problem, ids, token_ends(self.tokenizer, ids)[0], (*node.path, number), end)

    def _request_seed(self, node: Node) -> int:
        problem = self.problems[node.problem]
        name = f"{self.seed}\n{node.path}\n{problem.id}\n{problem.question}"
        return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")

    def _pay(self, problem: int, cost: Cost) -> None:
        self.costs[problem] += cost

    def _spent(self, problem: int) -> bool:
        return self.budget is not None and self.costs[problem].total >= self.budget


def distinct(nodes: Sequence[Node]) -> list[Node]:
    """The nodes without those that say what an earlier one of them says."""
    return list({said(node): node for node in reversed(nodes)}.values())[::-1]


def said(node: Node) -> tuple[int, str, str]:
    """What a node is, however its tokens spell it."""
    return node.problem, node.text, node.end
