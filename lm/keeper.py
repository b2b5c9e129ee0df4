"""Keeps a command for as long as the process that asked for it lives, and leaves nothing of it behind.

Run by its path, ``python keeper.py PARENT GRACE COMMAND...``: it needs nothing but the standard library, and what it
keeps may be of another interpreter. A server has processes of its own, which outlive it where it is killed, or ended
while they start; so they are in one process group, and the group goes as a whole.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

_POLL = 0.2  # seconds; a parent's death is seen by looking, which works on every system and whoever started us


def keep(parent: int, grace: float, command: Sequence[str]) -> int:
    """Run ``command`` until it ends, SIGTERM comes, or the process ``parent`` is no longer our parent; its status.

    It then has ``grace`` seconds from its own SIGTERM on, before its whole group is killed.
    """
    asked_to_end: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked_to_end.append(number))
    child = subprocess.Popen(command, process_group=0)
    try:
        while not asked_to_end and os.getppid() == parent:
            with suppress(subprocess.TimeoutExpired):
                return child.wait(_POLL)
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            return child.wait(grace)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    return child.wait()


if __name__ == "__main__":
    status = keep(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
    if status < 0:  # what asked for the command is to see how it ended
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    raise SystemExit(status)
