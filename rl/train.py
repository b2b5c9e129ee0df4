"""``rung ppo``: PPO in which every reasoning step is paid. Read ``train`` top to bottom; it is the algorithm."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lm.config import key, part
from lm.engine import Engine, Sampling, TransformersEngine
from lm.errors import UserError
from lm.models import DType, default_device, load_causal_lm, load_token_scorer, load_tokenizer, zero_head
from lm.optim import OptimConfig, learning_rate, make_optimizer, optimizer_step
from lm.run import Run
from lm.torch_setup import prepare_torch
from prm.loading import load as load_prm
from prm.problems import ProblemsConfig, load_problems
from prm.scores import StepScores
from rl.batch import Experience, Rollout, pack
from rl.credit import CreditConfig, token_rewards
from rl.experience import AdvantageConfig, Metrics, estimate_advantages
from rl.forward import action_logprobs, action_values
from rl.losses import policy_loss, value_loss
from rl.rollout import draw, sample_rollouts
from verifiers.solution import Problem, Verdict
from verifiers.verify import verify_solution

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class PPOConfig:
    """Proximal policy optimisation with per-step rewards (credit.form=outcome: the outcome-only baseline)."""

    folder: Path = key(Path("runs/ppo"), "the run folder; the policy is saved in FOLDER/model")
    policy: str = key("runs/sft/model", "where the policy starts, and the reference it stays near: folder or hub name")
    critic: str | None = key(None, "where the critic's trunk starts; null: the policy's")
    prm: str = key("runs/prm/model", "the process reward model: folder or hub name")
    dtype: DType = key("float32", "precision of all models; bfloat16 for GPUs")
    problems: ProblemsConfig = part(ProblemsConfig)
    pool: int | None = key(20000, "training problems to draw from; null takes all of a file")
    prompt: str | None = key(None, "prompt with {question} in it; null uses the tokenizer's chat template")
    credit: CreditConfig = part(CreditConfig)
    advantage: AdvantageConfig = part(AdvantageConfig)
    sampling: Sampling = part(Sampling, "how rollouts are drawn", n=2)
    problems_per_step: int = key(64, "problems sampled in each step, sampling.n rollouts of each", low=1)
    engine_batch: int = key(512, "sequences sampled at once", low=1)
    steps: int = key(100, "rounds of sampling and learning", low=1)
    token_budget: int | None = key(None, "also stop once so many tokens are sampled: how two arms are made equal")
    epochs: int = key(1, "passes over the rollouts of a step", low=1)
    minibatches: int = key(2, "optimizer steps a pass", low=1)
    micro_tokens: int = key(8192, "padded tokens a forward pass: memory, not results", low=1)
    clip_low: float = key(0.2, "the ratio's clip below 1", low=0, high=1)
    clip_high: float = key(0.2, "the ratio's clip above 1", low=0)
    value_clip: float | None = key(None, "clip of the critic's change; null: plain squared error")
    optim: OptimConfig = part(OptimConfig, lr=3e-4, warmup=5, schedule="constant", weight_decay=0.0)
    critic_optim: OptimConfig = part(OptimConfig, lr=1e-3, warmup=1, schedule="constant", weight_decay=0.0)
    eval_every: int = key(20, "steps between greedy evaluations on held-out problems; 0: never", low=0)
    eval_problems: int = key(300, "validation problems in such an evaluation", low=1)
    save_every: int = key(20, "steps between checkpoints", low=0)
    seed: int = key(0, "of problems, sampling and minibatches")
    threads: int | None = key(None, "CPU threads; null leaves it to torch")
    resume: bool = key(False, "go on with the run in the folder")
    overwrite: bool = key(False, "delete the run in the folder first")


def train(config: PPOConfig) -> None:
    """Sample, judge, credit, learn; write ``folder/model``."""
    if config.sampling.temperature == 0:
        raise UserError("sampling.temperature is 0: PPO learns from sampled rollouts; give a number above 0")
    prepare_torch(config.seed, config.threads)
    device = default_device()
    tokenizer = load_tokenizer(config.policy)
    policy, reference = (load_causal_lm(config.policy, config.dtype).to(device) for _ in range(2))  # type: ignore[arg-type]
    critic = load_token_scorer(config.critic or config.policy, 1, config.dtype).to(device)  # type: ignore[arg-type]
    zero_head(critic)  # a fresh head's random values would be the first advantages
    prm = load_prm(config.prm, config.dtype, config.micro_tokens, config.prompt)
    problems = [e.problem for e in load_problems(config.problems, "train", config.pool, stream=3)]
    held_out = [e.problem for e in load_problems(config.problems, "validation", config.eval_problems, stream=4)]
    engine = TransformersEngine(policy, tokenizer, config.engine_batch)
    optimizer = make_optimizer(policy, config.optim)
    critic_optimizer = make_optimizer(critic, config.critic_optim)
    count = Counter()

    run = Run.open(config.folder, config, verb="ppo", resume=config.resume, overwrite=config.overwrite)
    run.track(policy=policy, critic=critic, optimizer=optimizer, critic_optimizer=critic_optimizer, count=count)
    for step in run.steps(
        config.steps, save_every=config.save_every, label=f"PPO {config.credit.form}", show=["accuracy", "kl"]
    ):
        # act
        with run.timer("sample"):
            engine.load_weights(policy)
            chosen = draw(problems, config.problems_per_step, config.seed, step)
            seed = config.seed * 1_000_003 + step
            rollouts = sample_rollouts(engine, tokenizer, chosen, config.sampling, seed, config.prompt)

        # judge: the final answer, then every step
        with run.timer("judge"):
            verdicts = [verify_solution(r.solution) for r in rollouts]
            scores = prm.score([r.solution for r in rollouts])

        # credit: rewards on tokens, then advantages
        with run.timer("credit"):
            tokens = pack(rollouts, device)
            rewards = token_rewards(tokens, scores, verdicts, config.credit)
            experience, metrics = estimate_advantages(
                policy, reference, critic, tokens, rewards, config.advantage,
                temperature=config.sampling.temperature, micro_tokens=config.micro_tokens,
            )  # fmt: skip

        # learn
        with run.timer("learn"):
            learned: list[Metrics] = []
            for batch in minibatches(experience, config.minibatches, config.epochs, config.seed, step):
                learned.append(backward(policy, critic, batch, config))
                rate = learning_rate(config.optim, step, config.steps)
                learned[-1]["grad_norm"] = optimizer_step(policy, optimizer, config.optim, rate)
                rate = learning_rate(config.critic_optim, step, config.steps)
                optimizer_step(critic, critic_optimizer, config.critic_optim, rate)

        count.sampled_tokens += sum(len(r.completion.token_ids) for r in rollouts)
        if config.eval_every and (step % config.eval_every == 0 or step + 1 == config.steps):
            with run.timer("evaluate"):
                metrics["eval_accuracy"] = greedy_accuracy(engine, tokenizer, held_out, config)
        run.log(
            step,
            sampled_tokens=count.sampled_tokens,
            **rollout_metrics(rollouts, verdicts, scores),
            reward=float(rewards.sum() / len(rollouts)),
            **metrics,
            **{name: float(np.mean([m[name] for m in learned])) for name in learned[0]},
        )
        if config.token_budget is not None and count.sampled_tokens >= config.token_budget:
            break
    run.finish(model=(policy, tokenizer), critic=critic)


class Counter:
    """What a run has used up so far, as a checkpoint keeps it."""

    sampled_tokens = 0

    def state_dict(self) -> dict[str, int]:
        return {"sampled_tokens": self.sampled_tokens}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.sampled_tokens = state["sampled_tokens"]


def minibatches(experience: Experience, count: int, epochs: int, seed: int, step: int) -> Iterator[Experience]:
    """Each pass cuts the shuffled rollouts into ``count`` parts; a function of seed and step alone."""
    rows = list(range(len(experience.tokens.rollouts)))
    generator = random.Random(f"{seed}/{step}")
    for _ in range(epochs):
        generator.shuffle(rows)
        size = -(-len(rows) // count)
        for start in range(0, len(rows), size):
            yield experience.select(rows[start : start + size])


def backward(policy: "PreTrainedModel", critic: "PreTrainedModel", batch: Experience, config: PPOConfig) -> Metrics:
    """Accumulate the gradients of both losses over a minibatch, a few rows at a time; returns its metrics."""
    normaliser = float(batch.tokens.actions.sum())
    total: Metrics = {}
    for rows in batch.tokens.by_length(config.micro_tokens):
        part = batch.select(rows)
        actions = part.tokens.actions
        logprobs, _ = action_logprobs(policy, part.tokens, config.sampling.temperature)
        loss, metrics = policy_loss(
            logprobs, part.old_logprobs, part.advantages, actions,
            clip_low=config.clip_low, clip_high=config.clip_high, normaliser=normaliser,
        )  # fmt: skip
        loss.backward()
        values = action_values(critic, part.tokens)
        critic_loss, critic_metrics = value_loss(
            values, part.old_values, part.returns, actions, clip=config.value_clip, normaliser=normaliser
        )
        critic_loss.backward()
        metrics |= critic_metrics | {"policy_loss": float(loss.detach()), "value_loss": float(critic_loss.detach())}
        for name, value in metrics.items():
            total[name] = total.get(name, 0.0) + value
    return total


def greedy_accuracy(
    engine: Engine, tokenizer: "PreTrainedTokenizerBase", problems: Sequence[Problem], config: PPOConfig
) -> float:
    """Share of ``problems`` that the policy answers rightly without sampling."""
    greedy = Sampling(temperature=0, max_tokens=config.sampling.max_tokens)
    rollouts = sample_rollouts(engine, tokenizer, problems, greedy, 0, config.prompt)
    return float(np.mean([verify_solution(r.solution).correct for r in rollouts]))


def rollout_metrics(rollouts: Sequence[Rollout], verdicts: Sequence[Verdict], scores: Sequence[StepScores]) -> Metrics:
    """What the rollouts of a step look like; shares and means over rollouts."""
    share = {
        name: float(np.mean([v.reason == reason for v in verdicts]))
        for name, reason in (("no_answer", "no answer"), ("unparsable", "unparsable"), ("timeout", "timeout"))
    }
    return {
        "accuracy": float(np.mean([v.correct for v in verdicts])),
        "prm_score": float(np.mean([s.aggregate("min") for s in scores])),
        "response_length": float(np.mean([len(r.completion.token_ids) for r in rollouts])),
        "steps_per_solution": float(np.mean([len(r.solution.steps) for r in rollouts])),
        "truncated": float(np.mean([r.completion.finish == "length" for r in rollouts])),
        **share,
    }
