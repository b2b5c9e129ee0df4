"""OmegaPRM (Luo et al. 2024): the first error of a wrong solution by binary search, in a tree that shares roll-outs.

If the answer can still be reached after step m, the first error comes later, else at m or before: log2(S) prefixes
decide, where rolling out from each step takes S. What was rolled out for one solution of a problem serves the others.
"""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from prm.labelling import Cost, rollout_cost
from prm.rollouts import Roller, Rollout, Sample
from prm.scores import LabeledSolution
from verifiers.solution import Problem, Solution
from verifiers.split import split_steps
from verifiers.verify import verify_solution

OMEGA = "omega"  # estimated by roll-outs
INFERRED = "omega_inferred"  # right because a later prefix, or a solution that goes through it, reaches the answer

Search = Generator[str, tuple[Rollout, ...] | None, "Found"]  # yields prefixes, receives their roll-outs


def rollout_value(mc: float, tokens: int, *, alpha: float = 0.5, beta: float = 0.9, length: int = 500) -> float:
    """Q(s, r) = α^(1 − MC(s)) · β^(len(r) / L): roll-outs that fail from a good state, and short ones, come first.

    Luo et al. 2024, with its constants; ``tokens`` is the length of the roll-out.
    """
    return float(alpha ** (1 - mc) * beta ** (tokens / length))


def exploration(visits: int, total_visits: int, *, c_puct: float = 0.125) -> float:
    """U(s) = c_puct · sqrt(Σ_i N(s_i)) / (1 + N(s)): states seldom searched come first (Luo et al. 2024)."""
    return c_puct * math.sqrt(total_visits) / (1 + visits)


@dataclass
class State:
    """A prefix of ``steps`` steps that was rolled out: ``right`` of ``rollouts`` arrive, ``visits`` searches began
    here.  ``wrong`` are its roll-outs that fail and were not searched yet.
    """

    prefix: str
    steps: int
    rollouts: int = 0
    right: int = 0
    wrong: list[Rollout] = field(default_factory=list)
    visits: int = 0

    @property
    def mc(self) -> float:
        return self.right / self.rollouts


@dataclass(frozen=True)
class Found:
    """What a search of S steps found: the answer is in reach after ``reach`` steps; ``error`` is the first wrong step.

    ``error`` is None where there is none, or where the prefixes on which it depends left no room to roll out.
    """

    reach: int
    error: int | None


@dataclass
class Tree:
    """All that is known of one problem: the states by prefix, and the texts that are known to arrive."""

    problem: Problem
    states: dict[str, State] = field(default_factory=dict)
    arriving: list[str] = field(default_factory=list)

    def add(self, prefix: str, steps: int, rollouts: Sequence[Rollout]) -> State:
        """The prefix's state, with these roll-outs added to those it has."""
        state = self.states.setdefault(prefix, State(prefix, steps))
        right = [r.text for r in rollouts if r.right]
        self.arriving += right
        state.rollouts += len(rollouts)
        state.right += len(right)
        state.wrong += [r for r in rollouts if not r.right]
        return state

    def arrives(self, prefix: str) -> bool:
        """Whether the answer is known to be in reach: some text that arrives goes through the prefix."""
        return any(text.startswith(prefix) for text in self.arriving)

    def estimate(self, prefix: str) -> float | None:
        """MC(s); one roll-out more where none arrived but another's text does; None where nothing was rolled out."""
        state = self.states.get(prefix)
        if state is None:
            return None
        return 1 / (state.rollouts + 1) if not state.right and self.arrives(prefix) else state.mc

    def first_error(self, sample: Sample, start: int = 0) -> Search:
        """Binary search between ``start`` steps, from where the answer is in reach, and the end of a wrong solution."""
        steps = len(sample.solution.steps)
        low, high = start, steps if sample.finished else steps + 1
        wrong_at_high = sample.finished  # a solution that was cut off is not wrong yet
        while high - low > 1:
            middle = (low + high) // 2
            prefix = sample.prefix(middle)
            if prefix not in self.states and not self.arrives(prefix):
                rollouts = yield prefix
                if rollouts is None:  # too long to go on from: what lies beyond stays unknown
                    high, wrong_at_high = middle, False
                    continue
                self.add(prefix, middle, rollouts)
            if self.arrives(prefix):
                low = middle
            else:
                high, wrong_at_high = middle, True
        return Found(low, high - 1 if wrong_at_high and steps else None)

    def choose(self) -> tuple[State, Rollout] | None:
        """Take the failing roll-out with the greatest Q(s, r) + U(s) among the states with 0 < MC(s) < 1."""
        candidates = [
            (rollout_value(state.mc, rollout.tokens) + exploration(state.visits, self.searches), state, rollout)
            for state in self.states.values()
            if 0 < state.mc < 1
            for rollout in state.wrong
        ]
        if not candidates:
            return None
        _, state, rollout = max(candidates, key=lambda candidate: candidate[0])
        state.wrong.remove(rollout)
        state.visits += 1
        return state, rollout

    @property
    def searches(self) -> int:
        return sum(state.visits for state in self.states.values())

    def label(self, sample: Sample, found: Found, hard: bool) -> LabeledSolution:
        """c/N where a prefix was rolled out; else 1 while the answer is in reach, 0 on the first error, None after."""
        labels: list[float | None] = []
        origins: list[str | None] = []
        for i in range(len(sample.solution.steps)):
            estimate = self.estimate(sample.prefix(i + 1)) if self.arriving else None  # none: too hard to tell
            label = float(estimate > 0) if hard and estimate is not None else estimate
            origin = None if label is None else OMEGA
            if label is None and i < found.reach:
                label, origin = 1.0, INFERRED
            elif label is None and i == found.error:
                label, origin = 0.0, OMEGA
            labels.append(label)
            origins.append(origin)
        return LabeledSolution(sample.solution, tuple(labels), tuple(origins))

    def statistics(self) -> list[dict[str, Any]]:
        """A row a state: its prefix, steps, visits N(s), right of how many roll-outs, MC(s), and the best Q(s, r)."""
        rows = []
        for state in self.states.values():
            values = [rollout_value(state.mc, r.tokens) for r in state.wrong]
            row: dict[str, Any] = {"id": self.problem.id, "question": self.problem.question, "prefix": state.prefix}
            row |= {"steps": state.steps, "visits": state.visits, "right": state.right, "rollouts": state.rollouts}
            rows.append(row | {"mc": state.mc, "q": max(values, default=None)})
        return rows


