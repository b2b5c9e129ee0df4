"""``rung rlaif``: online RLAIF. The policy answers, a judge says which answer is better, the policy learns from that.

Direct preference optimisation on the policy's own fresh samples (Guo et al. 2024, OAIF), with an AI's verdicts in the
place of people's (Lee et al. 2023).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lm import processes
from lm.chat import MANNERS
from lm.config import key, part
from lm.engine import Sampling
from lm.engines import EngineConfig, open_engine
from lm.errors import UserError, engine_errors
from lm.lora import LoRAConfig, adapter_off
from lm.models import DType, load_tokenizer, load_with_reference
from lm.optim import OptimConfig, learning_rate, make_optimizer, optimizer_step
from lm.run import MAY_CHANGE, Run
from lm.sft import Pair
from lm.torch_setup import prepare_torch
from lm.trackers import Tracker
from prm.problems import ProblemsConfig, load_problems
from rl.alarms import Watch
from rl.batch import Rollout
from rl.dpo import PreferenceLoss, backward, with_reference
from rl.losses import Metrics
from rl.metrics import shape_metrics
from rl.pair_judge import ChatJudge, Match, PairJudge, PairJudgeConfig, RewardJudge
from rl.reward_model import load_reward_model
from rl.rollout import draw, sample_rollouts

_MAY_CHANGE = MAY_CHANGE | {f"judge.{name}" for name in MANNERS}
_COSTS = ("requests", "prompt_tokens", "completion_tokens")


@dataclass(frozen=True)
class RLAIFConfig(PreferenceLoss):
    """Online preference optimisation by a judge's verdicts."""

    folder: Path = key(Path("runs/rlaif"), "the run folder; the policy is saved in FOLDER/model")
    policy: str = key("runs/sft/model", "where the policy starts, and the reference it stays near: folder or hub name")
    reward: str | None = key(None, "a reward model (rung rm) as the judge; null: the endpoint's model, judge.model")
    judge: PairJudgeConfig = part(PairJudgeConfig)
    dtype: DType = key("float32", "precision of all models; bfloat16 for GPUs")
    lora: LoRAConfig = part(LoRAConfig)
    gradient_checkpointing: bool = key(False, "compute activations twice rather than keep them: memory, not results")
    problems: ProblemsConfig = part(ProblemsConfig, "where the prompts come from", answers=False)
    pool: int | None = key(20000, "prompts to draw from; null takes all of a file")
    prompt: str | None = key(None, "prompt with {question} in it; null uses the tokenizer's chat template")
    sampling: Sampling = part(Sampling, "how responses are drawn; those of a prompt are compared two by two", n=2)
    problems_per_step: int = key(32, "prompts answered in each step", low=1)
    engine: EngineConfig = part(EngineConfig, "what samples the responses")
    engine_batch: int = key(512, "sequences sampled at once", low=1)
    steps: int = key(100, "rounds of sampling, judging and learning", low=1)
    epochs: int = key(2, "updates on the verdicts of a step, each on all of them", low=1)
    micro_tokens: int = key(8192, "padded tokens a forward pass: memory, not results", low=1)
    optim: OptimConfig = part(OptimConfig, lr=1e-4, warmup=5, schedule="constant", weight_decay=0.0)
    save_every: int = key(10, "steps between checkpoints", low=0)
    seed: int = key(0, "of prompts and sampling")
    threads: int | None = key(None, "CPU threads; null leaves it to torch")
    trackers: tuple[Tracker, ...] = key((), "where the metrics go beside metrics.jsonl: tensorboard, wandb, trackio")
    resume: bool = key(False, "go on with the run in the folder")
    overwrite: bool = key(False, "delete the run in the folder first")


