"""``rung plan CONFIG``: will it fit, how long will an update take, and what bounds it?"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from lm.config import REQUIRED, key, load
from lm.errors import UserError
from rl.config import RLConfig
from rung.ladder import Ladder, stage
from rung.planning.cost import Part, Stage, Workload, memory, peak, stages
from rung.planning.shapes import MACHINES, shape_of


@dataclass(frozen=True)
class PlanConfig:
    """Memory of each part, FLOPs and expected time of one update of a run of RL, by roofline; nothing is loaded."""

    config: Path = key(REQUIRED, "the run: a YAML file for `rung rl`, or a ladder's with a ppo section")
    gpus: int = key(1, "accelerators; weights, gradients and optimizer are sharded over them", low=1)
    gpu: Literal["h100", "h200", "a100", "l40s", "rtx4090"] = key("h100", "which")
    model: str | None = key(None, "the policy's size: folder, hub name; null: the config's policy")
    prm_model: str | None = key(None, "the PRM's size; null: the policy's")
    prompt_tokens: int = key(150, "mean length of a prompt", low=1)
    response_tokens: int | None = key(None, "mean length of a rollout; null: half of sampling.max_tokens", low=1)


@dataclass(frozen=True)
class Plan:
    """What `rung plan` prints."""

    parts: list[Part]
    stages: list[Stage]
    tokens: int
    room: float  # bytes of one accelerator

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages)


def main(config: PlanConfig) -> None:
    from rich.console import Console

    run = read_run(config.config)
    work = workload(run, config)
    plan = make_plan(run, config)
    console = Console()
    console.print(_memory_table(plan), _time_table(plan))
    for line in advice(plan, work, config):
        console.print(line)


def read_run(path: Path) -> RLConfig:
    """The RL config in ``path``: a file of its own, or a ladder's ppo stage, with the model that its SFT starts from
    where SFT has not run yet."""
    from lm.plain_yaml import read_mapping

    if not isinstance(read_mapping(path).get("ppo"), dict):
        return load(RLConfig, path)
    ladder = load(Ladder, path)
    run: RLConfig = stage(ladder, "ppo")
    start = ladder.sft.model.path
    return run if start is None or Path(run.policy).exists() else replace(run, policy=start)


def workload(run: RLConfig, config: PlanConfig) -> Workload:
    """One update of ``run`` in numbers."""
    response = config.response_tokens or max(1, run.sampling.max_tokens // 2)
    critic = run.advantage.estimator == "gae"
    return Workload(
        rollouts=run.problems_per_step * run.sampling.n, prompt=config.prompt_tokens, response=response,
        longest=run.sampling.max_tokens, epochs=run.epochs, micro_tokens=run.micro_tokens, critic=critic,
        shared_trunk=critic and run.critic_trunk == "shared", reference=run.lora.rank == 0,
        bytes=4 if run.dtype == "float32" else 2, lora_rank=run.lora.rank,
        checkpointing=run.gradient_checkpointing, engine_batch=run.engine_batch,
    )  # fmt: skip


def make_plan(run: RLConfig, config: PlanConfig) -> Plan:
    """Raises UserError where a model's size is not known."""
    work = workload(run, config)
    policy = shape_of(config.model or run.policy)
    scores = run.credit.form != "outcome" and run.prm != "symbolic"
    prm = shape_of(config.prm_model or config.model or run.policy) if scores else None
    machine = MACHINES[config.gpu]
    if run.problems_per_step * run.sampling.n < config.gpus:
        raise UserError(f"{config.gpus} accelerators for {work.rollouts} rollouts an update: raise problems_per_step")
    parts = memory(policy, prm, work, machine, config.gpus)
    tokens = work.rollouts * (work.prompt + work.response)
    return Plan(parts, stages(policy, prm, work, machine, config.gpus), tokens, machine.memory)


def advice(plan: Plan, work: Workload, config: PlanConfig) -> list[str]:
    """What bounds the run, and which key would change it."""
    phase, need = peak(plan.parts)
    lines = []
    if need > 0.95 * plan.room:
        largest = max((part for part in plan.parts if phase in part.phases), key=lambda part: part.bytes)
        cure = {
            "activations": "lower micro_tokens, or gradient_checkpointing=true",
            "logits": "lower micro_tokens",
            "logits, no gradient": "lower micro_tokens",
            "KV cache": "lower engine_batch or sampling.max_tokens",
        }.get(
            largest.name,
            "more gpus, dtype=bfloat16, lora.rank=16, critic_trunk=shared or an algorithm without a critic",
        )
        lines.append(f"does not fit: {need / 1e9:.0f} GB while it {phase}s, mostly {largest.name}: {cure}")
    else:
        lines.append(f"fits: {need / 1e9:.1f} of {plan.room / 1e9:.0f} GB while it {phase}s")
    slowest = max(plan.stages, key=lambda stage: stage.seconds)
    share = slowest.seconds / plan.seconds
    lines.append(f"bottleneck: {slowest.name}, {share:.0%} of the time, bound by {slowest.bound}")
    if slowest.name == "sampling" and slowest.bound == "bandwidth":
        lines.append(
            "each token step reads all weights: a larger engine_batch, or more rollouts an update, shares that"
        )
    if slowest.name == "learning" and work.epochs > 1:
        lines.append(f"epochs={work.epochs} passes over the same rollouts: each fewer saves {share / work.epochs:.0%}")
    if slowest.name == "learning" and work.critic and not work.shared_trunk:
        lines.append("critic_trunk=shared, or an algorithm without a critic (configs/rl/grpo.yaml), about halves it")
    lines.append(f"assumed: {config.gpu} data sheet, 40 % of its FLOP/s, 60 % of its bandwidth; measured runs decide")
    return lines


def _memory_table(plan: Plan) -> "object":
    from rich.table import Table

    table = Table("part", "GB on each", "while it", title="Memory")
    for part in plan.parts:
        table.add_row(part.name, f"{part.bytes / 1e9:.2f}", ", ".join(part.phases))
    return table


def _time_table(plan: Plan) -> "object":
    from rich.table import Table

    table = Table("stage", "TFLOP", "seconds", "bound by", title=f"One update: {plan.tokens:,} tokens")
    for stage_ in plan.stages:
        table.add_row(stage_.name, f"{stage_.flops / 1e12:,.1f}", f"{stage_.seconds:.2f}", stage_.bound)
    table.add_row("all", f"{sum(s.flops for s in plan.stages) / 1e12:,.1f}", f"{plan.seconds:.2f}", "")
    return table
