"""A step of PPO or GRPO side by side with TRL: the same tiny model, prompts and lengths, in turns, in one run.

    python -m benchmarks.rl_step DATA/gsm8k/train.jsonl.gz --algorithm ppo  --trl-python P   # P has TRL 1.12
    python -m benchmarks.rl_step DATA/gsm8k/train.jsonl.gz --algorithm grpo --trl-python P   # P has TRL 1.16

Both sides run in processes of their own (so that each has its own peak memory) and take turns; the first turn warms
up and is left out, the rest give the medians. Samples end where the benchmark says: after as many tokens as some GSM8K
solution has (at most 256, then without EOS), or all at 128. Rewards are random numbers that cost
nothing on either side.

The floor. With G prompts of P tokens, n samples each of R tokens, the least that a step must do, in positions (a
position of the trunk's backward pass costs two forward ones; the LM head counts by itself, as it has V columns):

    sampling         trunk G·P + G·n·R        head G·n·R           forward
    reference (PPO)  trunk G·P + G·n·R        head G·n·R           forward
    critic (PPO)     trunk G·n·(P + R)                             forward
    learning, E x    trunk G·P + G·n·R        head G·n·R           forward and backward
      and critic     trunk G·n·(P + R)                             forward and backward

TRL runs every sample padded to the longest, P + R_max; its PPO's head runs at all of those positions. Each table says
what both come to. A logit is 4 bytes: a (B, T, V) float32 copy of one TRL batch is the largest thing in its memory.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

FIXED = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--algorithm", choices=["ppo", "grpo"], required=True)
    parser.add_argument("--lengths", choices=["natural", "fixed"], nargs="+", default=["natural", "fixed"])
    parser.add_argument(
        "--trl-python", help="a Python with trl (1.12 for ppo, 1.16 for grpo) and this repository's needs"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompts", type=int, help="of a step; 64 (one sample each) for ppo and 16 (8 each) for grpo")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--trl-batch", type=int, default=16, help="samples in one of TRL's forward passes")
    parser.add_argument("--micro-tokens", type=int, default=2048, help="tokens in one of Rung's")
    parser.add_argument("--critic-trunk", default="separate", help="shared: the critic is a head on the policy's trunk")
    arguments = parser.parse_args()
    for lengths in arguments.lengths:
        with tempfile.TemporaryDirectory() as folder:
            prepare(arguments, lengths, Path(folder))
            compare(arguments, Path(folder))


def prepare(arguments: argparse.Namespace, lengths: str, folder: Path) -> None:
    """The model, its tokenizer, the prompts, and how long each sample of each round is: ``folder/work.json``."""
    from benchmarks.lengths import CAP, model_and_prompts

    groups, n = (arguments.prompts or 64, 1) if arguments.algorithm == "ppo" else (arguments.prompts or 16, 8)
    model, tokenizer, prompts, solutions = model_and_prompts(arguments.file, groups)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    rng = random.Random(0)
    rounds = [
        [rng.choice(solutions) if lengths == "natural" else FIXED for _ in range(groups * n)]
        for _ in range(arguments.rounds + 1)
    ]
    work = {
        "algorithm": arguments.algorithm, "prompts": prompts, "n": n, "rounds": rounds,
        "cap": CAP if lengths == "natural" else FIXED, "threads": arguments.threads,
        "trl_batch": arguments.trl_batch, "micro_tokens": arguments.micro_tokens,
        "critic_trunk": arguments.critic_trunk, "folder": str(folder),
    }  # fmt: skip
    (folder / "work.json").write_text(json.dumps(work))
    size = sum(p.numel() for p in model.parameters()) / 1e6
    widths = [len(tokenizer(p)["input_ids"]) + 1 for p in prompts]
    print(f"\n{arguments.algorithm}, {lengths}: {size:.1f} million parameters, {groups} prompts x {n} samples")
    count(widths, rounds[-1], n, arguments.algorithm)


def count(prompts: list[int], lengths: list[int], n: int, algorithm: str) -> None:
    """Print the positions of the last round: what no one can do without, and what comes of padding to the longest."""
    owners = [prompts[i // n] for i in range(len(lengths))]
    shared, alone = sum(prompts) + sum(lengths), sum(owners) + sum(lengths)
    padded, longest = len(lengths) * (max(prompts) + max(lengths)), len(lengths) * max(lengths)
    for name, once, critic, head in (
        ("the floor", shared, alone, sum(lengths)),
        ("padded to the longest", padded, padded, padded if algorithm == "ppo" else longest),
    ):
        ppo = algorithm == "ppo"
        forward = once * (2 if ppo else 1) + critic * ppo  # sampling; reference and critic
        learn = (once + critic) * 4 if ppo else once
        heads = head * (2 + 4 * 3 if ppo else 1 + 3)
        print(
            f"  {name}: {forward + 3 * learn:,} trunk positions in units of a forward pass, {heads:,} of the LM head, "
            f"{head * 8192 * 4 / 2**20:,.0f} MiB of logits for one pass"
        )


def compare(arguments: argparse.Namespace, folder: Path) -> None:
    """Let the sides take turns and print the medians."""
    sides = {"Rung": sys.executable} | ({"TRL": arguments.trl_python} if arguments.trl_python else {})
    workers = {
        name: subprocess.Popen(
            [python, "-m", "benchmarks.rl_step_worker", name, str(folder)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True,
        )
        for name, python in sides.items()
    }  # fmt: skip
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
    for _ in range(arguments.rounds + 1):
        for name, worker in workers.items():
            turns[name].append(turn(worker))
            print(f"  {name}: {turns[name][-1]['seconds']:.1f} s, {turns[name][-1]['cpu']:.1f} of CPU", flush=True)
    for worker in workers.values():
        worker.communicate()
    medians = {
        name: {key: float(np.median([t[key] for t in found[1:]])) for key in found[0]} for name, found in turns.items()
    }
    print("  | | samples a second | seconds | CPU seconds | peak MiB |")
    for name, m in medians.items():
        rate = m["samples"] / m["seconds"]
        print(f"  | {name} | {rate:.2f} | {m['seconds']:.2f} | {m['cpu']:.2f} | {m['peak_mib']:,.0f} |")
    if len(medians) == 2:
        ours, theirs = medians["Rung"], medians["TRL"]
        print(
            f"  {theirs['seconds'] / ours['seconds']:.2f} times TRL's samples a second "
            f"({theirs['cpu'] / ours['cpu']:.2f} by CPU time), {ours['peak_mib'] / theirs['peak_mib']:.2f} of its peak",
            flush=True,
        )


def turn(worker: Any) -> dict[str, float]:
    """One step of one side."""
    worker.stdin.write("go\n")
    worker.stdin.flush()
    line = worker.stdout.readline()
    if not line:
        raise SystemExit("a side ended before its turn: see its message above")
    return dict(json.loads(line))


if __name__ == "__main__":
    main()
