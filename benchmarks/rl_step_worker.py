"""One side of ``benchmarks.rl_step``: makes a step whenever a line comes in, and writes what it took."""

import contextlib
import copy
import json
import os
import random
import resource
import sys
import time
import warnings
from pathlib import Path
from typing import Any


class Turns:
    """Waits for a turn on standard input and answers with a line of JSON on standard output, which it keeps for
    itself: whatever else is printed goes to the other one."""

    def __init__(self) -> None:
        self.answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def begin(self) -> None:
        sys.stdin.readline()
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def end(self, samples: int) -> None:
        answer = {
            "seconds": time.perf_counter() - self.wall,
            "cpu": time.process_time() - self.cpu,
            "samples": samples,
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        self.answers.write(json.dumps(answer) + "\n")
        self.answers.flush()


def rung_side(work: dict[str, Any], turns: Turns) -> None:
    import torch

    import lm.engine
    from benchmarks.lengths import forced_draws
    from lm.engine import Sampling, TransformersEngine, in_groups, request_seeds
    from lm.models import load_causal_lm, load_tokenizer
    from lm.optim import OptimConfig, make_optimizer
    from rl.batch import pack
    from rl.config import RLConfig
    from rl.experience import AdvantageConfig, estimate_advantages
    from rl.learn import Learner, backward, minibatches, update
    from rl.rollout import sample_rollouts
    from rl.setup import make_critic
    from verifiers.solution import Problem

    ppo, n, folder = work["algorithm"] == "ppo", work["n"], work["folder"]
    optim = OptimConfig(lr=1e-6, warmup=0, schedule="constant", weight_decay=0.0)
    advantage = (
        AdvantageConfig(kl_coefficient=0.05) if ppo else
        AdvantageConfig(estimator="group", whiten=False, kl_in="loss", kl_coefficient=0.0)
    )  # fmt: skip
    config = RLConfig(
        policy=folder, advantage=advantage, sampling=Sampling(max_tokens=work["cap"], n=n),
        problems_per_step=len(work["prompts"]), epochs=4 if ppo else 1, minibatches=1,
        micro_tokens=work["micro_tokens"], normaliser="tokens", value_clip=0.2 if ppo else None,
        critic_trunk=work["critic_trunk"], optim=optim, critic_optim=optim,
    )  # fmt: skip
    tokenizer, policy, reference = load_tokenizer(folder), load_causal_lm(folder), load_causal_lm(folder)
    critic = make_critic(policy, config)
    learners = {"policy": Learner(policy, make_optimizer(policy, optim), optim)}
    if critic is not None:
        learners["critic"] = Learner(critic, make_optimizer(critic, optim), optim)
    engine = TransformersEngine(policy, tokenizer, config.engine_batch)
    problems = [Problem(str(i), question, "1") for i, question in enumerate(work["prompts"])]
    for step, lengths in enumerate(work["rounds"]):
        wanted = dict(zip(request_seeds(step, len(problems)), in_groups(lengths, n), strict=True))
        lm.engine.uniform_draws = forced_draws(wanted, work["cap"])  # type: ignore[assignment]
        turns.begin()
        rollouts = sample_rollouts(engine, tokenizer, problems, config.sampling, step)
        tokens = pack(rollouts)
        rewards = torch.zeros(tokens.ids.shape)
        last = tokens.attention.sum(1) - 1
        rewards[torch.arange(len(rollouts)), last] = torch.randn(len(rollouts))
        experience, _ = estimate_advantages(
            policy, reference, critic, tokens, rewards, advantage, kl_coefficient=advantage.kl_coefficient, group=n,
            temperature=1.0, micro_tokens=config.micro_tokens,
        )  # fmt: skip
        for batch in minibatches(experience, config.minibatches, config.epochs, config.seed, step):
            update(learners, backward(policy, critic, batch, config, advantage.kl_coefficient), step, 100)
        turns.end(len(rollouts))
        made = [len(r.completion.token_ids) for r in rollouts]
        assert made == lengths, "samples did not end where the benchmark said"


def trl_side(work: dict[str, Any], turns: Turns) -> None:
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, LogitsProcessorList, TrainerCallback

    from benchmarks.lengths import ForcedEnds

    ppo, folder, rounds = work["algorithm"] == "ppo", work["folder"], work["rounds"]
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    eos, samples = tokenizer.eos_token_id, len(rounds[0])
    steps: list[list[int]] = [list(lengths) for lengths in rounds]

    plain = model.generate

    def generate(**arguments: Any) -> Any:
        rows = len(arguments["input_ids"])
        lengths = steps[0][:rows]
        steps[0] = steps[0][rows:]
        if not steps[0]:
            del steps[0]
        return plain(**arguments, logits_processor=LogitsProcessorList([ForcedEnds(eos, lengths, work["cap"])]))

    model.generate = generate

    class Clock(TrainerCallback):
        left = len(rounds)

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            if ppo:
                turns.begin()

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            turns.begin()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            turns.end(samples)
            self.left -= 1
            if ppo and self.left:
                turns.begin()

    common = {
        "output_dir": str(Path(folder) / "trl"), "report_to": [], "save_strategy": "no", "use_cpu": True, "bf16": False,
        "gradient_checkpointing": False, "per_device_train_batch_size": work["trl_batch"], "learning_rate": 1e-6,
        "gradient_accumulation_steps": samples // work["trl_batch"], "disable_tqdm": True, "logging_strategy": "no",
    }  # fmt: skip
    prompts = [f"{prompt}\n" for prompt in work["prompts"]]
    if ppo:
        trainer = ppo_trainer(model, tokenizer, prompts, common, work)
    else:
        from trl import GRPOConfig, GRPOTrainer

        def reward(completions: list[Any], **_: Any) -> list[float]:
            return [random.random() for _ in completions]

        options = GRPOConfig(
            **common,
            num_generations=work["n"],
            max_completion_length=work["cap"],
            max_steps=len(rounds),
            temperature=1.0,
        )
        rows = Dataset.from_list([{"prompt": prompt} for prompt in prompts])
        trainer = GRPOTrainer(model, reward, args=options, train_dataset=rows, processing_class=tokenizer)
    trainer.add_callback(Clock())
    trainer.train()


def ppo_trainer(model: Any, tokenizer: Any, prompts: list[str], common: dict[str, Any], work: dict[str, Any]) -> Any:
    import torch
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    class Free(torch.nn.Module):
        """A reward model that costs nothing: random states of one number."""

        base_model_prefix = "trunk"

        def __init__(self) -> None:
            super().__init__()
            self.score = torch.nn.Linear(1, 1)

        def trunk(self, input_ids: Any, **_: Any) -> Any:
            return type("Out", (), {"hidden_states": [torch.randn(*input_ids.shape, 1)]})

    samples, rounds = len(prompts), len(work["rounds"])
    options = PPOConfig(
        **common, num_ppo_epochs=4, num_mini_batches=1, total_episodes=samples * rounds, response_length=work["cap"],
        local_rollout_forward_batch_size=samples, num_sample_generations=0, stop_token="eos", temperature=1.0,
    )  # fmt: skip
    rows = Dataset.from_list([{"input_ids": ids} for ids in tokenizer(prompts)["input_ids"]])
    value = AutoModelForSequenceClassification.from_pretrained(work["folder"], num_labels=1, dtype=torch.float32)
    return PPOTrainer(
        args=options, processing_class=tokenizer, model=model, ref_model=copy.deepcopy(model), reward_model=Free(),
        train_dataset=rows, eval_dataset=rows.select([0]), value_model=value,
    )  # fmt: skip


def main() -> None:
    turns, work = Turns(), json.loads((Path(sys.argv[2]) / "work.json").read_text())
    import torch

    torch.set_num_threads(work["threads"])
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        (rung_side if sys.argv[1] == "Rung" else trl_side)(work, turns)


if __name__ == "__main__":
    main()
