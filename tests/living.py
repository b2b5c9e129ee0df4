"""Which processes are alive, by /proc: for tests that kill some and look for what is left."""

import time
from collections.abc import Callable
from pathlib import Path

HAS_PROC = Path("/proc/self/stat").exists()


def fields(pid: int) -> list[str]:
    """State, parent, group and session (and more) of a process; none where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def alive(pid: int) -> bool:
    """Whether it runs; one that has ended and that nobody has reaped does not."""
    return fields(pid)[:1] not in ([], ["Z"])


def parent_of(pid: int) -> int:
    return int(fields(pid)[1])


def in_session(leader: int) -> list[int]:
    """The living processes of a session."""
    everybody = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
    return [pid for pid in everybody if alive(pid) and fields(pid)[3:4] == [str(leader)]]


def children(parent: int) -> list[int]:
    everybody = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
    return [pid for pid in everybody if fields(pid)[1:2] == [str(parent)]]


def wait_for(true: Callable[[], object], seconds: float = 60.0) -> None:
    """AssertionError where it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not in {seconds} s"
        time.sleep(0.05)