def train(config: RLAIFConfig) -> None:
    """Sample, judge, learn; write ``folder/model``, and every answer of the judge in ``folder/verdicts.jsonl``."""
    if config.sampling.n < 2 or config.sampling.temperature == 0:
        raise UserError("responses to a prompt are compared: give sampling.n of 2 or more and a temperature above 0")
    prepare_torch(config.seed, config.threads)
    tokenizer = load_tokenizer(config.policy)
    policy, reference = load_with_reference(config.policy, config.dtype, config.lora, config.gradient_checkpointing)
    prompts = [e.problem for e in load_problems(config.problems, "train", config.pool, stream=3)]
    engine = open_engine(
        config.engine, config.policy, tokenizer, dtype=config.dtype, batch=config.engine_batch, model=policy
    )
    optimizer, spent = make_optimizer(policy, config.optim), Spent()
    run = Run.open(config, verb="rlaif", may_change=_MAY_CHANGE)
    judge = make_judge(config)
    run.track(policy=policy, optimizer=optimizer, spent=spent)
    watch = Watch(run.folder)
    policy.train()  # for gradient checkpointing, which rests in evaluation mode; dropout there is none
    for step in run.steps(
        config.steps, save_every=config.save_every, label="RLAIF", show=["loss", "decided", "requests"]
    ):
        # act
        with run.timer("weights"), engine_errors():
            engine.load_weights(policy)
        with run.timer("sample"):
            asked = draw(prompts, config.problems_per_step, config.seed, step)
            seed = config.seed * 1_000_003 + step
            with engine_errors():
                rollouts = sample_rollouts(engine, tokenizer, asked, config.sampling, seed, config.prompt)

        # judge
        with run.timer("judge"):
            matches = opponents(rollouts, config.sampling.n)
            verdicts = judge.compare(
                [Match(a.solution.problem.question, a.solution.text, b.solution.text) for a, b in matches],
                f"step {step}",
            )
            decided = [(pair, b) for pair, b in zip(matches, verdicts.better, strict=True) if b is not None]
            ranked = [pair[::-1] if better else pair for pair, better in decided]

        # learn
        with run.timer("learn"):
            learned: list[Metrics] = []
            chosen, rejected = ([_tokens(pair[side]) for pair in ranked] for side in (0, 1))
            with adapter_off(reference):
                rows = with_reference(reference, chosen, rejected, config.micro_tokens) if ranked else []
            for _ in range(config.epochs if rows else 0):
                metrics = backward(policy, rows, config, config.micro_tokens)
                rate = learning_rate(config.optim, step, config.steps)
                learned.append(metrics | {"grad_norm": optimizer_step(policy, optimizer, config.optim, rate)})
        spent.add(verdicts.counts, sum(len(r.completion.token_ids) for r in rollouts))
        now = learned[0] if learned else {}  # before the first update: of the policy that answered, whence the KL
        line = run.log(
            step,
            **spent.state_dict(),
            compared=len(matches),
            decided=len(ranked),
            **{name: n for name, n in verdicts.counts.items() if name not in _COSTS},
            **shape_metrics(rollouts),
            **(now | {"kl": (now["chosen_log_ratio"] + now["rejected_log_ratio"]) / 2} if now else {}),
        )
        if processes.is_main():
            watch(line)
    print(f"rung rlaif: {spent}")
    run.finish(model=(policy, tokenizer))


def make_judge(config: RLAIFConfig) -> PairJudge:
    if config.reward is not None:
        return RewardJudge(load_reward_model(config.reward, config.dtype, config.prompt, config.micro_tokens))
    kept = config.folder / "verdicts.jsonl"
    if not config.resume:
        kept.unlink(missing_ok=True)
    return ChatJudge(config.judge, kept)


def opponents(rollouts: Sequence[Rollout], n: int) -> list[tuple[Rollout, Rollout]]:
    """Two by two the ``n`` responses of each prompt, side by side; two that say the same are left out."""
    found = []
    for start in range(0, len(rollouts), n):
        group = rollouts[start : start + n]
        found += [(a, b) for a, b in zip(group[::2], group[1::2], strict=False) if a.solution.text != b.solution.text]
    return found


def _tokens(rollout: Rollout) -> Pair:
    return rollout.prompt_ids, rollout.completion.token_ids


class Spent:
    """What a run has used up so far, as its metrics and a checkpoint say it."""

    def __init__(self) -> None:
        self.totals = dict.fromkeys(("sampled_tokens", *_COSTS), 0)

    def add(self, counts: dict[str, int], sampled_tokens: int) -> None:
        now = counts | {"sampled_tokens": sampled_tokens}
        self.totals = {name: total + now.get(name, 0) for name, total in self.totals.items()}

    def state_dict(self) -> dict[str, int]:
        return self.totals

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.totals = state

    def __str__(self) -> str:
        return ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in self.totals.items())
