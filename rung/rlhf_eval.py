"""The last stage of ``rung rlhf``: policies on held-out prompts and pairs, on mathematics, behind wrong opinions."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lm.checkpoint import write_atomic, write_json, write_lines
from lm.config import key, part, to_yaml
from lm.engine import Sampling, check_one_each
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
from rung.sycophancy import probe, wrong_answer
from verifiers.solution import Problem, Solution

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BASE = "sft"
Found = Mapping[str, Mapping[str, np.ndarray]]  # of each metric, of each policy (N,): what it earned on what was asked


@dataclass(frozen=True)
class RLHFEvalConfig:
    """What the arms of ``rung rlhf`` are measured by. Folders and files come from the pipeline."""

    folder: Path = key(Path("runs/rlhf/eval"), "summary.json, outcomes.jsonl and responses.jsonl are written here")
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

    def __post_init__(self) -> None:
        check_one_each(self.sampling)


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
    problems = [problem for problem in problems if wrong_answer(problem, config.seed) is not None]  # the probe's
    models = (load_reward_model(name, config.dtype, config.prompt, config.micro_tokens) for name in
              (config.reward, config.referee))  # fmt: skip
    reward, referee = models
    measured = {name: measure(path, prompts, problems, config) for name, path in config.policies.items()}
    rated = {name: np.array(referee.rate(list(zip(prompts, m.responses, strict=True)))) for name, m in measured.items()}
    paid = {name: np.array(reward.rate(list(zip(prompts, m.responses, strict=True)))) for name, m in measured.items()}
    wins = {name: wins_over(rated[name], rated[BASE]) for name in measured}
    ranked = implicit_rankings(config, held_out)
    right, agreed = ({name: getattr(m, what) for name, m in measured.items()} for what in ("right", "agreed"))
    found = {"win rate": wins, "math": right, "agrees with a wrong opinion": agreed, "held-out pairs": ranked}
    summary = {
        "problems": len(problems),
        "prompts": len(prompts),
        "arms": _arms(found, measured, lambda values: asdict(bootstrap_interval(values, config.seed))),
        "paired": [
            {"a": name, "b": BASE, "metric": metric} | asdict(paired_bootstrap(a, b, config.seed))
            for metric in ("win rate", "math")
            for name, a in found[metric].items() for b in [found[metric][BASE]] if name != BASE
        ],
        "details": {
            name: {"reward_model": float(paid[name].mean()), "referee": float(rated[name].mean()),
                   "tokens": float(m.tokens.mean())}
            for name, m in measured.items()
        },
        "reward_models": {
            "reward on held-out pairs": asdict(bootstrap_interval(agreement(reward, held_out), config.seed)),
            "referee on training pairs": asdict(bootstrap_interval(agreement(referee, train), config.seed)),
        },
    }  # fmt: skip
    rows = [{"arm": name, "question": q, "response": r} for name, m in measured.items()
            for q, r in zip(prompts, m.responses, strict=True)]  # fmt: skip
    config.folder.mkdir(parents=True, exist_ok=True)
    write_atomic(config.folder / "config.yaml", to_yaml(config))
    write_lines(config.folder / "responses.jsonl", rows)
    write_lines(config.folder / "outcomes.jsonl", outcome_rows(prompts, problems, held_out, found))
    write_json(config.folder / "summary.json", summary)
    return summary


def outcome_rows(
    prompts: Sequence[str], problems: Sequence[Problem], pairs: Sequence[Preference], found: Found
) -> list[dict[str, Any]]:
    """A row for all that was asked, with what each policy earned on it, as ``rung eval`` writes them: by these a report
    pairs pipelines in several folders."""
    asked: dict[tuple[str, ...], list[Problem]] = {
        ("win rate",): [Problem(f"prompt-{i}", prompt, "") for i, prompt in enumerate(prompts)],
        ("math", "agrees with a wrong opinion"): list(problems),
        ("held-out pairs",): [Problem(f"pair-{i}", pair.question, pair.chosen) for i, pair in enumerate(pairs)],
    }
    rows = []
    for metrics, some in asked.items():
        taken = {metric: found[metric] for metric in metrics}
        for i, p in enumerate(some):
            arms = _arms(taken, taken[metrics[0]], itemgetter(i))
            rows.append({"id": p.id, "question": p.question, "gold": p.answer, "arms": arms})
    return rows


def _arms(found: Found, names: Iterable[str], of: Callable[[np.ndarray], Any]) -> list[dict[str, Any]]:
    """Of each policy what ``of`` makes of its values by each metric that was taken of it."""
    return [
        {"name": name} | {metric: of(values[name]) for metric, values in found.items() if name in values}
        for name in names
    ]


def measure(path: str, prompts: Sequence[str], problems: Sequence[Problem], config: RLHFEvalConfig) -> Measured:
    """One policy's responses, and its answers to the problems, plainly and behind an opinion."""
    tokenizer = load_tokenizer(path)
    engine = open_engine(config.engine, path, tokenizer, dtype=config.dtype, batch=config.engine_batch)
    asked = [Problem(str(i), prompt, "") for i, prompt in enumerate(prompts)]
    drawn = sample_solutions(engine, tokenizer, asked, config.sampling, config.seed, config.prompt)

    def answer(some: Sequence[Problem]) -> list[Solution]:
        greedy = replace(config.sampling, temperature=0)
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
