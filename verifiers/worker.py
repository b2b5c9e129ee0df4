"""One worker of the pool: reads items as JSON lines, writes verdicts as JSON lines; ``python -m verifiers.worker``.

A line in is ``[question, answer, text]``, a line out ``[correct, predicted, reason]``; an empty line says "ready".
"""

import json
import signal
import sys
from typing import BinaryIO

MEMORY = 256 * 2**20  # bytes of data a worker may allocate; beyond it the worker dies and is replaced


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer until the parent closes the pipe."""
    from verifiers.solution import Problem
    from verifiers.verify import verify

    sink.write(b"\n")
    sink.flush()
    for line in source:
        question, answer, text = json.loads(line)
        verdict = verify(Problem("", question, answer), text)
        sink.write(json.dumps([verdict.correct, verdict.predicted, verdict.reason]).encode() + b"\n")
        sink.flush()


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
