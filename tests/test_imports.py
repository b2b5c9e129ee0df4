"""The arrows between the rooms: which room may import which, and what must stay out of a quick start."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("verifiers", "lm", "prm", "rl", "rung")

# What each room may never import, not even inside a function.
FORBIDDEN = {
    "verifiers": {"lm", "prm", "rl", "rung", "torch", "transformers"},
    "lm": {"verifiers", "prm", "rl", "rung", "sympy"},
    "prm": {"rl", "rung"},
    "rl": {"rung"},
    "rung": set(),
}

# Slow to import, or installed only with an extra: inside the function that needs it, never at the top of a module.
LOCAL_ONLY = {"accelerate", "datasets", "fastapi", "pandas", "peft", "prometheus_client", "pyarrow", "ray", "starlette"}
LOCAL_ONLY |= {"uvicorn", "vllm"}


def modules(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imported(path: Path, *, module_level_only: bool = False) -> Iterator[tuple[int, str]]:
    """(line, top-level package) of each absolute import in a file; relative ones stay within their room."""
    return imports_of(ast.parse(path.read_text(encoding="utf-8"), str(path)), module_level_only=module_level_only)


def imports_of(tree: ast.AST, *, module_level_only: bool) -> Iterator[tuple[int, str]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module.partition(".")[0]
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        is_type_checking = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if not (module_level_only and (is_function or is_type_checking)):
            yield from imports_of(node, module_level_only=module_level_only)


@pytest.mark.parametrize("room", ROOMS)
def test_arrows_point_down(room: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {package}"
        for path in modules(room)
        for line, package in imported(path)
        if package in FORBIDDEN[room]
    ]
    assert wrong == []


@pytest.mark.parametrize("room", ROOMS)
def test_relative_imports_stay_in_their_room(room: str) -> None:
    for path in modules(room):
        depth = len(path.relative_to(ROOT).parts) - 1
        levels = [n.level for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom)]
        assert max(levels, default=0) <= depth, path


@pytest.mark.parametrize("room", ROOMS)
def test_heavy_packages_are_imported_where_they_are_used(room: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {package} at module level"
        for path in modules(room)
        for line, package in imported(path, module_level_only=True)
        if package in LOCAL_ONLY
    ]
    assert wrong == []


def test_the_parser_sees_imports_wherever_they_hide() -> None:
    source = """
import a.b as c, d
from e.f import g
from . import sibling
if TYPE_CHECKING:
    import only_types
try:
    import h
except ImportError:
    pass
def function():
    import i
class Class:
    import l
    def method(self):
        from m import n
"""
    tree = ast.parse(source)
    everywhere = {package for _, package in imports_of(tree, module_level_only=False)}
    assert everywhere == {"a", "d", "e", "only_types", "h", "i", "l", "m"}
    assert {package for _, package in imports_of(tree, module_level_only=True)} == {"a", "d", "e", "h", "l"}


def loaded_after(code: str) -> set[str]:
    """The top-level packages in sys.modules after ``code`` ran in a process of its own."""
    program = f"{code}\nimport sys\nprint(chr(10) + ' '.join({{name.partition('.')[0] for name in sys.modules}}))"
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    return set(ran.stdout.strip().splitlines()[-1].split())


def test_verifiers_need_neither_torch_nor_sympy_to_import() -> None:
    loaded = loaded_after("import verifiers, verifiers.data")
    assert "verifiers" in loaded
    assert not loaded & {"torch", "transformers", "sympy", "numpy", *LOCAL_ONLY}


def test_help_loads_nothing_heavy() -> None:
    code = """
import sys
sys.argv = ["rung", "--help"]
from rung.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""
    loaded = loaded_after(code)
    assert "rung" in loaded
    assert not loaded & {"torch", "transformers", "sympy", "rich", *LOCAL_ONLY}
