"""docs/tutorial.md runs as it stands: files are written, commands run, and Python prints what the page shows."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
NAMED = {"folder: tiny": "tiny.yaml", '{"question"': "candidates.jsonl", "problems: {families": "grpo.yaml"}


def test_blocks_are_found_in_order() -> None:
    assert [kind for kind, _ in BLOCK.findall("a\n```python\nx\n```\nb\n```text\ny\n```\n")] == ["python", "text"]


@pytest.mark.slow
def test_the_tutorial_runs_as_it_stands(tmp_path: Path) -> None:
    blocks = BLOCK.findall((ROOT / "docs/tutorial.md").read_text(encoding="utf-8"))
    for kind, body in blocks:
        if kind in ("yaml", "json"):
            [name] = [name for start, name in NAMED.items() if body.startswith(start)]
            (tmp_path / name).write_text(body, encoding="utf-8")
    printed = ""
    for kind, body in blocks:
        if kind == "bash":
            for line in body.splitlines():
                assert line.startswith("rung ")
                run(tmp_path, "-m", *shlex.split(line))
        elif kind == "python":
            printed = run(tmp_path, "-c", body)
        elif kind == "text":
            assert printed == body
    assert (tmp_path / "tiny/report.html").is_file()
    best = (tmp_path / "best.jsonl").read_text(encoding="utf-8")
    assert "7-2=5" in best
    assert (tmp_path / "tiny/compared/summary.json").is_file()


def run(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout
