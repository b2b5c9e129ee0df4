"""lm.keeper: real processes, killed in every way that Rung can end."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from living import HAS_PROC, alive, parent_of, wait_for

pytestmark = pytest.mark.skipif(not HAS_PROC, reason="looks in /proc for who is alive")
KEEPER = Path(__file__).resolve().parents[2] / "lm" / "keeper.py"
# A server as stubborn as they come: neither it nor the process that it starts heeds SIGTERM.
STUBBORN = "trap '' TERM; sleep 300 & echo $$ $! > {}; wait"
ASKS = (  # one who asks for a command to be kept, and waits
    "import os, subprocess, sys; keeper = [sys.executable, sys.argv[1], str(os.getpid()), *sys.argv[2:]]; "
    "subprocess.Popen(keeper, start_new_session=True).wait()"
)


def keeping(*command: str, grace: float = 10) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, str(KEEPER), str(os.getpid()), str(grace), *command])


@pytest.mark.parametrize(
    ("number", "of_the_keeper"), [(signal.SIGKILL, False), (signal.SIGTERM, False), (signal.SIGTERM, True)]
)
def test_nothing_outlives_who_asked_for_it(tmp_path: Path, number: int, of_the_keeper: bool) -> None:
    pids = tmp_path / "pids"
    words = [sys.executable, "-c", ASKS, str(KEEPER), "0.5", "sh", "-c", STUBBORN.format(pids)]
    with subprocess.Popen(words) as parent:
        wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 2)
        server, other = map(int, pids.read_text().split())
        keeper = parent_of(server)
        assert alive(server)
        assert alive(other)
        os.kill(keeper if of_the_keeper else parent.pid, number)
        wait_for(lambda: not any(map(alive, (server, other, keeper))))


def test_who_heeds_sigterm_ends_by_itself(tmp_path: Path) -> None:
    heedful = f"trap 'echo ended > {tmp_path}/said; exit 3' TERM; touch {tmp_path}/up; sleep 300 & wait"
    process = keeping("sh", "-c", heedful)
    wait_for((tmp_path / "up").exists)
    process.terminate()
    assert process.wait() == 3
    assert (tmp_path / "said").read_text() == "ended\n"


@pytest.mark.parametrize(("command", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", -9), ("kill $$", -15)])
def test_its_status_is_the_commands(command: str, status: int) -> None:
    assert keeping("sh", "-c", command).wait() == status


def test_what_a_dead_server_leaves_goes_too(tmp_path: Path) -> None:
    process = keeping("sh", "-c", f"sleep 300 & echo $! > {tmp_path}/pid; kill -9 $$")
    assert process.wait() == -9
    left = int((tmp_path / "pid").read_text())
    wait_for(lambda: not alive(left))
