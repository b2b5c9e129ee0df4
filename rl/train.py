"""``rung rl``: a better policy by rewards on every step. Read ``train`` top to bottom; it is the algorithm."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lm import processes
from lm.engine import TransformersEngine
from lm.errors import UserError
from lm.models import load_token_scorer, load_tokenizer, load_with_reference, make_trainable, zero_head
from lm.optim import make_optimizer
from lm.run import Run
from lm.sft import Pair, batch_of, encode_pairs
from lm.torch_setup import prepare_torch
from prm.implicit import ImplicitPRM
from prm.problems import load_problems
from rl.act import Actor
from rl.ahead import Ahead
from rl.alarms import Watch
from rl.batch import pack
from rl.config import RLConfig, check
from rl.credit import token_rewards
from rl.evaluation import load_held_out, measure
from rl.experience import estimate_advantages
from rl.forward import Critic
from rl.judge import outcome_backward
from rl.kl import KLController
from rl.learn import Learner, Refusals, backward, clear_gradients, mean_metrics, minibatches, ptx_backward, update
from rl.losses import Metrics
from rl.metrics import reward_metrics, rollout_metrics
from rl.refresh import Refresh
from rl.rollout import Counter
from verifiers.solution import Example

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def train(config: RLConfig) -> None:
    """Sample, judge, credit, learn; write ``folder/model``."""
    check(config)
    prepare_torch(config.seed, config.threads)
    tokenizer = load_tokenizer(config.policy)
    policy, reference = load_with_reference(config.policy, config.dtype, config.lora, config.gradient_checkpointing)
    critic = make_critic(policy, config)
    examples = load_problems(config.problems, "train", config.pool, stream=3)
    problems = [e.problem for e in examples]
    held_out = load_held_out(config, tokenizer)
    worked = worked_pairs(tokenizer, examples, config) if config.ptx_coefficient else []
    actor: Actor | Ahead
    if config.staleness:
        actor = Ahead(config, TransformersEngine(policy, tokenizer, config.engine_batch))
    else:
        actor = Actor(config, tokenizer, problems, policy, reference)
    engine, prm = actor.engine, actor.prm
    learners = {"policy": Learner(policy, make_optimizer(policy, config.optim), config.optim)}
    if critic is not None:
        learners["critic"] = Learner(critic, make_optimizer(critic, config.critic_optim), config.critic_optim)
    judges = {}
    if isinstance(prm, ImplicitPRM):
        judges["prm"] = Learner(prm.policy, make_optimizer(prm.policy, config.prm_optim), config.prm_optim)
    refresh = None
    if config.prm_refresh.every:
        refresh = Refresh(prm, config.prm_refresh, seed=config.seed, micro_tokens=config.micro_tokens)
    beta = KLController(config.advantage.kl_coefficient, config.advantage.kl_target, config.advantage.kl_horizon)
    count, refusals = Counter(config.token_budget), Refusals(config.folder, config.max_skipped)

    run = Run.open(config.folder, config, verb="rl", resume=config.resume, overwrite=config.overwrite)
    run.track(count=count, beta=beta, refusals=refusals)
    if isinstance(actor, Ahead):
        run.track(ahead=actor)
    if refresh is not None:
        run.track(refresh=refresh)
    watch = Watch(run.folder)
    for name, learner in (learners | judges).items():
        run.track(**{name: learner.model})
        run.track(**{f"{name}_optimizer": learner.optimizer})
    for step in run.steps(
        config.steps, save_every=config.save_every, keep=config.keep,
        best="eval_accuracy" if config.keep_best else None, label=f"RL {config.credit.form}", show=["accuracy", "kl"],
        until=count.spent,
    ):  # fmt: skip
        # act: sample, and judge the final answers and every step
        acted = actor.act(step, policy, run.timer)
        for name, seconds in acted.elsewhere.items():
            run.time(f"ahead: {name}", seconds)
        collected, scores, paid = acted.collected, acted.scores, acted.paid
        rollouts, verdicts = collected.rollouts, collected.verdicts
        judged = {}
        if isinstance(prm, ImplicitPRM):  # PRIME: the judge learns from the verdicts too
            with run.timer("judge"):
                judged = outcome_backward(prm, [r.solution for r in rollouts], verdicts)
                judged |= update(judges, judged, step, config.steps)
        if refresh is not None:  # so does a PRM that is to stay right about what the policy writes
            with run.timer("refresh"):
                judged = refresh(step, config.steps, [r.solution for r in rollouts])

        # credit: rewards on tokens, then advantages
        with run.timer("credit"):
            tokens = pack(rollouts, policy.device)
            rewards = token_rewards(
                tokens, scores, verdicts, config.credit, group=config.sampling.n, longest=config.sampling.max_tokens,
                paid=paid,
            )  # fmt: skip
            experience, metrics = estimate_advantages(
                policy, reference, critic, tokens, rewards, config.advantage, kl_coefficient=beta.coefficient,
                group=config.sampling.n, temperature=config.sampling.temperature, micro_tokens=config.micro_tokens,
            )  # fmt: skip

        # learn
        with run.timer("learn"):
            learned: list[Metrics] = []
            parts = minibatches(experience, config.minibatches, config.epochs, config.seed, step)
            for number, batch in enumerate(parts, step * config.minibatches * config.epochs):
                losses = backward(policy, critic, batch, config, beta.coefficient)
                if worked:
                    pairs = batch_of(worked, config.ptx_batch, config.seed, number)
                    losses |= ptx_backward(policy, pairs, config.ptx_coefficient, config.micro_tokens)
                if config.stop_kl is not None and losses["approximate_kl"] > config.stop_kl:
                    clear_gradients(learners)
                    break
                losses |= update(learners, losses, step, config.steps)
                if refusals.passes(step, batch, losses):
                    learned.append(losses)
        metrics |= {"kl_coefficient": beta.coefficient} if beta.target is not None else {}
        beta.update(metrics["kl"], len(rollouts))

        count.sampled_tokens += collected.tokens
        if config.eval_every and (step % config.eval_every == 0 or count.spent() or step + 1 == config.steps):
            with run.timer("evaluate"):
                metrics |= measure(engine, tokenizer, policy, held_out, config)
        line = run.log(
            step,
            sampled_tokens=count.sampled_tokens,
            **rollout_metrics(rollouts, verdicts, scores)
            | ({"accuracy": collected.accuracy} if config.problems.answers else {})
            | {"unscored": acted.unscored},
            **reward_metrics(rollouts, rewards.sum(1).double().cpu().numpy(), config.compared),
            **metrics,
            **judged,
            **mean_metrics(learned),
        )
        if processes.is_main():
            watch(line)
    if isinstance(actor, Ahead):
        actor.close()
    models: dict[str, Any] = {"model": (policy, tokenizer)}
    if critic is not None and config.critic_trunk == "separate":
        models["critic"] = critic
    if refresh is not None:
        models["prm"] = (refresh.whole(config.prm, config.dtype), refresh.prm.tokenizer)
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
