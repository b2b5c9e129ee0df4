"""Tokens a second of every engine beside transformers' plain ``generate`` at its best batch size, GSM8K's lengths.

    P -m benchmarks.rollouts DATA/gsm8k/train.jsonl.gz          # P: a Python with this repository's needs, vLLM and Ray

One model, one completion of each prompt, which ends after as many tokens as some GSM8K solution has (at most 256). Each
way of sampling has a process of its own (benchmarks/rollouts_worker.py), all one after the other: a few prompts to warm
up, then ``--rounds`` turns, of which the best counts. CPU seconds are those of the process and of all that it started.
Plain ``generate`` gets its prompts sorted by length. Replicas are as many as ``--threads``, of one thread each. What
the Python lacks is left out, in a line.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.lengths import CAP, model_and_prompts

ROOT = Path(__file__).resolve().parents[1]
ENGINES = ("transformers", "ray", "vllm", "vllm-server", "continuous")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 32, 64, 128], help="plain generate's")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model, tokenizer, questions, solutions = model_and_prompts(arguments.file, arguments.prompts)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        work = {
            "prompts": tokenizer([f"{question}\n" for question in questions])["input_ids"],
            "lengths": np.random.default_rng(0).choice(solutions, len(questions)).tolist(),
            "cap": CAP, "rounds": arguments.rounds, "threads": arguments.threads,
        }  # fmt: skip
        (Path(folder) / "work.json").write_text(json.dumps(work))
        rows = {way: best(way, folder, arguments.threads) for way in ways(arguments)}
    print(f"{len(questions)} prompts, {sum(work['lengths']):,} tokens, {arguments.threads} threads")
    rival = max((row for way, row in rows.items() if way.startswith("generate")), key=lambda row: row[0], default=None)
    print("| engine | tokens a second | by CPU time | times plain generate's best | by CPU time |")
    print("|---|---|---|---|---|")
    for way, row in rows.items():
        if row[0]:
            beside = [f"{mine / its:.2f}" for mine, its in zip(row, rival, strict=True)] if rival else ["", ""]
            print(f"| {way} | {row[0]:,.0f} | {row[1]:,.0f} | {' | '.join(beside)} |")


def ways(arguments: argparse.Namespace) -> list[str]:
    return [*(f"generate, {batch} at once" for batch in arguments.batches), *arguments.engines]


def best(way: str, folder: str, threads: int) -> tuple[float, float]:
    """Tokens a second by the clock and by CPU time, the best of the turns; (0, 0) where it cannot be had."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]), "OMP_NUM_THREADS": str(threads),
        "RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "TOKENIZERS_PARALLELISM": "false",
    }  # fmt: skip
    words = [sys.executable, "-m", "benchmarks.rollouts_worker", way, folder]
    ran = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    if ran.returncode:
        print(f"{way}: left out ({(ran.stderr.strip().splitlines() or ['it said nothing'])[-1]})", flush=True)
        return 0.0, 0.0
    turns = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    for turn in turns:
        print(f"{way}: {turn['tokens']:,} tokens, {turn['seconds']:.1f} s, {turn['cpu']:.1f} of CPU", flush=True)
    return max(t["tokens"] / t["seconds"] for t in turns), max(t["tokens"] / t["cpu"] for t in turns)


if __name__ == "__main__":
    main()
