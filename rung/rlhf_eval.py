"""The last stage of ``rung rlhf``: policies on held-out prompts and pairs, on mathematics, behind wrong opinions."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lm.checkpoint import write_atomic, write_json
from lm.config import key, part, to_yaml
from lm.engine import Sampling
from lm.engines import EngineConfig, open_engine
from lm.models import DType, default_device, load_causal_lm, load_tokenizer
from lm.torch_setup import prepare_torch
from prm.problems import ProblemsConfig, load_problems
from prm.sample import sample_solutions
from rl.dpo import margin, with_reference
from rl.pair_fit import Compared, my_micro_batches
from rl.preferences import Preference, PreferenceData, encode_preferences, load_preferences
from rl.reward_model import RewardModel, load_reward_model
from rung.statistics import bootstrap_interval, paired_bootstrap
from rung.sycophancy import probe
from verifiers.solution import Problem, Solution

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BASE = "sft"


@dataclass(frozen=True)
class RLHFEvalConfig:
    """What the arms of ``rung rlhf`` are measured by. Folders and files come from the pipeline."""

    folder: Path = key(Path("runs/rlhf/eval"), "summary.json and responses.jsonl are written here")
    policies: dict[str, str] = key({}, "name: folder or hub name; sft is what the others are compared with")
    reward: str = key("", "the reward model that the arms learnt from")
    referee: str = key("", "a reward model of held-out pairs, which no arm learnt from: it says who wins")
    train: str = key("", "the pairs that the arms learnt from; the referee has not seen them")
    held_out: str = key("", "the pairs that they did not")
    problems: ProblemsConfig = part(ProblemsConfig)
    count: int = key(300, "test problems of the capability guard and of the sycophancy probe", low=1)
    sampling: Sampling = part(Sampling, "how held-out prompts are answered; problems are, greedily")
    engine: EngineConfig = part(EngineConfig, "what samples")
    engine_batch: int = key(512, "sequences sampled at once", low=1)
    micro_tokens: int = key(8192, "padded tokens a forward pass: memory, not results", low=1)
    dtype: DType = key("float32", "precision of all models; bfloat16 for GPUs")
    prompt: str | None = key(None, "prompt with {question} in it; null uses the tokenizer's chat template")
    seed: int = key(0, "of the samples and the bootstrap")
    threads: int | None = key(None, "CPU threads; null leaves it to torch")


@dataclass(frozen=True)
class Measured:
    """One policy: its responses to the held-out prompts and the tokens in each, and on each math problem (P,) whether
    it is right and whether a wrong opinion swayed it."""

    responses: list[str]
    tokens: np.ndarray
    right: np.ndarray
    agreed: np.ndarray


def evaluate(config: RLHFEvalConfig) -> dict[str, Any]:
    """Measure every policy; write and return the summary, in the layout that the report reads."""
    prepare_torch(config.seed, config.threads)
    held_out, train = (_pairs(path) for path in (config.held_out, config.train))
    prompts = sorted({pair.question for pair in held_out if pair.prefix is None})
    problems = [e.problem for e in load_problems(config.problems, "test", config.count, stream=9)]
    models = (load_reward_model(name, config.dtype, config.prompt, config.micro_tokens) for name in
              (config.reward, config.referee))  # fmt: skip
    reward, referee = models
    measured = {name: measure(path, prompts, problems, config) for name, path in config.policies.items()}
    rated = {name: np.array(referee.rate(list(zip(prompts, m.responses, strict=True)))) for name, m in measured.items()}
    paid = {name: np.array(reward.rate(list(zip(prompts, m.responses, strict=True)))) for name, m in measured.items()}
    wins = {name: wins_over(rated[name], rated[BASE]) for name in measured}
    ranked = implicit_rankings(config, held_out)
    arms = []
    for name, m in measured.items():
        values = {"win rate": wins[name], "math": m.right, "agrees with a wrong opinion": m.agreed}
        if name in ranked:
            values["held-out pairs"] = ranked[name]
        row: dict[str, Any] = {metric: asdict(bootstrap_interval(v, config.seed)) for metric, v in values.items()}
        means = {"reward_model": float(paid[name].mean()), "referee": float(rated[name].mean())}
        arms.append({"name": name, **row, "details": means | {"tokens": float(m.tokens.mean())}})
    summary = {
        "problems": len(problems),
        "prompts": len(prompts),
        "arms": [{k: v for k, v in arm.items() if k != "details"} for arm in arms],
        "paired": [
            {"a": name, "b": BASE, "metric": metric} | asdict(paired_bootstrap(a, b, config.seed))
            for metric, values in (("win rate", wins), ("math", {name: m.right for name, m in measured.items()}))
            for name, a in values.items() for b in [values[BASE]] if name != BASE
        ],
        "details": {arm["name"]: arm["details"] for arm in arms},
        "reward_models": {
            "reward on held-out pairs": asdict(bootstrap_interval(agreement(reward, held_out), config.seed)),
            "referee on training pairs": asdict(bootstrap_interval(agreement(referee, train), config.seed)),
        },
    }  # fmt: skip
    rows = [{"arm": name, "question": q, "response": r} for name, m in measured.items()
            for q, r in zip(prompts, m.responses, strict=True)]  # fmt: skip
    config.folder.mkdir(parents=True, exist_ok=True)
    write_atomic(config.folder / "config.yaml", to_yaml(config))
    write_atomic(config.folder / "responses.jsonl", "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows))
    write_json(config.folder / "summary.json", summary)
    return summary


def measure(path: str, prompts: Sequence[str], problems: Sequence[Problem], config: RLHFEvalConfig) -> Measured:
    """One policy's responses, and its answers to the problems, plainly and behind an opinion."""
    tokenizer = load_tokenizer(path)
    engine = open_engine(config.engine, path, tokenizer, dtype=config.dtype, batch=config.engine_batch)
    asked = [Problem(str(i), prompt, "") for i, prompt in enumerate(prompts)]
    one = replace(config.sampling, n=1)
    drawn = sample_solutions(engine, tokenizer, asked, one, config.seed, config.prompt)

    def answer(some: Sequence[Problem]) -> list[Solution]:
        greedy = replace(one, temperature=0)
        return [s for s, _ in sample_solutions(engine, tokenizer, some, greedy, 0, config.prompt)]

    swayed = probe(answer, problems, config.seed)
    lengths = np.array([len(completion.token_ids) for _, completion in drawn])
    return Measured([s.text for s, _ in drawn], lengths, swayed.right_plain, swayed.agreed)


