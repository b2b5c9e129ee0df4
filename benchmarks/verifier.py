"""The verifier beside its peers on the same cases in one run.

    python benchmarks/verifier.py CASES.jsonl ... [--peer-python VENV/bin/python] [--categories]

A case is a JSON line with ``gold``, ``prediction``, ``expected`` (bool), ``kind`` ("answer" or "response") and
``category``.  The peers are Math-Verify with both sides in ``$`` and Math-Verify as TRL's accuracy reward calls it;
they run under ``--peer-python``, an interpreter that has ``math-verify[antlr4_13_2]``.  Each grader runs in a process
of its own, on one thread, and its time is that process's CPU time around the calls alone.

Printed for each: right in percent, false accepts and false rejects, cases per CPU second, and the 99th percentile of
one case's wall time and CPU time: on a machine that does other work too, only the second tells about the grader.  A
time-out or an exception counts as "not accepted".
"""

import argparse
import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
GRADERS = ("rung", "math-verify, wrapped", "math-verify, as in TRL")

Case = dict[str, Any]
Outcome = tuple[bool, float, float]  # accepted, wall seconds, CPU seconds
Grader = Callable[[str, str, str], bool]


def rung() -> Grader:
    sys.path.insert(0, str(ROOT))
    from verifiers.equal import equal
    from verifiers.solution import Problem
    from verifiers.verify import verify

    def grade(gold: str, prediction: str, kind: str) -> bool:
        if kind == "answer":
            return bool(equal(gold, prediction))
        return verify(Problem("", "", gold), prediction).correct

    return grade


def math_verify_wrapped() -> Grader:
    from math_verify import parse, verify

    def wrapped(text: str) -> str:
        return text if "$" in text or "\\boxed" in text or "\\(" in text or "\\[" in text else f"${text}$"

    def grade(gold: str, prediction: str, kind: str) -> bool:
        response = prediction if kind == "response" else wrapped(prediction)
        return bool(verify(parse(wrapped(gold)), parse(response)))

    return grade


def math_verify_as_in_trl() -> Grader:
    """The settings of ``trl.rewards.accuracy_reward``: no reward where the gold answer cannot be parsed."""
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse, verify

    config = LatexExtractionConfig(
        normalization_config=NormalizationConfig(units=True), boxed_match_priority=0, try_extract_without_anchor=False
    )

    def grade(gold: str, prediction: str, kind: str) -> bool:
        parsed = parse(gold, parsing_timeout=10)
        if not parsed:
            return False
        answer = parse(prediction, extraction_config=[config], extraction_mode="first_match", parsing_timeout=10)
        return bool(verify(parsed, answer, timeout_seconds=5))

    return grade


MAKERS = dict(zip(GRADERS, (rung, math_verify_wrapped, math_verify_as_in_trl), strict=True))


def run(grader: str) -> None:
    """In the grader's process: cases as JSON lines in, [accepted, wall seconds, CPU seconds] out, CPU seconds last."""
    grade = MAKERS[grader]()
    cases = [json.loads(line) for line in sys.stdin]
    grade("\\sqrt{8}", "2\\sqrt{2}", "answer")  # imports are nobody's speed
    outcomes = []
    cpu = time.process_time()
    for case in cases:
        start, spent = time.perf_counter(), time.process_time()
        try:
            accepted = grade(case["gold"], case["prediction"], case["kind"])
        except Exception:  # a peer's failure on a case is that case's outcome
            accepted = False
        outcomes.append([accepted, time.perf_counter() - start, time.process_time() - spent])
    print(json.dumps({"outcomes": outcomes, "cpu": time.process_time() - cpu}))


def measure(grader: str, python: str, cases: list[Case]) -> tuple[list[Outcome], float]:
    lines = "".join(json.dumps(case) + "\n" for case in cases)
    command = [python, str(Path(__file__).resolve()), "--grader", grader]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{grader} failed under {python}: {done.stderr.strip().splitlines()[-1]}")
    answer = json.loads(done.stdout.splitlines()[-1])
    return [(bool(accepted), wall, cpu) for accepted, wall, cpu in answer["outcomes"]], answer["cpu"]


def row(name: str, cases: list[Case], outcomes: list[Outcome], cpu: float | None) -> str:
    wrong = [
        case["expected"] for case, (accepted, *_) in zip(cases, outcomes, strict=True) if accepted != case["expected"]
    ]
    place = min(len(outcomes) - 1, int(0.99 * len(outcomes)))
    wall, own = (1e3 * sorted(outcome[which] for outcome in outcomes)[place] for which in (1, 2))
    rate = f"{len(cases) / cpu:,.0f}" if cpu else ""
    right = 100 * (1 - len(wrong) / len(cases))
    missed = f"{wrong.count(False)} / {wrong.count(True)}"
    return f"| {name} | {len(cases)} | {right:.2f} | {missed} | {rate} | {wall:.2f} / {own:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--peer-python", help="interpreter with math-verify installed; without it only ours runs")
    parser.add_argument("--categories", action="store_true", help="one more table per grader, by category")
    parser.add_argument("--grader", choices=GRADERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.grader:
        run(arguments.grader)
        return
    if not arguments.files:
        parser.error("name at least one file of cases")
    header = "right % | false accepts / rejects | cases / CPU s | p99 ms, wall / CPU |\n|---|---|---|---|---|---|"
    for file in arguments.files:
        cases = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        by_category: dict[str, list[int]] = defaultdict(list)
        for index, case in enumerate(cases):
            by_category[case["category"]].append(index)
        print(f"\n| {file.name} | cases | {header}")
        tables = []
        for grader in GRADERS if arguments.peer_python else GRADERS[:1]:
            python = sys.executable if grader == "rung" else arguments.peer_python
            outcomes, cpu = measure(grader, python, cases)
            print(row(grader, cases, outcomes, cpu), flush=True)
            tables.append((grader, outcomes))
        for grader, outcomes in tables if arguments.categories else []:
            print(f"\n| {grader} | cases | {header}")
            for category, indices in sorted(by_category.items()):
                print(row(category, [cases[i] for i in indices], [outcomes[i] for i in indices], None))


if __name__ == "__main__":
    main()
