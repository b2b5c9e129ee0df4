"""How fast steps are scored: one prefix at a time, one pass a solution, and one pass over what solutions share.

    python -m benchmarks.prm_scoring DATA/bon/gsm8k_dev.jsonl.gz DATA/gsm8k/train.jsonl.gz

All ways run in one process, in turns, on the same model, tokenizer and real solutions, and must agree to 1e-5. The
model is random (what it says costs nothing): a Qwen2 decoder of --hidden and --layers, with a tokenizer trained here.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from lm.models import ModelConfig, build_causal_lm
from lm.tokenizer import train_tokenizer
from prm.heads import split_classifier
from prm.layout import encode_steps
from prm.scorer import StepPRM
from verifiers.data import load_examples, read_rows
from verifiers.solution import Problem, Solution
from verifiers.split import split_steps

CHAT = "<|im_start|>system\nPlease reason step by step, and put your final answer within \\boxed{}.<|im_end|>\n"
PROMPTS = {
    "the question": "{question}\n",
    "chat with a system prompt": CHAT + "<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n",
}


def pool(path: Path) -> list[list[Solution]]:
    """The samples of each problem of a best-of-n file, cut into paragraphs."""
    groups = []
    for _, row in read_rows(path):
        problem = Problem(str(row["id"]), str(row["question"]), "")
        texts = [str(sample["response"]) for sample in row["samples"]]
        groups.append([Solution(problem, text, split_steps(text, "paragraph")) for text in texts])
    return groups


def build(texts: Sequence[str], hidden: int, layers: int, vocabulary: int) -> StepPRM:
    """A random step scorer with a tokenizer made for ``texts``."""
    from transformers import AutoModelForTokenClassification

    tokenizer = train_tokenizer(texts, vocabulary)
    sizes = ModelConfig(
        architecture="qwen2", hidden_size=hidden, layers=layers, heads=hidden // 64, intermediate_size=4 * hidden,
        max_positions=4096,
    )  # fmt: skip
    torch.manual_seed(0)
    config = build_causal_lm(sizes, tokenizer).config
    config.num_labels, config.classifier_dropout = 2, 0.0
    model = AutoModelForTokenClassification.from_config(config).eval()
    torch.nn.init.normal_(model.score.weight, std=0.3)
    trunk, head = split_classifier(model)
    return StepPRM(trunk, head, tokenizer, prompt=PROMPTS["the question"])


def one_prefix_at_a_time(prm: StepPRM, solutions: Sequence[Solution]) -> list[np.ndarray]:
    """What many scripts do: a forward pass a step, over the prompt and everything up to it."""
    found = []
    with torch.inference_mode():
        for row in encode_steps(prm.tokenizer, solutions, prm.prompt):
            scores = []
            for end in row.ends:
                hidden = prm.trunk(input_ids=torch.tensor([row.ids[: end + 1]]), use_cache=False).last_hidden_state
                scores.append(float(prm.head(hidden[0, -1]).softmax(-1)[1]))
            found.append(np.array(scores))
    return found


def ours(prm: StepPRM, solutions: Sequence[Solution], share: bool) -> list[np.ndarray]:
    prm.share = share
    return [scores.probabilities for scores in prm.score(solutions)]


def compare(ways: dict[str, Callable[[], list[np.ndarray]]], repeats: int) -> dict[str, float]:
    """CPU seconds of each way, the least of ``repeats`` turns; stops if their scores differ by more than 1e-5.

    CPU time of this one thread rather than the clock's, so that other work on the machine does not count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    answers: dict[str, np.ndarray] = {}
    for _ in range(repeats):
        for name, way in ways.items():
            began = time.process_time()
            answers[name] = np.concatenate(way())
            seconds[name].append(time.process_time() - began)
    first, *others = answers.values()
    worst = max(float(np.abs(first - other).max()) for other in others)
    if worst > 1e-5:
        raise SystemExit(f"the ways disagree by {worst:.1e}")
    print(f"  scores agree to {worst:.1e}")
    return {name: min(times) for name, times in seconds.items()}


def lengths(prm: StepPRM, solutions: Sequence[Solution]) -> str:
    rows = encode_steps(prm.tokenizer, solutions, prm.prompt)
    prompt, rest = np.mean([row.start for row in rows]), np.mean([len(row.ids) - row.start for row in rows])
    return f"{prompt:.0f} tokens of prompt and {rest:.0f} of solution on average"


def report(seconds: dict[str, float], count: int) -> None:
    slowest = next(iter(seconds.values()))
    for name, value in seconds.items():
        print(f"  {name:<28}{count / value:8.1f} solutions a CPU second  {slowest / value:5.2f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", type=Path, help="best-of-n file with 32 samples a problem")
    parser.add_argument("worked", type=Path, help="problems with worked solutions, GSM8K's training file")
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--vocabulary", type=int, default=8000)
    parser.add_argument(
        "--problems", type=int, default=3, help="problems of 32 solutions, and times 8 solutions of 8 steps"
    )
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    groups = pool(arguments.pool)
    worked = [e for e in load_examples(str(arguments.worked), allow_test=True) if e.solution]
    texts = [s.text for group in groups for s in group[:4]] + [f"{e.problem.question}\n{e.solution}" for e in worked]
    prm = build(
        [*texts, *(group[0].problem.question for group in groups)],
        arguments.hidden,
        arguments.layers,
        arguments.vocabulary,
    )
    size = sum(p.numel() for p in prm.trunk.parameters())
    print(f"{size / 1e6:.1f} million parameters, {len(prm.tokenizer)} tokens, 1 thread")

    eight = [next((s for s in group if len(s.steps) == 8), None) for group in groups]
    chosen = [s for s in eight if s is not None][: 8 * arguments.problems]
    for name, prompt in PROMPTS.items():
        prm.prompt = prompt
        rows = encode_steps(prm.tokenizer, chosen, prompt)
        ratio = sum(end + 1 for row in rows for end in row.ends) / sum(len(row.ids) for row in rows)
        print(f"\n{len(chosen)} solutions of 8 steps, a problem each, prompt {name}: {lengths(prm, chosen)}")
        print(f"  prefixes hold {ratio:.2f} times the tokens")
        ways = {
            "one prefix at a time": lambda: one_prefix_at_a_time(prm, chosen),
            "one pass": lambda: ours(prm, chosen, True),
        }
        report(compare(ways, arguments.repeats), len(chosen))
        for what, solved in (("sampled", groups), ("as short as GSM8K's own", short(groups, worked))):
            many = [s for group in solved[: arguments.problems] for s in group]
            print(f"\n32 solutions a problem, {what}, prompt {name}: {lengths(prm, many)}")
            both = {"each by itself": lambda: ours(prm, many, False), "shared": lambda: ours(prm, many, True)}  # noqa: B023
            report(compare(both, arguments.repeats), len(many))


def short(groups: Sequence[Sequence[Solution]], worked: Sequence) -> list[list[Solution]]:
    """32 solutions a problem of the length that GSM8K's authors wrote: other problems' solutions under one question."""
    out = []
    for place, group in enumerate(groups):
        lines = [e.solution for e in worked[32 * place : 32 * place + 32]]
        out.append([Solution(group[0].problem, text, split_steps(text)) for text in lines])
    return out


if __name__ == "__main__":
    main()