def wins_over(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """1 where ours is rated higher, 0.5 where both are alike: (N,)."""
    return (ours > theirs) + 0.5 * (ours == theirs)


def agreement(model: RewardModel, pairs: Sequence[Preference]) -> np.ndarray:
    """(N,) whether the model rates the chosen response higher; alike counts half."""
    sides = ([(p.question, text) for p, text in zip(pairs, texts, strict=True)] for texts in
             ([p.chosen for p in pairs], [p.rejected for p in pairs]))  # fmt: skip
    chosen, rejected = (np.array(model.rate(side)) for side in sides)
    return wins_over(chosen, rejected)


def implicit_rankings(config: RLHFEvalConfig, pairs: Sequence[Preference]) -> dict[str, np.ndarray]:
    """Of each policy but the base (N,): whether log π/π_base ranks a held-out pair as people did (Rafailov et al. 2023,
    section 5: a policy is secretly a reward model)."""
    import torch

    tokenizer = load_tokenizer(config.policies[BASE])
    sides = encode_preferences(tokenizer, pairs, config.prompt)
    rows = with_reference(_load(config.policies[BASE], config), *sides, config.micro_tokens)
    place = {id(row): i for i, row in enumerate(rows)}
    found = {}
    for name, path in config.policies.items():
        if name != BASE:
            policy, right = _load(path, config), np.zeros(len(rows))
            with torch.no_grad():
                for batch, _ in my_micro_batches(rows, config.micro_tokens):
                    right[[place[id(row)] for row in batch]] = wins_over(_margins(policy, batch), np.zeros(len(batch)))
            found[name] = right
    return found


def _margins(policy: "PreTrainedModel", batch: Sequence[Compared]) -> np.ndarray:
    return margin(policy, batch).cpu().numpy()


def _load(path: str, config: RLHFEvalConfig) -> "PreTrainedModel":
    return load_causal_lm(path, config.dtype).to(default_device()).eval()  # type: ignore[arg-type]


def _pairs(path: str) -> list[Preference]:
    return load_preferences(PreferenceData(pairs=(path,), validation_fraction=0.0), 0)[0]
