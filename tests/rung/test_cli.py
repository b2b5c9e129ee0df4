"""rung.cli: what is typed, what comes back, and how fast."""

import dataclasses
import os
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

import rung
from lm.config import REQUIRED, key, part
from lm.errors import UserError
from rung import cli

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Credit:
    form: Literal["outcome", "sum"] = key(
        "sum", "how step scores become rewards, in so many words that a line is short"
    )


@dataclass(frozen=True)
class Toy:
    steps: int = key(10, "updates of the policy")
    data: str = key(REQUIRED, "the problems")
    credit: Credit = part(Credit)


seen: list[Toy] = []
raised: list[BaseException] = []


def run_toy(config: Toy) -> None:
    seen.append(config)
    if raised:
        raise raised[0]


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    verb = cli.Verb("play", f"{__name__}:run_toy", f"{__name__}:Toy")
    monkeypatch.setattr(cli, "VERBS", {"toy": verb, "other": verb})
    seen.clear()
    raised.clear()


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 2) -> str:
    assert cli.main(arguments) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err.rstrip()


def test_a_file_and_overrides_in_any_order(tmp_path: Path) -> None:
    file = tmp_path / "a=b.yaml"
    file.write_text("toy: {data: d, steps: 3}\nother: {data: e}\n")
    assert cli.main(["toy", "credit.form=outcome", str(file), "steps=4"]) == 0
    assert cli.main(["other", str(file)]) == 0
    assert seen == [Toy(data="d", steps=4, credit=Credit("outcome")), Toy(data="e")]


def test_mistakes_are_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert complaint(capsys, "tooy") == "rung: no verb 'tooy'; did you mean toy?"
    assert complaint(capsys, "ppo") == "rung: no verb 'ppo'; one of toy, other"
    assert complaint(capsys, "toy") == "rung toy: command line: data is missing; give data=... (the problems)"
    assert complaint(capsys, "toy", "dta=x") == "rung toy: command line: unknown key dta; did you mean data?"
    assert complaint(capsys, "toy", "nowhere/x.yaml") == "rung toy: nowhere/x.yaml: no such file"
    assert complaint(capsys, "toy", "a.yaml", "b") == (
        "rung toy: expected one config file, got a.yaml and b; other settings are key=value"
    )
    assert complaint(capsys, "toy", "--steps", "3") == (
        "rung toy: no option --steps; keys are set as steps=value, without dashes (see --help)"
    )
    assert "keys are set as max_steps=value" in complaint(capsys, "toy", "--max-steps=3")
    assert complaint(capsys, "toy", "=3") == "rung toy: command line: '=3' is not key=value"
    assert seen == []


def test_what_a_verb_raises(capsys: pytest.CaptureFixture[str]) -> None:
    raised[:] = [UserError("mend\nthis")]
    assert complaint(capsys, "toy", "data=d") == "rung toy: mend this"
    raised[:] = [KeyboardInterrupt()]
    assert complaint(capsys, "toy", "data=d", status=130) == "rung toy: interrupted"
    raised[:] = [OSError(28, "No space left on device", "x/metrics.jsonl")]
    assert complaint(capsys, "toy", "data=d") == (
        "rung toy: cannot write x/metrics.jsonl: No space left on device; free some space"
    )
    for bug in (ZeroDivisionError("ours"), OSError(2, "No such file"), SystemExit(130)):
        raised[:] = [bug]
        with pytest.raises(type(bug)) as error:
            cli.main(["toy", "data=d"])
        assert error.value is bug


@pytest.mark.parametrize("arguments", [["toy", "--help"], ["toy", "x.yaml", "steps=bad", "-h"]])
def test_the_help_of_a_verb(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "72")
    assert cli.main(arguments) == 0
    assert (
        capsys.readouterr().out
        == """\
rung toy: play

usage: rung toy [CONFIG.yaml] [key=value ...]

keys, with their defaults
  steps=10         updates of the policy [int]
  data=            the problems [str, required]

credit
  credit.form=sum  how step scores become rewards, in so many words that
                   a line is short [outcome | sum]

examples
  rung toy my.yaml
  rung toy data=... steps=10 credit.form=sum
"""
    )
    assert seen == []


def test_the_keys_of_a_section_stand_together_below_its_reason() -> None:
    inner = dataclasses.make_dataclass("Inner", [("deep", int, key(3, "c"))], frozen=True)
    middle = dataclasses.make_dataclass(
        "Middle", [("x", int, key(1, "a")), ("inner", inner, part(inner)), ("y", int, key(2, "b"))], frozen=True
    )
    outer = dataclasses.make_dataclass(
        "Outer", [("middle", middle, part(middle, "why it is")), ("z", int, key(4, "d"))], frozen=True
    )
    told = [line.split()[0] for line in cli.verb_help("toy", outer).splitlines() if line and "rung toy" not in line]
    assert told == [
        "keys,",
        "z=4",
        "middle:",
        "middle.x=1",
        "middle.y=2",
        "middle.inner",
        "middle.inner.deep=3",
        "examples",
    ]
    assert "\nmiddle: why it is\n" in cli.verb_help("toy", outer)


def test_a_long_default_gets_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    long = dataclasses.make_dataclass("Long", [("prompt", str, key("x" * 40, "why"))], frozen=True)
    assert f"  prompt={'x' * 40}\n                        why [str]\n" in cli.verb_help("toy", long)


def test_the_examples_in_the_help_load() -> None:
    from lm.config import describe, load

    for example in cli._examples("toy", describe(Toy)):
        overrides = [word for word in example.split()[2:] if "=" in word]
        load(Toy, {"data": "d"}, overrides)


def subprocess_rung(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "rung", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def test_help_is_fast() -> None:
    def seconds() -> float:
        began = time.perf_counter()
        done = subprocess_rung("--help")
        assert done.returncode == 0
        assert "rung VERB --help" in done.stdout
        return time.perf_counter() - began

    assert min(seconds() for _ in range(5)) < 0.5  # the least, because other work may share the machine


def test_the_program_of_its_own() -> None:
    assert subprocess_rung("--version").stdout == f"rung {rung.__version__}\n"
    assert subprocess_rung().stdout == subprocess_rung("-h").stdout
    done = subprocess_rung("pop")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "rung: no verb 'pop'; did you mean ppo?\n"


def test_a_reader_that_has_seen_enough_gets_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "rung", "--help"]
    done = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_the_version_is_the_one_the_package_has() -> None:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == rung.__version__
    assert project["scripts"]["rung"] == "rung.cli:main"
