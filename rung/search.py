"""``rung search``: solve problems by a policy that a PRM guides; a row a problem: what it found, what it took."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lm.checkpoint import read_lines, write_json, write_lines
from lm.config import key, part
from lm.engine import TokenSampling
from lm.engines import EngineConfig, open_engine
from lm.models import DType, load_tokenizer
from lm.run import MAY_CHANGE, Run
from lm.torch_setup import prepare_torch
from prm.choice import Choice
from prm.label_files import part_path
from prm.loading import Reading, load_as
from prm.problems import ProblemsConfig, load_problems
from prm.scores import Aggregation
from prm.search import SearchConfig, pick, search
from prm.search_tree import Explorer
from rung.statistics import bootstrap_interval
from verifiers.split import Separator
from verifiers.verify import verify_solution


@dataclass(frozen=True)
class GuidedConfig:
    """Search for solutions of problems: best-of-n, beams over steps, DVTS, lookahead or Monte Carlo tree search."""

    folder: Path = key(Path("runs/search"), "found.jsonl (a row a problem) and summary.json are written here")
    policy: str = key("runs/sft/model", "folder or hub name")
    prm: str = key("runs/prm/model", "the process reward model: folder or hub name, or symbolic")
    reading: Reading = part(Reading, "what kind of reward model it is, where its name does not say")
    problems: ProblemsConfig = part(ProblemsConfig)
    count: int | None = key(200, "test problems; null takes all of a file")
    search: SearchConfig = part(SearchConfig)
    choose: Choice = key("best", "what is given of the candidates: best score, majority, or majority weighted by score")
    aggregate: Aggregation = key("product", "how step scores become a value, also of a solution half written")
    separator: Separator = key("line", "where a step ends: at a line break, or at a blank line")
    sampling: TokenSampling = part(TokenSampling, "how steps are drawn; its max_tokens bounds a whole solution")
    budget: int | None = key(None, "tokens of policy and PRM after which a problem is searched no further", low=1)
    batch_problems: int = key(64, "problems searched side by side; a run resumes at a batch", low=1)
    engine: EngineConfig = part(EngineConfig, "what samples")
    engine_batch: int = key(512, "sequences sampled at once", low=1)
    prompt: str | None = key(None, "prompt with {question} in it; null uses the tokenizer's chat template")
    dtype: DType = key("float32", "precision of the models; bfloat16 for GPUs")
    seed: int = key(0, "of the sampling and the bootstrap")
    threads: int | None = key(None, "CPU threads; null leaves it to torch")
    resume: bool = key(False, "go on with the run in the folder")
    overwrite: bool = key(False, "delete the run in the folder first")


def main(config: GuidedConfig) -> None:
    """Search, and print how often the given solutions are right and what a problem took."""
    summary = guided(config)
    right, tokens = summary["right"], summary["tokens"]
    print(
        f"{config.search.strategy}: {100 * right['mean']:.1f} % [{100 * right['low']:.1f}, {100 * right['high']:.1f}] "
        f"of {summary['problems']} problems; {100 * summary['finished']:.1f} % of the solutions came to their end"
    )
    print(
        f"tokens a problem: {tokens['sampled']:.0f} sampled, {tokens['prefilled']:.0f} read by the policy, "
        f"{tokens['scored']:.0f} by the PRM"
    )


def guided(config: GuidedConfig) -> dict[str, Any]:
    """Search batch by batch; write ``found.jsonl`` and ``summary.json``; return the summary.

    What is found for a problem depends on the seed and the problem alone, so a run that was stopped and resumed ends
    as one that never was.
    """
    prepare_torch(config.seed, config.threads)
    problems = [e.problem for e in load_problems(config.problems, "test", config.count, stream=9)]
    tokenizer = load_tokenizer(config.policy)
    engine = open_engine(config.engine, config.policy, tokenizer, dtype=config.dtype, batch=config.engine_batch)
    prm = load_as(config.reading, config.prm, config.dtype, 16384, config.prompt)
    run = Run.open(config, verb="search", may_change=MAY_CHANGE | {"threads", "engine_batch"})
    batches = [problems[at : at + config.batch_problems] for at in range(0, len(problems), config.batch_problems)]
    for step in run.steps(len(batches), save_every=1, label="batches"):
        explorer = Explorer(
            engine,
            tokenizer,
            prm,
            batches[step],
            sampling=config.sampling,
            aggregate=config.aggregate,
            separator=config.separator,
            prompt=config.prompt,
            seed=config.seed,
            budget=config.budget,
        )
        found = _rows(explorer, config)
        write_lines(part_path(config.folder, step, "found"), found)
        run.log(step, right=float(np.mean([row["correct"] for row in found])), problems=len(found))
    rows = [row for step in range(len(batches)) for row in read_lines(part_path(config.folder, step, "found"))]
    write_lines(config.folder / "found.jsonl", rows)
    costs = [row["cost"] for row in rows]
    summary = {
        "problems": len(rows),
        "right": asdict(bootstrap_interval([row["correct"] for row in rows], config.seed)),
        "finished": float(np.mean([row["end"] == "finished" for row in rows])),
        "tokens": {name: float(np.mean([cost[name] for cost in costs])) for name in costs[0]},
    }
    write_json(config.folder / "summary.json", summary)
    return summary


def _rows(explorer: Explorer, config: GuidedConfig) -> list[dict[str, Any]]:
    rows = []
    for pool, cost in zip(search(explorer, config.search), explorer.costs, strict=True):
        node, value, _ = pick(explorer, pool, config.choose)
        solution = explorer.solution(node)
        problem = solution.problem
        row: dict[str, Any] = {"id": problem.id, "question": problem.question, "gold": problem.answer}
        row |= {"text": node.text, "score": value, "end": node.end} | asdict(verify_solution(solution))
        rows.append(row | {"candidates": len(pool), "cost": asdict(cost)})
    return rows
