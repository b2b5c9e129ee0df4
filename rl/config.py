"""What a run of RL is: every algorithm is a choice of advantage, loss and normaliser made here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lm import processes
from lm.config import key, part
from lm.engine import Sampling
from lm.engines import EngineConfig
from lm.errors import UserError
from lm.lora import LoRAConfig
from lm.models import DType
from lm.optim import OptimConfig
from lm.trackers import Tracker
from prm.labelling import SYMBOLIC
from prm.loading import Reading
from prm.problems import ProblemsConfig
from rl.credit import CreditConfig
from rl.experience import AdvantageConfig
from rl.losses import Normaliser, Ratio
from rl.refresh import RefreshConfig


@dataclass(frozen=True)
class RLConfig:
    """Sample, judge, credit, learn. The defaults are PPO with per-step rewards (credit.form=outcome: the outcome-only
    baseline); configs/rl/ holds GRPO, Dr. GRPO, RLOO, REINFORCE++, DAPO and GSPO as what differs from it."""

    folder: Path = key(Path("runs/ppo"), "the run folder; the policy is saved in FOLDER/model")
    policy: str = key("runs/sft/model", "where the policy starts, and the reference it stays near: folder or hub name")
    critic: str | None = key(None, "where the critic's trunk starts; null: the policy's")
    critic_trunk: Literal["separate", "shared"] = key(
        "separate", "shared: the critic is a head on the policy's own trunk, for half the compute"
    )
    prm: str = key("runs/prm/model", "the process reward model: folder, hub name or symbolic")
    reward: str | None = key(
        None, "a reward model (rung rm) that pays for a response in the verdict's place, with credit.form=outcome: RLHF"
    )
    reading: Reading = part(Reading, "how that is read, and which others judge beside it")
    prover: str | None = key(
        None, "a policy whose roll-outs from each step (c/N) take the PRM's place, for credit.form=progress"
    )
    prover_rollouts: int = key(4, "N: roll-outs of the prover from each step", low=1)
    prover_engine: EngineConfig = part(EngineConfig, "what samples them")
    dtype: DType = key("float32", "precision of all models; bfloat16 for GPUs")
    lora: LoRAConfig = part(LoRAConfig, "of the policy and of a critic or implicit PRM with a trunk of its own")
    gradient_checkpointing: bool = key(False, "compute activations twice rather than keep them: memory, not results")
    problems: ProblemsConfig = part(ProblemsConfig)
    pool: int | None = key(20000, "training problems to draw from; null takes all of a file")
    prompt: str | None = key(None, "prompt with {question} in it; null uses the tokenizer's chat template")
    credit: CreditConfig = part(CreditConfig)
    advantage: AdvantageConfig = part(AdvantageConfig)
    sampling: Sampling = part(Sampling, "how rollouts are drawn", n=2)
    problems_per_step: int = key(32, "problems sampled in each step, sampling.n rollouts of each", low=1)
    resample: int = key(
        0, "rounds of sampling other problems for those whose rollouts are all right or all wrong (DAPO)", low=0
    )
    engine: EngineConfig = part(EngineConfig, "what samples the rollouts")
    overlap: bool = key(
        False,
        "score steps while other rollouts are still sampled, as answers are checked in any case; which arrive together "
        "then changes scores by rounding",
    )
    staleness: int = key(
        0, "updates by which sampling, in a process of its own, runs ahead of learning; 0: they take turns", low=0
    )
    verifier_workers: int = key(
        0,
        "processes that check answers, each replaced when it hangs or dies; 0: this process, which repeats itself",
        low=0,
    )
    verifier_seconds: float = key(2.0, "for an answer that such a process checks; more is the verdict timeout", low=0)
    engine_batch: int = key(512, "sequences sampled at once", low=1)
    steps: int = key(100, "rounds of sampling and learning", low=1)
    token_budget: int | None = key(None, "also stop once so many tokens are sampled: how two arms are made equal")
    epochs: int = key(4, "passes over the rollouts of a step", low=1)
    minibatches: int = key(2, "optimizer steps a pass", low=1)
    micro_tokens: int = key(8192, "padded tokens a forward pass: memory, not results", low=1)
    stop_kl: float | None = key(
        None, "end a step's passes at the minibatch whose KL from the sampling policy (k3, a token) exceeds this"
    )
    ratio: Ratio = key("token", "the policy ratio is of a token (PPO), or of a sequence (GSPO)")
    clip_low: float = key(0.2, "the ratio's clip below 1", low=0, high=1)
    clip_high: float = key(0.2, "the ratio's clip above 1", low=0)
    dual_clip: float | None = key(None, "c: where A < 0 the surrogate is at least c·A; null: no bound", low=1)
    normaliser: Normaliser = key("tokens", "how the loss is averaged over tokens; see docs/conventions.md")
    value_clip: float | None = key(None, "clip of the critic's change; null: plain squared error")
    value_coefficient: float = key(0.5, "weight of the value loss beside the policy's on a shared trunk", low=0)
    ptx_coefficient: float = key(
        0.0, "γ of PPO-ptx: weight of the cross-entropy of worked solutions, mixed into every update", low=0
    )
    ptx_batch: int = key(32, "worked solutions in each update's ptx loss", low=1)
    ptx_source: str | None = key(
        None, "file or hub data set of the solutions that ptx mixes in, which need no answers; null: those of problems"
    )
    max_skipped: int = key(5, "a run ends after so many updates in a row with NaN or Inf, which are left out", low=1)
    optim: OptimConfig = part(OptimConfig, lr=1e-4, warmup=5, schedule="constant", weight_decay=0.0)
    critic_optim: OptimConfig = part(OptimConfig, lr=1e-3, warmup=1, schedule="constant", weight_decay=0.0)
    prm_optim: OptimConfig = part(
        OptimConfig, "of credit.form=implicit's PRM", lr=1e-4, warmup=5, schedule="constant", weight_decay=0.0
    )
    prm_refresh: RefreshConfig = part(RefreshConfig, "the PRM's training on fresh rollouts")
    eval_every: int = key(20, "steps between greedy evaluations on held-out problems; 0: never", low=0)
    eval_problems: int = key(300, "validation problems in such an evaluation", low=1)
    guard: ProblemsConfig | None = key(
        None, "problems that the run does not train on, as many, to see what it forgets: guard.families=[word]"
    )
    save_every: int = key(20, "steps between checkpoints", low=0)
    keep: int = key(2, "newest checkpoints that stay", low=1)
    keep_best: bool = key(True, "and the one with the best eval_accuracy, saved where that is measured")
    seed: int = key(0, "of problems, sampling and minibatches")
    threads: int | None = key(None, "CPU threads; null leaves it to torch")
    trackers: tuple[Tracker, ...] = key((), "where the metrics go beside metrics.jsonl: tensorboard, wandb, trackio")
    resume: bool = key(False, "go on with the run in the folder")
    overwrite: bool = key(False, "delete the run in the folder first")

    @property
    def compared(self) -> int | None:
        """How many rollouts the advantage compares with one another; None where it compares none."""
        return self.sampling.n if self.advantage.estimator in ("group", "leave_one_out") else None


def check(config: RLConfig) -> None:
    """Refuse what cannot learn, before anything is loaded."""
    if config.credit.form == "implicit" and processes.sharded():
        raise UserError("credit.form=implicit scores with models that FSDP would have in shards: launch without FSDP")
    if config.staleness and processes.count() > 1:
        raise UserError("staleness samples ahead of one process: launch one, or leave staleness at 0")
    if config.sampling.temperature == 0:
        raise UserError("sampling.temperature is 0: RL learns from sampled rollouts; give a number above 0")
    if config.sampling.top_p < 1 and config.engine.backend != "transformers":
        raise UserError("sampling.top_p is below 1, and vLLM tells no log-probs before the nucleus: leave it at 1")
    if config.staleness and config.credit.form == "implicit":
        raise UserError("credit.form=implicit learns its PRM where it learns the policy: leave staleness at 0")
    if config.staleness and config.advantage.importance == "none":
        raise UserError(
            "staleness learns from an older policy's rollouts: give advantage.importance=token (or sequence)"
        )
    if config.overlap:
        instead = {
            "prover": config.prover is not None,
            "reward": config.reward is not None,
            "credit.form=implicit": config.credit.form == "implicit",
            "reading.backend=vllm": config.reading.backend == "vllm",  # vLLM is not made for two threads
        }
        if given := [name for name, is_given in instead.items() if is_given]:
            raise UserError(f"overlap scores with a PRM of this process's: with {given[0]} leave overlap at false")
    if config.sampling.n < 2 and (config.compared is not None or config.resample):
        what = "resample" if config.resample else f"advantage.estimator={config.advantage.estimator}"
        raise UserError(f"{what} compares the rollouts of a problem: give sampling.n of 2 or more")
    if config.reward is not None and config.credit.form != "outcome":
        raise UserError("reward names a model that judges whole responses: give credit.form=outcome with it")
    if not config.problems.answers and config.reward is None:
        raise UserError("problems.answers is false and a verdict needs answers: give reward=MODEL, of rung rm")
    if config.critic_trunk == "shared" and config.critic is not None:
        raise UserError("critic names a trunk of its own and critic_trunk is shared: give one of them")
    if config.prm_refresh.every and processes.sharded():
        raise UserError("prm_refresh trains a PRM that each process holds whole: launch without FSDP")
    if config.prm_refresh.every:
        instead = {
            "prm=symbolic": config.prm == SYMBOLIC,
            "reading.also": bool(config.reading.also),
            "reading.backend=vllm": config.reading.backend == "vllm",
            "prover": config.prover is not None,
            "reward": config.reward is not None,
            "credit.form=implicit": config.credit.form == "implicit",
            "staleness": config.staleness > 0,
        }
        if given := [name for name, is_given in instead.items() if is_given]:
            raise UserError(
                f"prm_refresh trains the one PRM that this process has loaded, and with {given[0]} there is none: "
                "leave prm_refresh.every at 0"
            )
