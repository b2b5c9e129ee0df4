"""House rules that a reader would otherwise have to check by eye."""

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("verifiers", "lm", "prm", "rl", "rung")
LONGEST = 350

# What runs text or a file's bytes as a program.  A model's text and a user's file are never either.
BUILTINS = {"eval", "exec", "compile"}  # as a name of their own: model.eval() and re.compile() are something else
TEXT_RUNNERS = {"sympify", "parse_expr", "parse_latex"}  # SymPy's, each of which ends in eval
UNPICKLERS = {"dill.load", "dill.loads", "joblib.load", "marshal.load", "marshal.loads", "pickle.load", "pickle.loads"}
UNPICKLERS |= {"shelve.open", "torch.load", "yaml.full_load", "yaml.unsafe_load"}
SAFE_YAML = {"yaml.SafeLoader", "yaml.CSafeLoader"}
MUST_BE_FALSE = {"trust_remote_code", "allow_pickle"}


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def dangers(source: str) -> Iterator[tuple[int, str]]:
    """(line, call) of each call that would run untrusted data, whatever name its module was imported under."""
    tree = ast.parse(source)
    names = imported_names(tree)

    def resolve(expression: ast.expr) -> str:
        head, dot, rest = ast.unparse(expression).partition(".")
        return names.get(head, head) + dot + rest

    safe_loaders = set(SAFE_YAML)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and {resolve(base) for base in node.bases} & safe_loaders:
            safe_loaders.add(node.name)
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        called = resolve(call.func)
        keywords = {keyword.arg: keyword.value for keyword in call.keywords}
        runs_text = called.removeprefix("builtins.") in BUILTINS or called.rpartition(".")[2] in TEXT_RUNNERS
        loader = resolve(keywords["Loader"]) if "Loader" in keywords else "yaml.Loader"
        if runs_text or called in UNPICKLERS or (called == "yaml.load" and loader not in safe_loaders):
            yield call.lineno, called
        for name in MUST_BE_FALSE & set(keywords):
            if ast.unparse(keywords[name]) != "False":
                yield call.lineno, f"{called}({name}=...)"


def imported_names(tree: ast.AST) -> dict[str, str]:
    """What each imported name stands for: {"t": "torch", "s": "sympy.sympify"}."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("room", ROOMS)
def test_nothing_runs_untrusted_text_or_files(room: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line} calls {call}"
        for path in sources(room)
        for line, call in dangers(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "eval('1')",
        "import builtins\nbuiltins.exec('1')",
        "from sympy import sympify as s\ns('1')",
        "import sympy as sp\nsp.sympify('1')",
        "from sympy.parsing.sympy_parser import parse_expr\nparse_expr('1')",
        "import torch\ntorch.load('x')",
        "import torch as t\nt.load('x', weights_only=True)",
        "from pickle import loads\nloads(b'')",
        "import yaml\nyaml.load('x', Loader=None)",
        "import yaml\nyaml.load('x')",
        "import sympy\nsympy.parsing.sympy_parser.parse_expr('1')",
        "f(trust_remote_code=True)",
        "f(trust_remote_code=flag)",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
    ],
)
def test_the_guard_sees(source: str) -> None:
    assert len(list(dangers(source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "model.eval()",
        "import re\nre.compile('x')",
        "import torch\ntorch.compile(f)",
        "from re import compile\ncompile('x')",
        "import yaml\nyaml.safe_load('x')",
        "import yaml\nclass Mine(yaml.SafeLoader): pass\nyaml.load('x', Loader=Mine)",
        "f(trust_remote_code=False)",
        "from verifiers.rational import evaluate\nevaluate('1')",
    ],
)
def test_the_guard_lets_pass(source: str) -> None:
    assert list(dangers(source)) == []


def test_no_module_is_too_long_to_read_in_one_sitting() -> None:
    files = sources(*ROOMS, "benchmarks", "tests")
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST} == {}


def test_test_modules_have_names_of_their_own() -> None:
    """Test folders are no packages, so pytest tells modules apart by file name alone."""
    names = Counter(path.name for path in sources("tests") if path.name not in ("conftest.py", "__init__.py"))
    assert [name for name, count in names.items() if count > 1] == []


def test_every_direct_dependency_is_pinned_inside_its_range() -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines), "exact pins only, no local build tags"
    pins = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    assert len(pins) == len(lines)
    extras = project["optional-dependencies"]
    for wanted in map(Requirement, project["dependencies"] + extras["dev"] + extras["serve"] + extras["peft"]):
        if wanted.name == project["name"]:  # an extra inside another
            continue
        assert pins[canonicalize_name(wanted.name)] in wanted.specifier, wanted


def test_the_makefile_names_an_old_python_and_a_missing_one(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'import sys; sys.version_info = (3, 9, 1)\n'\"$2\"\n")
    old.chmod(0o755)
    for python, message in (
        (old, "needs Python 3.11 or newer"),
        (tmp_path / "absent", "no " + str(tmp_path / "absent")),
    ):
        command = ["make", "--no-print-directory", "-s", "setup", f"PYTHON={python}", f"VENV={tmp_path}/venv"]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert ran.returncode != 0
        assert message in ran.stderr
        assert not (tmp_path / "venv").exists()
