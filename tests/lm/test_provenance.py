"""lm.provenance: the command and the versions a run writes down."""

import platform
import shlex
import subprocess
import sys

import torch

from lm import provenance


def test_the_command_reads_back_and_hides_where_the_program_is() -> None:
    argv = ["/somewhere/venv/bin/rung", "ppo", "my configs/ppo.yaml", "prompt={question}\n", "a='b c'"]
    command = provenance.command(argv)
    assert shlex.split(command) == ["rung", *argv[1:]]
    assert "somewhere" not in command
    assert provenance.command(["/x/rung/__main__.py", "demo"]) == "rung demo"


def test_the_default_command_is_this_process() -> None:
    assert provenance.split(provenance.command())[1:] == sys.argv[1:]


def test_versions() -> None:
    found = provenance.versions(seed=7)
    assert found["python"] == platform.python_version()
    assert found["torch"] == torch.__version__
    assert found["seed"] == 7
    assert found["threads"] == torch.get_num_threads()
    assert found["commit"] is None or len(found["commit"].removesuffix("+changes")) == 40


def test_a_copy_inside_another_projects_repository_has_no_commit(tmp_path: object) -> None:
    script = f"""
import pathlib, shutil, subprocess, sys
root = pathlib.Path({str(tmp_path)!r})
git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b"]
subprocess.run([*git, "init", "-q"], check=True)
(root / "theirs").write_text("x")
subprocess.run([*git, "add", "theirs"], check=True)
subprocess.run([*git, "commit", "-qm", "theirs"], check=True)
shutil.copy({provenance.__file__!r}, root / "copied.py")
sys.path.insert(0, str(root))
import copied
print(copied._commit())
subprocess.run([*git, "add", "copied.py"], check=True)
print(copied._commit())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    without, with_changes = done.stdout.split()
    assert without == "None"
    assert len(with_changes) == 48
    assert with_changes.endswith("+changes")