@dataclass(frozen=True)
class OmegaResult:
    """``labeled`` as the samples came; ``more`` are the roll-outs searched beyond them; ``states`` a row a state."""

    labeled: list[LabeledSolution]
    more: list[LabeledSolution]
    states: list[dict[str, Any]]
    cost: Cost


def omega_labels(
    roller: Roller, samples: Sequence[Sample], seed: int, searches: int = 0, hard: bool = False
) -> OmegaResult:
    """Search every wrong sample, then up to ``searches`` more roll-outs a problem, chosen by Q + U.

    A right sample is right throughout: it is itself a roll-out from each of its prefixes. Problems too hard for the
    policy (no roll-out from the question arrives) get no label, as in the paper; neither do those without an answer.
    The trees of all problems grow side by side, so that each round is one call of the engine.
    """
    groups: dict[Asked, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(_asked(sample), []).append(sample)
    trees = {asked: Tree(group[0].solution.problem) for asked, group in groups.items()}
    searched, rolled = _grow_together(roller, trees, groups, searches, seed)
    given = {asked: iter(outcomes) for asked, outcomes in searched.items()}  # the samples' come first, in order
    labeled = [trees[asked].label(*next(given[asked]), hard) for asked in map(_asked, samples)]
    more = [trees[asked].label(*outcome, hard) for asked, rest in given.items() for outcome in rest]
    outcomes = [outcome for each in searched.values() for outcome in each]
    cost = {
        "searches": sum(tree.searches for tree in trees.values()),
        "errors_found": sum(found.error is not None for _, found in outcomes),
        "prefixes": len(rolled),
    }
    states = [row for tree in trees.values() if tree.problem.answer for row in tree.statistics()]
    return OmegaResult(labeled, more, states, cost | rollout_cost(rolled))


Asked = tuple[str, str]  # question and answer: what makes two rows of a file the same problem, whatever their ids


def _asked(sample: Sample) -> Asked:
    return sample.solution.problem.question, sample.solution.problem.answer


def _grow_together(
    roller: Roller, trees: dict[Asked, Tree], groups: dict[Asked, list[Sample]], searches: int, seed: int
) -> tuple[dict[Asked, list[tuple[Sample, Found]]], list[tuple[Rollout, ...] | None]]:
    """Grow every tree to its end: each round rolls out one prefix of each problem that still wants one."""
    growing = {asked: _grow(tree, groups[asked], searches) for asked, tree in trees.items()}
    answers: dict[Asked, tuple[Rollout, ...] | None] = dict.fromkeys(growing)  # None starts a generator
    ended: dict[Asked, list[tuple[Sample, Found]]] = {}
    rolled: list[tuple[Rollout, ...] | None] = []
    rounds = 0
    while True:
        wanted: dict[Asked, str] = {}
        for asked, answer in answers.items():
            try:
                wanted[asked] = growing[asked].send(answer)
            except StopIteration as end:
                ended[asked] = end.value
        if not wanted:
            return {asked: ended[asked] for asked in trees}, rolled
        found = roller.roll([(trees[asked].problem, prefix) for asked, prefix in wanted.items()], seed * 1009 + rounds)
        rounds += 1
        rolled += found
        answers = dict(zip(wanted, found, strict=True))


def _grow(
    tree: Tree, samples: Sequence[Sample], searches: int
) -> Generator[str, tuple[Rollout, ...] | None, list[tuple[Sample, Found]]]:
    """Search the samples, then roll-outs of the tree's own; returns what each search found, in that order."""
    right = [bool(tree.problem.answer) and verify_solution(sample.solution).correct for sample in samples]
    own = [Rollout(s.solution.text, 0, s.finished, ok) for s, ok in zip(samples, right, strict=True)]
    root = tree.add("", 0, own)
    root.wrong.clear()  # they are searched as samples
    too_hard = not tree.problem.answer
    outcomes = []
    for sample, ok in zip(samples, right, strict=True):
        found = Found(len(sample.solution.steps), None) if ok else Found(0, None)
        if not ok and not too_hard:
            root.visits += 1
            found = yield from tree.first_error(sample)
            if not tree.arrives(""):  # is the first step to blame, or can the policy not solve the problem at all?
                tree.add("", 0, (yield "") or ())
                too_hard = not root.right
                found = Found(0, None) if too_hard else found
        outcomes.append((sample, found))
    for _ in range(searches):
        chosen = tree.choose()
        if chosen is None:
            break
        state, rollout = chosen
        sample = Sample(Solution(tree.problem, rollout.text, split_steps(rollout.text)), rollout.finished)
        start = sum(step.end <= len(state.prefix) for step in sample.solution.steps)
        outcomes.append((sample, (yield from tree.first_error(sample, start))))
    return outcomes
