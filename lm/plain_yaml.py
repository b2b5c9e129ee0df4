"""YAML as people mean it: YAML 1.2's numbers and truth values, and no key twice.

YAML 1.1, which PyYAML speaks, takes ``3e-4`` for text, ``010`` for eight, ``1:30`` for ninety and ``no`` for false.
Here ``3e-4`` is a number, ``010`` is ten, and the other two are text.
"""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lm.errors import UserError

_NULL = re.compile(r"(?:~|null|Null|NULL|)$")
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)$")
_INT = re.compile(r"[-+]?[0-9][0-9_]*$")
_FLOAT = re.compile(
    r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?$"
    r"|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$"
)
_NUMBER_STARTS = list("-+.0123456789")
_TAG = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for name, _ in node.value:
            if isinstance(name, yaml.ScalarNode) and name.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{name.value!r} is given twice", name.start_mark)
            seen.add(str(name.value))
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.1 or ``_Loader`` would take for something other than text."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Text with YAML's other line breaks in it only comes back whole from double quotes, where they are escaped."""
    style = '"' if re.search("[\x85\u2028\u2029]", text) else None
    return dumper.represent_scalar(_TAG + "str", text, style=style)


_Dumper.add_representer(str, _text)
_Loader.add_implicit_resolver(_TAG + "null", _NULL, ["~", "n", "N", ""])
_Loader.add_implicit_resolver(_TAG + "bool", _BOOL, list("tTfF"))
_Loader.add_implicit_resolver(_TAG + "merge", re.compile(r"<<$"), ["<"])
for _resolving in (_Loader, _Dumper):
    _resolving.add_implicit_resolver(_TAG + "int", _INT, _NUMBER_STARTS)
    _resolving.add_implicit_resolver(_TAG + "float", _FLOAT, _NUMBER_STARTS)
_Loader.add_constructor(_TAG + "int", lambda _, node: int(node.value.replace("_", "")))
_Loader.add_constructor(_TAG + "float", lambda _, node: float(re.sub(r"_|\.(?=[inIN])", "", node.value)))


def parse(text: str) -> Any:
    """The value that ``text`` says; raises yaml.YAMLError."""
    try:
        return yaml.load(text, Loader=_Loader)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    except ValueError as error:  # Python's limit on the digits of an integer; a tag such as !!int on a word
        raise yaml.YAMLError(str(error)) from None


def dump(value: Any, *, flow: bool = False) -> str:
    """``value`` as YAML that ``parse`` reads back: one key a line, or all on one line with ``flow``."""
    text = yaml.dump(
        value,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=flow,
        width=10**6 if flow else 100,
    )
    return str(text).removesuffix("...\n").strip() if flow else str(text)


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; an empty file is an empty one. Raises UserError, with the line where there is one."""
    try:
        tree = parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, names, 1)
        raise UserError(f"{path}: no such file{f'; did you mean {path.parent / near[0]}?' if near else ''}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file in UTF-8, so not YAML") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: {_problem(error)}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UserError(
            f"{path}: expected lines of 'key: value', got a {'list' if isinstance(tree, list) else 'value'}"
        )
    return tree


def _problem(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: not valid YAML: {error.problem}"
    return "not valid YAML: " + " ".join(str(error).split())


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of a tree under their dotted names: {"a": {"b": 1}} is {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
