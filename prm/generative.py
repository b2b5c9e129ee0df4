"""Reward models that write: a critique of the steps, then a verdict token on each, whose probability is the score.

A critique is text and nothing else. GenPRM's may hold Python that its authors run; here it is never asked for and never
run (the "analyze" mode of its paper), and whatever a critique says, only verdict tokens are read.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lm.engine import Engine, Sampling
from lm.errors import UserError
from lm.tokenizer import encode, token_ends
from prm.formats import Format
from prm.forward import batched_states
from prm.heads import step_logits, verdict_head
from prm.layout import Row
from prm.scorer import Advance, context_length, empty_step, sigmoid, stop_at_complaint
from prm.scores import StepScores
from verifiers.solution import Solution

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

THINK = """You are given a math problem and a proposed step-by-step solution:

[Math Problem]

{question}

[Solution]

{steps}

Review and critique each step in the proposed solution to determine whether each step is correct. \
If the solution is incomplete, only verify the provided steps
"""
THINK_START = "\nLet's verify step by step:"
TEACHER = "You are a math teacher. Your task is to review and critique the paragraphs in solution step by step."
ANALYZE, ANALYZED = "<analyze>\nLet's analyze the Paragraph {number} step by step: ", "</analyze>"
JUDGE, JUDGED = "\n<output>\n**Judgement**: $", "$\n</output>\n"
BOX = "\\boxed{"


class GenerativePRM:
    """A causal LM that is asked for ``critiques`` of a solution and read where each says right or wrong of a step.

    P(step right) = p(right token) / (p(right) + p(wrong)), averaged over the critiques that reach the step. A step that
    none reaches stands at 0.5 and is listed in ``StepScores.unsaid``. The same seed gives a solution the same critiques
    whatever else is scored with it.
    """

    def __init__(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        form: Format,
        engine: Engine,
        *,
        sampling: Sampling,
        tokens: int = 16384,
        temperature: float = 1.0,
        seed: int = 0,
    ) -> None:
        if form.layout == "critique turns":  # what follows an analysis is written here, not by the model
            sampling = replace(sampling, stop=(ANALYZED,))
        self.tokenizer, self.form, self.engine, self.sampling = tokenizer, form, engine, sampling
        self.tokens, self.temperature, self.seed = tokens, temperature, seed
        self.lead, right, wrong = verdict_tokens(tokenizer, form.verdicts)
        self.trunk, self.head = verdict_head(model, right, wrong)

    def score(self, solutions: Sequence[Solution], advance: Advance | None = None) -> list[StepScores]:
        """As ``StepPRM.score``."""
        stop_at_complaint(self.measure(solutions))
        judged = self._by_turns(solutions) if self.form.layout == "critique turns" else self._at_once(solutions)
        if advance is not None:
            advance(len(solutions))
        return [_average(critiques, len(s.steps)) for critiques, s in zip(judged, solutions, strict=True)]

    def measure(self, solutions: Sequence[Solution]) -> list[int | str]:
        """As ``StepPRM.measure``: the prompt with the solution and the longest critiques, which must fit the model."""
        limit = context_length(self.trunk)
        found: list[int | str] = []
        for solution, ids in zip(solutions, encode(self.tokenizer, [_said(s) for s in solutions]), strict=True):
            turns = max(1, len(solution.steps)) if self.form.layout == "critique turns" else 1
            room = len(ids) + 200 + turns * self.sampling.max_tokens
            complaint = empty_step(solution)
            if complaint is None and limit is not None and room > limit:
                complaint = (
                    f"solution {solution.problem.id!r} and its critique need {room} tokens, the model reads {limit}; "
                    "allow shorter critiques"
                )
            found.append(room if complaint is None else complaint)
        return found

    def _at_once(self, solutions: Sequence[Solution]) -> list[list[np.ndarray]]:
        """ThinkPRM: one critique of all steps with a boxed verdict on each."""
        prompts = [self._chat([_user(_said(s))]) + THINK_START for s in solutions]
        texts = self._generate(prompts)
        n = self.sampling.n
        rows = [
            self._read_at_boxes(prompts[i], text, len(solutions[i].steps))
            for i in range(len(prompts))
            for text in texts[i]
        ]
        read = self._read(rows)
        return [read[i * n : (i + 1) * n] for i in range(len(solutions))]

    def _by_turns(self, solutions: Sequence[Solution]) -> list[list[np.ndarray]]:
        """GenPRM: a turn a step; the first critique of a step stays in the conversation for the next."""
        talks = [[{"role": "system", "content": TEACHER}] for _ in solutions]
        judged: list[list[np.ndarray]] = [[np.empty(0)] * self.sampling.n for _ in solutions]
        for number in range(max((len(s.steps) for s in solutions), default=0)):
            active = [i for i, s in enumerate(solutions) if number < len(s.steps)]
            for i in active:
                step = solutions[i].steps[number].text
                talks[i].append(_user(step if number else f"{solutions[i].problem.question}\n{step}"))
            start = ANALYZE.replace("{number}", str(number + 1))
            prompts = [self._chat(talks[i]) + start for i in active]
            texts = self._generate(prompts)
            said = [[text.partition(ANALYZED)[0] + ANALYZED + JUDGE for text in group] for group in texts]
            rows = [self._row([p + t]) for p, group in zip(prompts, said, strict=True) for t in group]
            read = iter(self._read(rows))
            for i, group in zip(active, said, strict=True):
                values = [next(read) for _ in group]
                judged[i] = [np.append(old, new) for old, new in zip(judged[i], values, strict=True)]
                verdict = self.form.verdicts[0 if values[0][0] >= 0.5 else 1]
                talks[i].append({"role": "assistant", "content": f"{start}{group[0]}{BOX}{verdict}}}{JUDGED}"})
        return judged

    def _generate(self, prompts: Sequence[str]) -> list[list[str]]:
        """``sampling.n`` continuations of each prompt, as text; seeded by the prompt, not by its place in the call."""
        n = self.sampling.n
        named = [f"{self.seed}\n{prompt}".encode() for prompt in prompts]
        seeds = [int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big") >> 1 for name in named]
        completions = self.engine.generate(encode(self.tokenizer, prompts), self.sampling, seeds)
        texts = [token_ends(self.tokenizer, c.token_ids)[0] for c in completions]
        return [texts[i * n : (i + 1) * n] for i in range(len(prompts))]

    def _read_at_boxes(self, prompt: str, critique: str, steps: int) -> Row:
        """The critique's ids, cut before its first ``steps`` verdicts."""
        words = "|".join(map(re.escape, self.form.verdicts))
        boxes = list(re.finditer(re.escape(BOX) + rf"\s*(?:{words})\s*\}}", critique))[:steps]
        kept = len(self.tokenizer.decode(self.lead))
        pieces, start = [], 0
        for box in boxes:
            pieces.append(critique[start : box.start()])
            start = box.start() + kept
        return self._row([prompt + pieces[0], *pieces[1:]]) if pieces else Row([], [], 0)

    def _row(self, pieces: Sequence[str]) -> Row:
        """The pieces' ids with what leads up to a verdict behind each; read there."""
        ids: list[int] = []
        ends = []
        for piece in encode(self.tokenizer, pieces):
            ids += [*piece, *self.lead]
            ends.append(len(ids) - 1)
        return Row(ids, ends, 0)

    def _read(self, rows: Sequence[Row]) -> list[np.ndarray]:
        """P(right) at the ends of each row."""
        import torch

        found = [np.empty(0)] * len(rows)
        read = [i for i, row in enumerate(rows) if row.ends]
        with torch.inference_mode():
            for batch, states in batched_states(self.trunk, [rows[i] for i in read], [""] * len(read), self.tokens):
                values = sigmoid(step_logits(self.head(states), (1,)).double().cpu().numpy() / self.temperature)
                start = 0
                for i in batch:
                    found[read[i]] = values[start : start + len(rows[read[i]].ends)]
                    start += len(rows[read[i]].ends)
        return found

    def _chat(self, messages: list[dict[str, str]]) -> str:
        if not self.tokenizer.chat_template:
            raise UserError(
                f"the tokenizer of {self.tokenizer.name_or_path!r} has no chat template, which this PRM needs"
            )
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def verdict_tokens(tokenizer: "PreTrainedTokenizerBase", verdicts: tuple[str, str]) -> tuple[list[int], int, int]:
    """(what both boxed verdicts begin with, the token that says right, the token that says wrong)."""
    right, wrong = encode(tokenizer, [f"{BOX}{verdict}}}" for verdict in verdicts])
    at = next(i for i, (a, b) in enumerate(zip(right, wrong, strict=False)) if a != b)
    return right[:at], right[at], wrong[at]


def _said(solution: Solution) -> str:
    steps = "\n".join(f"Step {i}: {step.text}" for i, step in enumerate(solution.steps, 1))
    return THINK.replace("{steps}", steps).replace("{question}", solution.problem.question)


def _user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def _average(critiques: Sequence[np.ndarray], steps: int) -> StepScores:
    """Mean over the critiques that reach a step; 0.5 where none does."""
    reached = [[c[i] for c in critiques if i < len(c)] for i in range(steps)]
    unsaid = tuple(i for i, values in enumerate(reached) if not values)
    return StepScores(np.array([np.mean(values) if values else 0.5 for values in reached]), unsaid=unsaid)
