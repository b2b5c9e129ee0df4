"""``rung constitution``: critiques and revisions by written principles, for SFT and for preference training.

Constitutional AI (Bai et al. 2022): a response is criticised by a principle drawn from the constitution and revised
(section 3); SFT learns the revisions, and a reward model or DPO learns pairs of response and revision, of which a judge
may say by the principle which is better (section 4).
"""

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lm.chat import MANNERS, ChatConfig, Cost, Messages, ask, ask_all, cost_of
from lm.checkpoint import read_lines, write_json, write_lines
from lm.config import key, part
from lm.engine import Sampling, check_one_each
from lm.engines import EngineConfig, open_engine
from lm.errors import UserError, engine_errors
from lm.models import DType, load_tokenizer
from lm.run import MAY_CHANGE, Run
from lm.tokenizer import encode, prompt_text, token_ends
from lm.torch_setup import prepare_torch
from prm.problems import ProblemsConfig, load_problems
from rl.pair_judge import ChatJudge, Match, PairJudgeConfig

_MAY_CHANGE = MAY_CHANGE | {f"{where}.{name}" for where in ("writer", "judge") for name in MANNERS}
_CRITERION = "Which of the two responses fares better by this principle? "


@dataclass(frozen=True)
class Principle:
    """What a critique looks for, and what a revision is asked to do about it."""

    critique: str
    revision: str


@dataclass(frozen=True)
class ConstitutionConfig:
    """Prompts in; revised responses and preference pairs out."""

    folder: Path = key(Path("runs/constitution"), "the run folder: sft.jsonl, preferences.jsonl, transcripts.jsonl")
    constitution: Path = key(
        Path("constitution.json"), "the principles, each a critique request and a revision request"
    )
    problems: ProblemsConfig = part(ProblemsConfig, "where the prompts come from", answers=False)
    count: int | None = key(1000, "prompts to respond to; null takes all of a file")
    policy: str = key("runs/sft/model", "who responds, and without writer.model criticises and revises, too")
    writer: ChatConfig = part(
        ChatConfig, "the endpoint whose model criticises and revises; without writer.model: policy"
    )
    judge: PairJudgeConfig = part(
        PairJudgeConfig, "with judge.model, whether the revision is better is asked by the principle; without, it is"
    )
    revisions: int = key(1, "rounds of critique and revision, each by a principle drawn anew", low=1)
    sampling: Sampling = part(Sampling, "how the policy writes", max_tokens=256)
    dtype: DType = key("float32", "precision of the policy; bfloat16 for GPUs")
    prompt: str | None = key(None, "prompt with {question} in it; null uses the tokenizer's chat template")
    batch_prompts: int = key(64, "prompts a batch; a run resumes at a batch", low=1)
    engine: EngineConfig = part(EngineConfig, "what the policy writes with")
    engine_batch: int = key(128, "sequences sampled at once", low=1)
    seed: int = key(0, "of the principles and the sampling")
    threads: int | None = key(None, "CPU threads; null leaves it to torch")
    resume: bool = key(False, "go on with the run in the folder")
    overwrite: bool = key(False, "delete the run in the folder first")

    def __post_init__(self) -> None:
        check_one_each(self.sampling)


class Writer(Protocol):
    """Continues conversations. A text is None where nothing came that could be used: cut off, refused, or empty."""

    def write(self, conversations: Sequence[Messages], seed: int) -> tuple[list[str | None], Cost]: ...


class LocalWriter:
    """The policy itself."""

    def __init__(self, config: ConstitutionConfig) -> None:
        self.tokenizer = load_tokenizer(config.policy)
        self.engine = open_engine(
            config.engine, config.policy, self.tokenizer, dtype=config.dtype, batch=config.engine_batch
        )
        self.sampling, self.prompt = config.sampling, config.prompt

    def write(self, conversations: Sequence[Messages], seed: int) -> tuple[list[str | None], Cost]:
        prompts = encode(self.tokenizer, [self._text(messages) for messages in conversations])
        found: list[str | None] = []
        with engine_errors():
            completions = self.engine.generate(prompts, self.sampling, seed)
        for completion in completions:
            text, _ = token_ends(self.tokenizer, completion.token_ids)
            found.append(text.strip() or None if completion.finish == "stop" else None)
        return found, {}

    def _text(self, messages: Messages) -> str:
        if self.prompt is not None or len(messages) == 1:
            return prompt_text(self.tokenizer, "\n\n".join(m["content"] for m in messages), self.prompt)
        turns = [dict(message) for message in messages]
        return str(self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))


class ChatWriter:
    """A model behind an endpoint."""

    def __init__(self, config: ChatConfig) -> None:
        self.config = config

    def write(self, conversations: Sequence[Messages], seed: int) -> tuple[list[str | None], Cost]:
        replies = ask_all(self.config, conversations, lambda messages: ask(self.config, messages), "writer")
        return [(reply.text or "").strip() or None for reply in replies], cost_of(replies)


