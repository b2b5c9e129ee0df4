"""A batch verified in this process and by workers: the best of some rounds, in milliseconds.

    python -m benchmarks.verifier_pool GSM8K.jsonl [CASES.jsonl] [--workers 1 2]

The light batch is the first 1,024 rows of the first file, short answers in GSM8K's style.  The heavy batch is every row
of the last file eight times over, told apart by a question so that none is decided twice.  Workers start before the
clock does.
"""

import argparse
import json
import time
from pathlib import Path

from verifiers import Problem, Solution, verify_many


def batch(file: Path, times: int, rows: int | None = None) -> list[Solution]:
    """The rows of a cases file as solutions, each ``times`` times with different questions."""
    cases = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()[:rows]]
    return [Solution(Problem("", str(k), c["gold"]), c["prediction"], ()) for k in range(times) for c in cases]


def best(solutions: list[Solution], workers: int, rounds: int) -> float:
    """The least wall time of ``rounds``, in milliseconds."""
    verify_many(solutions[-64:], workers=workers, timeout=30)
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        verify_many(solutions, workers=workers, timeout=30)
        taken.append(time.perf_counter() - start)
    return 1e3 * min(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print("| batch | solutions | in-process ms |" + "".join(f" {n} workers ms |" for n in arguments.workers))
    print("|---|---|---|" + "---|" * len(arguments.workers))
    for name, solutions in (
        ("light", batch(arguments.files[0], 1, 1024)),
        ("heavy", batch(arguments.files[-1], 8)),
    ):
        times = [best(solutions, workers, arguments.rounds) for workers in (0, *arguments.workers)]
        print(f"| {name} | {len(solutions):,} | " + " | ".join(f"{ms:.0f}" for ms in times) + " |", flush=True)


if __name__ == "__main__":
    main()
