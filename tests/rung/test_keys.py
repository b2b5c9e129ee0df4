"""No verb takes a key that it ignores: each is read by name somewhere in the modules that the verb can reach."""

import ast
from functools import cache
from pathlib import Path

import pytest

from lm.config import describe
from rung.cli import VERBS, _load, main

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("verifiers", "lm", "prm", "rl", "rung")


@cache
def imported_and_read(module: str) -> tuple[frozenset[str], frozenset[str]]:
    """The modules of ours that one imports, anywhere in it, and the attributes that it reads, also by ``getattr``."""
    path = ROOT / f"{module.replace('.', '/')}.py"
    tree = ast.parse(path.read_text() if path.exists() else path.with_suffix("").joinpath("__init__.py").read_text())
    imported, read = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ROOMS:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            imported |= {node.module, *(n for n in names if (ROOT / f"{n.replace('.', '/')}.py").exists())}
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            read.add(node.attr)
        elif isinstance(node, ast.Call) and len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
            read |= {str(node.args[1].value)} if ast.unparse(node.func) == "getattr" else set()
    return frozenset(imported), frozenset(read)


@pytest.mark.parametrize("verb", VERBS)
def test_every_key_is_read(verb: str) -> None:
    modules, todo = set(), {place.partition(":")[0] for place in (VERBS[verb].function, VERBS[verb].config)}
    while todo:
        modules |= todo
        todo = {name for module in todo for name in imported_and_read(module)[0]} - modules
    read = frozenset().union(*(imported_and_read(module)[1] for module in modules))
    keys = [name for name, *_ in describe(_load(VERBS[verb].config))]
    assert [key for key in keys if key.rpartition(".")[2] not in read] == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["search", "sampling.n=8"], "unknown key sampling.n; did you mean search.n?"),
        (["search", "sampling.stop=[x]"], "unknown key sampling.stop; "),
        (["constitution", "sampling.n=2"], "sampling.n is 2, and one completion of each prompt is used"),
        (["rlhf", "eval.sampling.n=2"], "sampling.n is 2, and one completion of each prompt is used"),
    ],
)
def test_a_key_of_another_verb(words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert complaint in capsys.readouterr().err