def main(config: ConstitutionConfig) -> None:
    """Respond, criticise and revise batch by batch; then write the files to train on and ``summary.json``."""
    principles = load_constitution(config.constitution)
    prepare_torch(config.seed, config.threads)
    questions = [e.problem.question for e in load_problems(config.problems, "train", config.count, stream=5)]
    batches = [questions[i : i + config.batch_prompts] for i in range(0, len(questions), config.batch_prompts)]
    policy = LocalWriter(config)
    writer: Writer = ChatWriter(config.writer) if config.writer.model else policy
    run = Run.open(config, verb="constitution", may_change=_MAY_CHANGE)
    kept = config.folder / "verdicts.jsonl"
    if not config.resume:
        kept.unlink(missing_ok=True)
    judge = ChatJudge(config.judge, kept) if config.judge.model else None
    for step in run.steps(len(batches), save_every=1, label="constitution"):
        rows, counts = revise(batches[step], principles, policy, writer, config, step)
        if judge is not None:
            matches = [Match(r["question"], r["response"], r["revision"], _CRITERION + r["principle"]) for r in rows]
            verdicts = judge.compare(matches, f"step {step}")
            rows = [row | {"better": better} for row, better in zip(rows, verdicts.better, strict=True)]
            counts |= {f"judge_{name}": n for name, n in verdicts.counts.items()}
        write_lines(config.folder / "parts" / f"{step:06d}.jsonl", rows)
        run.log(step, **counts)
    write_up(config.folder, len(batches))
    run.finish()


def revise(
    questions: Sequence[str],
    principles: Sequence[Principle],
    policy: Writer,
    writer: Writer,
    config: ConstitutionConfig,
    step: int,
) -> tuple[list[dict[str, Any]], Cost]:
    """A row for each question that got a response and a revision unlike it; what was lost on the way is counted."""
    seed = (config.seed * 100_003 + step) * (2 * config.revisions + 1)
    responses, spent = policy.write([[_user(q)] for q in questions], seed)
    total = Counter(spent)
    rows: list[dict[str, Any]] = [
        {"question": q, "response": r, "revision": r, "principle": "", "critiques": []}
        for q, r in zip(questions, responses, strict=True) if r is not None
    ]  # fmt: skip
    counts = Counter(prompts=len(questions), no_response=len(questions) - len(rows))
    for number in range(config.revisions):
        drawn = [_principle(principles, config.seed, row["question"], number) for row in rows]
        talks = [
            [_user(row["question"]), _said(row["revision"]), _user(p.critique)]
            for row, p in zip(rows, drawn, strict=True)
        ]
        critiques, spent = writer.write(talks, seed + 2 * number + 1)
        total.update(spent)
        found = [
            (row, p, talk, c) for row, p, talk, c in zip(rows, drawn, talks, critiques, strict=True) if c is not None
        ]
        counts["no_critique"] += len(rows) - len(found)
        revisions, spent = writer.write(
            [[*talk, _said(c), _user(p.revision)] for _, p, talk, c in found], seed + 2 * number + 2
        )
        total.update(spent)
        rows = [
            row | {"revision": revision, "principle": p.critique, "critiques": [*row["critiques"], c]}
            for (row, p, _, c), revision in zip(found, revisions, strict=True) if revision is not None
        ]  # fmt: skip
        counts["no_revision"] += len(found) - len(rows)
    changed = [row for row in rows if row["revision"] != row["response"]]
    counts["unchanged"] = len(rows) - len(changed)
    return changed, dict(counts) | dict(total)


def write_up(folder: Path, batches: int) -> None:
    """The files to train on: revisions for ``rung sft``, and pairs for ``rung rm`` and ``rung dpo``, in which a judge
    that prefers the response is heard, and one that cannot tell leaves none."""
    rows: list[dict[str, Any]] = []
    for step in range(batches):
        rows += read_lines(folder / "parts" / f"{step:06d}.jsonl")
    pairs = []
    for row in rows:
        better = row.get("better", 1)
        if better is not None:
            sides = (row["revision"], row["response"]) if better == 1 else (row["response"], row["revision"])
            pairs.append({"prompt": row["question"], "chosen": sides[0], "rejected": sides[1]})
    write_lines(folder / "sft.jsonl", [{"question": row["question"], "solution": row["revision"]} for row in rows])
    write_lines(folder / "preferences.jsonl", pairs)
    write_lines(folder / "transcripts.jsonl", rows)
    preferred = sum(row.get("better", 1) == 1 for row in rows)
    write_json(folder / "summary.json", {"revised": len(rows), "pairs": len(pairs), "revision_preferred": preferred})
    print(f"{len(rows)} responses revised, {len(pairs)} pairs; the revision is preferred in {preferred}")


def load_constitution(path: Path) -> list[Principle]:
    """The principles of a JSON file: a list, or an object with one under "constitutions", of objects with a "critique"
    (or "critic") request and a "revision" request. Raises UserError for any other file."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the constitution {path}: {error}; give a JSON file of principles") from error
    listed = tree.get("constitutions") if isinstance(tree, dict) else tree
    principles = []
    for number, row in enumerate(listed if isinstance(listed, list) else [], start=1):
        texts = (row.get("critique", row.get("critic")), row.get("revision")) if isinstance(row, dict) else (None, None)
        if not all(isinstance(text, str) and text.strip() for text in texts):
            raise UserError(f"{path}: principle {number} needs a critique and a revision, both text")
        principles.append(Principle(*map(str, texts)))
    if not principles:
        raise UserError(f'{path} holds no principles; give a list of {{"critique": ..., "revision": ...}}')
    return principles


def _principle(principles: Sequence[Principle], seed: int, question: str, number: int) -> Principle:
    return random.Random(f"principle/{seed}/{number}/{question}").choice(principles)


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def _said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}
