"""One worker of the pool: reads batches as JSON lines, writes verdicts as JSON lines; ``python -m verifiers.worker``.

A line in is ``[{"policy": ..., "rules": ...}, [[question, answer, text], ...]]``; a line out is a list of ``[correct,
predicted, reason]``, the next ones in order, written at the end of a batch and each ``SAY_SO`` seconds while it lasts,
so that a batch of many slow items is not mistaken for one that hangs.  An empty line says "ready".
"""

import json
import signal
import sys
import time
from typing import BinaryIO

MEMORY = 256 * 2**20  # bytes of data a worker may allocate; beyond it the worker dies and is replaced
SAY_SO = 0.02


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer until the parent closes the pipe."""
    import mpmath  # noqa: F401  (slow to load: before "ready", so that no item pays for it)

    from verifiers.policy import Policy
    from verifiers.solution import Problem
    from verifiers.verify import verify

    def say(*answers: list[object]) -> None:
        sink.write(json.dumps(answers).encode() + b"\n" if answers else b"\n")
        sink.flush()

    say()
    for line in source:
        settings, items = json.loads(line)
        policy, rules = Policy(**settings["policy"]), settings["rules"]
        answers: list[list[object]] = []
        said = time.monotonic()
        for question, answer, text in items:
            verdict = verify(Problem("", question, answer), text, policy=policy, rules=rules)
            answers.append([verdict.correct, verdict.predicted, verdict.reason])
            if time.monotonic() - said > SAY_SO:
                say(*answers)
                answers, said = [], time.monotonic()
        if answers:
            say(*answers)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    except (ImportError, ValueError, OSError):
        pass  # not on this platform: the limits on text and numbers hold all the same
    serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
