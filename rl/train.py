"""``rung rl``: a better policy by rewards on every step. Read ``train`` top to bottom; it is the algorithm."""

from lm import processes
from lm.sft import batch_of
from lm.torch_setup import prepare_torch
from prm.implicit import ImplicitPRM
from rl.alarms import Watch
from rl.batch import pack
from rl.config import RLConfig, check
from rl.credit import token_rewards
from rl.evaluation import measure
from rl.experience import estimate_advantages
from rl.judge import outcome_backward
from rl.learn import backward, clear_gradients, mean_metrics, minibatches, ptx_backward, update
from rl.losses import Metrics
from rl.metrics import reward_metrics, rollout_metrics
from rl.setup import finish, open_run, set_up


def train(config: RLConfig) -> None:
    """Sample, judge, credit, learn; write ``folder/model``."""
    check(config)
    prepare_torch(config.seed, config.threads)
    its = set_up(config)
    policy, critic, beta, count = its.policy, its.critic, its.beta, its.count
    run = open_run(config, its)
    watch = Watch(run.folder)
    for step in run.steps(
        config.steps, save_every=config.save_every, keep=config.keep,
        best="eval_accuracy" if config.keep_best else None, label=f"RL {config.credit.form}", show=["accuracy", "kl"],
        until=count.spent,
    ):  # fmt: skip
        # act: sample, and judge the final answers and every step
        acted = its.actor.act(step, policy, run.timer)
        for name, seconds in acted.elsewhere.items():
            run.time(f"ahead: {name}", seconds)
        collected, scores, paid = acted.collected, acted.scores, acted.paid
        rollouts, verdicts = collected.rollouts, collected.verdicts
        judged = {}
        if isinstance(its.actor.prm, ImplicitPRM):  # PRIME: the judge learns from the verdicts too
            with run.timer("judge"):
                judged = outcome_backward(its.actor.prm, [r.solution for r in rollouts], verdicts)
                judged |= update(its.judges, judged, step, config.steps)
        if its.refresh is not None:  # so does a PRM that is to stay right about what the policy writes
            with run.timer("refresh"):
                judged = its.refresh(step, config.steps, [r.solution for r in rollouts])

        # credit: rewards on tokens, then advantages
        with run.timer("credit"):
            tokens = pack(rollouts, policy.device)
            rewards = token_rewards(
                tokens, scores, verdicts, config.credit, group=config.sampling.n, longest=config.sampling.max_tokens,
                paid=paid,
            )  # fmt: skip
            experience, metrics = estimate_advantages(
                policy, its.reference, critic, tokens, rewards, config.advantage, kl_coefficient=beta.coefficient,
                group=config.sampling.n, temperature=config.sampling.temperature, micro_tokens=config.micro_tokens,
            )  # fmt: skip

        # learn
        with run.timer("learn"):
            learned: list[Metrics] = []
            parts = minibatches(experience, config.minibatches, config.epochs, config.seed, step)
            for number, batch in enumerate(parts, step * config.minibatches * config.epochs):
                losses = backward(policy, critic, batch, config, beta.coefficient)
                if its.worked:
                    pairs = batch_of(its.worked, config.ptx_batch, config.seed, number)
                    losses |= ptx_backward(policy, pairs, config.ptx_coefficient, config.micro_tokens)
                if config.stop_kl is not None and losses["approximate_kl"] > config.stop_kl:
                    clear_gradients(its.learners)
                    break
                losses |= update(its.learners, losses, step, config.steps)
                if its.refusals.passes(step, batch, losses):
                    learned.append(losses)
        metrics |= {"kl_coefficient": beta.coefficient} if beta.target is not None else {}
        beta.update(metrics["kl"], len(rollouts))

        count.sampled_tokens += collected.tokens
        if config.eval_every and (step % config.eval_every == 0 or count.spent() or step + 1 == config.steps):
            with run.timer("evaluate"):
                metrics |= measure(its.actor.engine, its.tokenizer, policy, its.held_out, config)
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
    finish(run, config, its)
