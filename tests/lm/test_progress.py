"""lm.progress: plain lines where there is no terminal, a live display where there is one."""

import os
import pty
import subprocess
import sys

import pytest

from lm.progress import progress, words


def test_a_line_at_each_tenth_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("sampling", 40) as bar:
        for i in range(40):
            bar.advance(1, reward=i / 3)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert [line.split()[1] for line in lines] == [f"{n}/40" for n in range(4, 41, 4)]
    assert lines[0] == "sampling 4/40  0 s  reward 1"
    assert lines[-1].endswith("reward 13")


def test_large_strides_and_a_late_start(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("PPO", 10, done=7) as bar:
        bar.advance(2)
        bar.advance(1)
    assert [line.split()[1] for line in capsys.readouterr().err.splitlines()] == ["9/10", "10/10"]


def test_an_inner_bar_is_quiet_and_the_next_one_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("outer", 1) as outer:
        with progress("inner", 1) as inner:
            inner.advance(1)
        outer.advance(1)
    with progress("next", 1) as after:
        after.advance(1)
    assert [line.split()[0] for line in capsys.readouterr().err.splitlines()] == ["outer", "next"]


def test_words() -> None:
    assert words({"loss": 0.123456, "n": 3, "note": "a"}) == "loss 0.1235  n 3  note a"


SCRIPT = """
from lm.progress import progress
with progress("outer [b]", 2) as outer:
    with progress("inner", 3) as inner:
        inner.advance(3, kl=0.25)
    outer.advance(2, reward=0.5)
{end}
"""


@pytest.mark.parametrize("end", ["", "raise SystemExit(3)"])
def test_a_terminal_gets_bars_and_its_cursor_back(end: str) -> None:
    keeper, terminal = pty.openpty()
    script = SCRIPT.format(end="") if not end else SCRIPT.format(end="").rstrip() + f"\n    {end}\n"
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, "-c", script], stdin=terminal, stdout=terminal, stderr=terminal, env=environment, check=False
    )
    os.close(terminal)
    shown = b""
    try:
        while chunk := os.read(keeper, 65536):
            shown += chunk
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(keeper)
    text = shown.decode()
    assert done.returncode == (3 if end else 0), text
    assert "outer [b]" in text
    assert "reward 0.5" in text
    assert "2/2" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # shown again after it was hidden
