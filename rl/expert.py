"""``rung expert``: rejection-sampling fine-tuning, round after round: sample, keep what is right, fine-tune on it.

One round is RFT (Yuan et al. 2023); rounds from the start each time are ReST-EM (Singh et al. 2023, algorithm 1),
rounds from where the last one ended are expert iteration (Anthony et al. 2017; Polu et al. 2022).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lm.checkpoint import read_lines, write_lines
from lm.config import key, part
from lm.engine import Engine, Sampling
from lm.engines import EngineConfig, open_engine
from lm.errors import UserError, engine_errors
from lm.lora import LoRAConfig
from lm.models import DType, default_device, load_causal_lm, load_tokenizer, make_trainable
from lm.optim import OptimConfig, learning_rate, make_optimizer, optimizer_step
from lm.run import Run, read_metrics
from lm.sft import FitConfig, Pair, backward, batch_of, encode_pairs
from lm.torch_setup import prepare_torch
from prm.loading import Reading, load_as
from prm.problems import ProblemsConfig, load_problems
from prm.sample import sample_solutions
from prm.scorer import Scorer, score_each
from rl.evaluation import greedy_accuracy
from rl.rollout import Counter, draw
from verifiers.solution import Problem, Solution
from verifiers.verify import verify_solution

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_REPORTED = ("sampled", "accuracy", "kept", "sampled_tokens", "eval_accuracy")


@dataclass(frozen=True)
class ExpertConfig:
    """Sample, keep what is right, fine-tune on it."""

    folder: Path = key(Path("runs/expert"), "the run folder; the policy is saved in FOLDER/model")
    policy: str = key("runs/sft/model", "where the policy starts: folder or hub name")
    prm: str | None = key(None, "a process reward model that must find no weak step in a solution; null: none is asked")
    reading: Reading = part(Reading, "what kind of reward model it is, where its name does not say")
    threshold: float = key(0.5, "the least score of a step that the PRM may find", low=0, high=1)
    dtype: DType = key("float32", "precision of all models; bfloat16 for GPUs")
    problems: ProblemsConfig = part(ProblemsConfig)
    pool: int | None = key(20000, "training problems to draw from; null takes all of a file")
    prompt: str | None = key(None, "prompt with {question} in it; null uses the tokenizer's chat template")
    rounds: int = key(3, "K: rounds of sampling and fine-tuning", low=1)
    problems_per_round: int = key(2000, "problems sampled in each round", low=1)
    sampling: Sampling = part(Sampling, "how solutions are drawn", n=4)
    most: int = key(4, "different solutions of one problem that a round learns from, at most", low=1)
    carry: bool = key(False, "also learn from what the rounds before have kept")
    restart: bool = key(False, "fine-tune from the start in each round (ReST-EM), not from the round before")
    eval_problems: int = key(
        300, "validation problems, never trained on, of the greedy accuracy at the start and after each round; 0: none",
        low=0,
    )  # fmt: skip
    engine: EngineConfig = part(EngineConfig, "what samples the solutions")
    engine_batch: int = key(512, "sequences sampled at once", low=1)
    lora: LoRAConfig = part(LoRAConfig)
    gradient_checkpointing: bool = key(False, "compute activations twice rather than keep them: memory, not results")
    fit: FitConfig = part(FitConfig, "of each round", steps=100, optim=OptimConfig(lr=1e-3, warmup=10))
    seed: int = key(0, "of problems, sampling and the order of the data")
    threads: int | None = key(None, "CPU threads; null leaves it to torch")
    resume: bool = key(False, "go on with the run in the folder")
    overwrite: bool = key(False, "delete the run in the folder first")


def train(config: ExpertConfig) -> None:
    """Rounds of sampling and fine-tuning; write ``folder/model``, and what round k kept to ``folder/rounds``."""
    prepare_torch(config.seed, config.threads)
    tokenizer = load_tokenizer(config.policy)
    policy = load_causal_lm(config.policy, config.dtype).to(default_device())  # type: ignore[arg-type]
    make_trainable(policy, config.lora, config.gradient_checkpointing)
    learnt = [(name, weight) for name, weight in policy.named_parameters() if weight.requires_grad]
    start = {name: weight.detach().clone() for name, weight in learnt} if config.restart else {}
    policy.train()
    prm = load_as(config.reading, config.prm, config.dtype, 16384, config.prompt) if config.prm is not None else None
    problems = [e.problem for e in load_problems(config.problems, "train", config.pool, stream=3)]
    held_out = validation_problems(config) if config.eval_problems else []
    engine = open_engine(
        config.engine, config.policy, tokenizer, dtype=config.dtype, batch=config.engine_batch, model=policy
    )
    optimizer, count = make_optimizer(policy, config.fit.optim), Counter()
    run = Run.open(config, verb="expert")
    run.track(policy=policy, optimizer=optimizer, count=count)
    pairs: list[Pair] = []
    for step in run.steps(
        config.rounds * config.fit.steps, save_every=config.fit.save_every, label="expert", show=["round", "loss"]
    ):
        number, within = divmod(step, config.fit.steps)
        metrics: dict[str, float] = {"round": number}
        if held_out and step == 0:
            with run.timer("evaluate"):
                metrics["eval_accuracy"] = measure(engine, tokenizer, policy, held_out, config)
        if within == 0:
            with run.timer("weights"), engine_errors():
                engine.load_weights(policy)
            with run.timer("sample"):
                kept, tokens, found = sample_round(engine, tokenizer, prm, problems, config, number)
            rows = [{"question": s.problem.question, "solution": s.text, "answer": s.problem.answer} for s in kept]
            write_lines(config.folder / "rounds" / f"{number}.jsonl", rows)
            count.sampled_tokens += tokens
            metrics |= found | {"sampled_tokens": count.sampled_tokens}
            if config.restart:
                put_back(policy, start)
                optimizer = make_optimizer(policy, config.fit.optim)  # without the moments, or masters, of what is gone
                run.track(optimizer=optimizer)
            pairs = []
        if not pairs:  # a new round, or a run that goes on in the middle of one
            pairs = encode_pairs(tokenizer, kept_texts(config, number), config.prompt)
        with run.timer("learn"):
            batch = batch_of(pairs, config.fit.batch, config.seed, step)
            metrics["loss"] = backward(policy, batch, config.fit.micro_tokens)
            rate = learning_rate(config.fit.optim, within, config.fit.steps)
            metrics["grad_norm"] = optimizer_step(policy, optimizer, config.fit.optim, rate)
        if held_out and within + 1 == config.fit.steps:
            with run.timer("evaluate"):
                metrics["eval_accuracy"] = measure(engine, tokenizer, policy, held_out, config)
        run.log(step, **metrics)
    report(run, config.rounds)
    run.finish(model=(policy, tokenizer))


def sample_round(
    engine: Engine,
    tokenizer: "PreTrainedTokenizerBase",
    prm: Scorer | None,
    problems: Sequence[Problem],
    config: ExpertConfig,
    number: int,
) -> tuple[list[Solution], int, dict[str, float]]:
    """(what round ``number`` keeps to learn from, the tokens that it sampled, its metrics)."""
    chosen = draw(problems, config.problems_per_round, config.seed, number)
    seed = config.seed * 1_000_003 + number
    with engine_errors():
        drawn = sample_solutions(engine, tokenizer, chosen, config.sampling, seed, config.prompt)
    right = [(s, completion) for s, completion in drawn if verify_solution(s).correct]
    whole = [s for s, completion in right if completion.finish == "stop"]  # for EOS follows what is learnt
    kept = distinct(strong(whole, prm, config.threshold), config.most)
    tokens = sum(len(completion.token_ids) for _, completion in drawn)
    return kept, tokens, {"sampled": len(drawn), "accuracy": len(right) / len(drawn), "kept": len(kept)}


def measure(
    engine: Engine,
    tokenizer: "PreTrainedTokenizerBase",
    policy: "PreTrainedModel",
    problems: Sequence[Problem],
    config: ExpertConfig,
) -> float:
    """Greedy accuracy of the policy as it is now."""
    with engine_errors():
        engine.load_weights(policy)
    return greedy_accuracy(engine, tokenizer, problems, config.sampling.max_tokens, config.prompt)


def validation_problems(config: ExpertConfig) -> list[Problem]:
    return [e.problem for e in load_problems(config.problems, "validation", config.eval_problems, stream=4)]


def report(run: Run, rounds: int) -> None:
    """Write and print what each round sampled and kept, and the greedy accuracy on held-out problems around it."""
    rows = read_metrics(run.folder)
    before, lines, found = rows[0].get("eval_accuracy"), [], []
    for number in range(rounds):
        own = [row for row in rows if row["round"] == number]  # the first sampled, the last was evaluated
        found.append({"round": number} | {name: row[name] for name in _REPORTED for row in own if name in row})
        line = "round {round}: {sampled} sampled, {accuracy:.1%} right, {kept} kept".format(**found[-1])
        held_out = found[-1].get("eval_accuracy")
        lines.append(line if held_out is None else f"{line}; {held_out:.1%} of held-out problems right after it")
    if before is not None:
        lines.insert(0, f"{before:.1%} of held-out problems right before it")
    run.summarise({"eval_accuracy_before": before, "rounds": found}, *lines)


def strong(solutions: Sequence[Solution], prm: Scorer | None, threshold: float) -> list[Solution]:
    """The solutions whose weakest step scores at least ``threshold``, of those the PRM can read; without one, all."""
    if prm is None:
        return list(solutions)
    found = zip(solutions, score_each(prm, solutions), strict=True)
    return [s for s, score in found if not isinstance(score, str) and score.aggregate("min") >= threshold]


def distinct(solutions: Sequence[Solution], most: int) -> list[Solution]:
    """Each text once, spacing aside, and at most ``most`` of a problem, in the order they were drawn: otherwise easy
    problems, solved every time, would be most of what is learnt."""
    seen: dict[str, set[str]] = {}
    kept = []
    for solution in solutions:
        texts, text = seen.setdefault(solution.problem.question, set()), " ".join(solution.text.split())
        if text not in texts and len(texts) < most:
            texts.add(text)
            kept.append(solution)
    return kept


def kept_texts(config: ExpertConfig, number: int) -> list[tuple[str, str]]:
    """(question, solution) of what a round learns from. Raises UserError where it has kept nothing."""
    rounds = range(number + 1) if config.carry else [number]
    texts: list[tuple[str, str]] = []
    for past in rounds:
        rows = read_lines(config.folder / "rounds" / f"{past}.jsonl")
        texts += [(row["question"], row["solution"]) for row in rows]
    if not texts:
        raise UserError(
            f"round {number} kept none of its solutions: raise problems_per_round or sampling.n, lower threshold, or "
            "start from a better policy"
        )
    return list(dict.fromkeys(texts))


def put_back(policy: "PreTrainedModel", start: "dict[str, torch.Tensor]") -> None:
    """The weights as they were at the start."""
    for name, weight in policy.named_parameters():
        if name in start:
            weight.data.copy_(start[name])
