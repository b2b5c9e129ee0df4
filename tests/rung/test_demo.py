"""rung.demo: a whole ladder in seconds, the two arms as processes; stopped by Ctrl-C and resumed, it ends the same."""

import signal
import subprocess
import time
from pathlib import Path

import pytest
from toy_ladder import ENVIRONMENT, ROOT, miniature, read_json, rung_command, write_yaml
from transformers import AutoModelForCausalLM

from lm.run import read_metrics
from rung.cli import main

pytestmark = pytest.mark.slow
STAGES = ("sft", "labels", "prm", "ppo-process", "ppo-outcome")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A ladder that nobody interrupted, with threads=2: an arm each."""
    folder = tmp_path_factory.mktemp("whole")
    config = write_yaml(folder / "mini.yaml", miniature(folder / "run") | {"threads": 2})
    command = rung_command("demo", str(config))
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stderr
    return folder / "run", done.stdout


def test_every_stage_leaves_what_it_should(whole: tuple[Path, str]) -> None:
    folder, _ = whole
    for stage in STAGES:
        assert (folder / stage / "metrics.jsonl").is_file()
        assert (folder / stage / "config.yaml").is_file()
    for arm in ("sft", "ppo-process", "ppo-outcome"):
        assert AutoModelForCausalLM.from_pretrained(folder / arm / "model").config.num_hidden_layers == 2
    assert [row["step"] for row in read_metrics(folder / "ppo-process")] == list(range(6))
    assert not list(folder.rglob("*.bin")) + list(folder.rglob("*.pt"))


def test_the_arms_differ_in_their_credit_alone(whole: tuple[Path, str]) -> None:
    folder, _ = whole
    lines = [(folder / arm / "config.yaml").read_text().splitlines() for arm in ("ppo-process", "ppo-outcome")]
    differ = [(a.strip(), b.strip()) for a, b in zip(*lines, strict=True) if a != b]
    assert [a.partition(":")[0] for a, _ in differ] == ["folder", "form"]
    assert differ[1] == ("form: delta", "form: outcome")
    first = [read_metrics(folder / arm)[0] for arm in ("ppo-process", "ppo-outcome")]
    assert first[0]["sampled_tokens"] == first[1]["sampled_tokens"]  # the same seed and the same policy so far
    assert first[0]["reward"] != first[1]["reward"]
    assert "threads: 1" in lines[0]  # two threads for two arms


def test_it_ends_with_the_table_and_the_page(whole: tuple[Path, str]) -> None:
    folder, out = whole
    assert [arm["name"] for arm in read_json(folder / "eval/summary.json")["arms"]] == [
        "sft",
        "outcome",
        "process",
    ]
    assert "process" in out
    assert out.rstrip().endswith(f"report: {folder / 'report.html'}")
    page = (folder / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "process" in page


def test_ctrl_c_and_resume_end_as_if_nothing_had_happened(whole: tuple[Path, str], tmp_path: Path) -> None:
    tree = miniature(tmp_path / "run") | {"threads": 2}
    config = write_yaml(tmp_path / "mini.yaml", tree)
    said = stop(config, tmp_path / "run/labels/parts", "*.jsonl")
    assert "resume=true" in said
    said = stop(config, tmp_path / "run/ppo-process", "metrics.jsonl", "resume=true")
    assert said.rstrip().endswith("rung demo: stopped; resume=true goes on")
    assert not (tmp_path / "run/report.html").exists()
    done = subprocess.run(
        rung_command("demo", str(config), "resume=true"),
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    assert "sft/model is there, going on" in done.stderr
    assert (tmp_path / "run/report.html").is_file()
    for stage in STAGES:
        assert (tmp_path / "run" / stage / "metrics.jsonl").read_bytes() == (
            whole[0] / stage / "metrics.jsonl"
        ).read_bytes(), stage
    assert read_json(tmp_path / "run/eval/summary.json") == read_json(whole[0] / "eval/summary.json")
    again = main(["demo", str(config)])
    assert again == 2


def stop(config: Path, folder: Path, pattern: str, *words: str) -> str:
    """Start the ladder, press Ctrl-C once ``folder`` holds ``pattern``, and return what it said."""
    command = rung_command("demo", str(config), *words)
    child = subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not list(folder.glob(pattern)) and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    said = child.communicate(timeout=120)[1]
    assert child.returncode == 130, said
    return said
