"""One arm of ``rung demo`` in a process of its own, which ends when the demo does, however that ends.

    python -m rung.arm CONFIG.yaml        with a pipe from the demo as its standard input

A demo that is killed closes nothing itself; the system closes its end of the pipe. The arm then stops as at a Ctrl-C:
after the step it is in, with a checkpoint, so that ``resume=true`` goes on.
"""

import os
import signal
import sys
import threading

from rung.cli import main


def end_with_parent() -> None:
    """Ask this process to stop (SIGTERM) once nobody holds the other end of its standard input."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    end_with_parent()
    sys.argv = ["rung", "ppo", *sys.argv[1:]]  # what the run writes down as its command
    raise SystemExit(main())
