"""Runs of RL that are killed, for tests/rl/test_killed_runs.py: each in a process of its own, forked from this one.

    python killing.py CONFIG.yaml SEED KILLS

Trains once undisturbed, counting the calls of our functions; then again in another folder, killed (SIGKILL) KILLS times
at a random one of them and resumed each time. Prints where each kill struck.
"""

import os
import random
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from lm.config import load
from lm.models import load_causal_lm, load_token_scorer, load_tokenizer
from rl.config import RLConfig
from rl.train import train

OURS = tuple(str(Path(__file__).parents[2] / room) + os.sep for room in ("lm", "prm", "rl"))


class Reaper:
    """Counts calls of functions of ours, and kills its process at one of them."""

    def __init__(self, at: int | None, say: int) -> None:
        self.calls, self.at, self.say = 0, at, say

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event != "call" or not frame.f_code.co_filename.startswith(OURS):
            return
        self.calls += 1
        if self.calls == self.at:
            os.write(self.say, f"{Path(frame.f_code.co_filename).name} {frame.f_code.co_name}".encode())
            os.kill(os.getpid(), signal.SIGKILL)


def attempt(config: RLConfig, at: int | None) -> str:
    """Train in a child, killed at call number ``at``; returns where that was, or how many calls it took to the end."""
    out, say = os.pipe()
    child = os.fork()
    if child == 0:
        reaper = Reaper(at, say)
        sys.setprofile(reaper)
        train(config)
        sys.setprofile(None)
        os.write(say, str(reaper.calls).encode())
        os._exit(0)
    os.close(say)
    _, status = os.waitpid(child, 0)
    said = os.read(out, 1000).decode()
    os.close(out)
    assert os.waitstatus_to_exitcode(status) == (-signal.SIGKILL if not said.isdigit() else 0), said
    return said


def main() -> None:
    config = load(RLConfig, Path(sys.argv[1]))
    # What takes seconds to import is there before the first fork.
    load_causal_lm(config.policy)
    load_token_scorer(config.prm, 2)
    load_tokenizer(config.policy)
    rng, kills = random.Random(sys.argv[2]), int(sys.argv[3])
    calls = int(attempt(config, None))
    again = replace(config, folder=config.folder.with_name("killed"))
    for kill in range(kills):
        # A later kill strikes earlier in what is left to do, so that most find something to interrupt.
        print(attempt(replace(again, resume=kill > 0), rng.randrange(calls // 10, calls // 2)))
    print(attempt(replace(again, resume=True), None))


if __name__ == "__main__":
    main()
