"""What a run of RL works with: the models and who learns, the problems, and who samples and judges."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lm.engine import TransformersEngine
from lm.errors import UserError
from lm.models import load_token_scorer, load_tokenizer, load_with_reference, make_trainable, zero_head
from lm.optim import make_optimizer
from lm.run import Run
from lm.sft import Pair, encode_pairs
from prm.implicit import ImplicitPRM
from prm.problems import load_problems
from rl.act import Actor
from rl.ahead import Ahead
from rl.config import RLConfig
from rl.evaluation import HeldOut, load_held_out
from rl.forward import Critic
from rl.kl import KLController
from rl.learn import Learner, Refusals
from rl.refresh import Refresh
from rl.rollout import Counter
from verifiers.solution import Example

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Setup:
    """All of it, loaded. ``learners`` learn from the losses of RL, ``judges`` (an implicit PRM) from the verdicts;
    ``worked`` are the solutions that ptx mixes in, none without ptx."""

    tokenizer: "PreTrainedTokenizerBase"
    policy: "PreTrainedModel"
    reference: "PreTrainedModel"
    critic: Critic
    held_out: HeldOut
    worked: list[Pair]
    actor: Actor | Ahead
    learners: dict[str, Learner]
    judges: dict[str, Learner]
    refresh: Refresh | None
    beta: KLController
    count: Counter
    refusals: Refusals


def set_up(config: RLConfig) -> Setup:
    """Load and make everything that ``config`` names, before a run folder is touched."""
    tokenizer = load_tokenizer(config.policy)
    policy, reference = load_with_reference(config.policy, config.dtype, config.lora, config.gradient_checkpointing)
    critic = make_critic(policy, config)
    examples = load_problems(config.problems, "train", config.pool, stream=3)
    held_out = load_held_out(config, tokenizer)
    worked = worked_pairs(tokenizer, examples, config) if config.ptx_coefficient else []
    actor: Actor | Ahead
    if config.staleness:
        actor = Ahead(config, TransformersEngine(policy, tokenizer, config.engine_batch))
    else:
        actor = Actor(config, tokenizer, [e.problem for e in examples], policy, reference)
    learners = {"policy": Learner(policy, make_optimizer(policy, config.optim), config.optim)}
    if critic is not None:
        learners["critic"] = Learner(critic, make_optimizer(critic, config.critic_optim), config.critic_optim)
    judges, refresh, prm = {}, None, actor.prm
    if isinstance(prm, ImplicitPRM):
        judges["prm"] = Learner(prm.policy, make_optimizer(prm.policy, config.prm_optim), config.prm_optim)
    if config.prm_refresh.every:
        refresh = Refresh(prm, config.prm_refresh, seed=config.seed, micro_tokens=config.micro_tokens)
    beta = KLController(config.advantage.kl_coefficient, config.advantage.kl_target, config.advantage.kl_horizon)
    count, refusals = Counter(config.token_budget), Refusals(config.folder, config.max_skipped)
    return Setup(
        tokenizer, policy, reference, critic, held_out, worked, actor, learners, judges, refresh, beta, count, refusals
    )


def open_run(config: RLConfig, parts: Setup) -> Run:
    """The run folder, and in its checkpoints all of ``parts`` that a step changes."""
    run = Run.open(config, verb="rl")
    run.track(count=parts.count, beta=parts.beta, refusals=parts.refusals)
    if isinstance(parts.actor, Ahead):
        run.track(ahead=parts.actor)
    if parts.refresh is not None:
        run.track(refresh=parts.refresh)
    for name, learner in (parts.learners | parts.judges).items():
        run.track(**{name: learner.model})
        run.track(**{f"{name}_optimizer": learner.optimizer})
    return run


def finish(run: Run, config: RLConfig, parts: Setup) -> None:
    """Write the models as they ended: the policy, a critic with a trunk of its own, and a PRM that was refreshed."""
    if isinstance(parts.actor, Ahead):
        parts.actor.close()
    models: dict[str, object] = {"model": (parts.policy, parts.tokenizer)}
    if parts.critic is not None and config.critic_trunk == "separate":
        models["critic"] = parts.critic
    if parts.refresh is not None:
        models["prm"] = (parts.refresh.whole(config.prm, config.dtype), parts.refresh.prm.tokenizer)
    run.finish(**models)


def make_critic(policy: "PreTrainedModel", config: RLConfig) -> Critic:
    """A critic that says 0 everywhere (a fresh head's random values would be the first advantages), where one is
    needed: a model of its own, or a float32 head on the policy's trunk."""
    import torch

    if config.advantage.estimator != "gae":
        return None
    if config.critic_trunk == "shared":
        head = torch.nn.Linear(policy.config.get_text_config().hidden_size, 1, device=policy.device)
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
        return head
    critic = load_token_scorer(config.critic or config.policy, 1, config.dtype).to(policy.device)  # type: ignore[arg-type]
    make_trainable(critic, config.lora, config.gradient_checkpointing)
    zero_head(critic)
    return critic


def worked_pairs(tokenizer: "PreTrainedTokenizerBase", examples: Sequence[Example], config: RLConfig) -> list[Pair]:
    """The worked solutions that ptx mixes in: of ``examples``, the problems', or of a source of their own."""
    source = config.problems.source
    if config.ptx_source is not None:
        source = config.ptx_source
        examples = load_problems(replace(config.problems, source=source, answers=False), "train")
    texts = [(e.problem.question, e.solution) for e in examples if e.solution]
    if not texts:
        raise UserError(f"{source!r} has no worked solutions to mix in: leave ptx_coefficient at 0")
    return encode_pairs(tokenizer, texts, config.prompt)
