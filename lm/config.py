"""Configs: frozen dataclasses, then a YAML file, then ``key=value``; a mistake gets one line that says how to mend it.

    @dataclass(frozen=True)
    class Train:
        steps: int = key(100, "updates of the policy", low=1)
        credit: Credit = part(Credit)

    config = load(Train, Path("ppo.yaml"), ["credit.form=outcome", "steps=200"])

Types a field may have: int, float, bool, str, Path, Literal, X | None, tuple[X, ...], dict[str, X] and configs.
"""

import dataclasses
import difflib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from lm import plain_yaml
from lm.errors import UserError

T = TypeVar("T")
REQUIRED: Any = dataclasses.MISSING  # the default of a key that must be given
_COMMAND_LINE = "command line"


def key(default: Any, reason: str, *, low: float | None = None, high: float | None = None) -> Any:
    """A config field: its default (or ``REQUIRED``), why it is there, and the least and greatest number allowed.

    A required field is keyword-only, so it may stand after fields with defaults.
    """
    metadata = {"reason": reason, "low": low, "high": high}
    if default is REQUIRED:
        return dataclasses.field(metadata=metadata, kw_only=True)
    if isinstance(default, dict | list):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def part(cls: type, reason: str = "", **defaults: Any) -> Any:
    """A config inside a config; ``defaults`` replace those of ``cls`` in this place only."""
    return dataclasses.field(default_factory=lambda: cls(**defaults), metadata={"reason": reason, "defaults": defaults})


def load(
    cls: type[T],
    source: Path | Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    section: str | None = None,
) -> T:
    """A ``cls`` from its defaults, then ``source``, then dotted ``key=value`` overrides.

    Nested configs merge key by key; a list or a ``dict[str, X]`` in the file replaces its default whole. Where the
    source has a mapping called ``section`` at its top, that mapping is the config.
    Raises UserError for a file that cannot be read, an unknown key, a wrong value or a missing required key.
    """
    origin = _COMMAND_LINE if source is None else str(source) if isinstance(source, Path | str) else "config"
    tree = plain_yaml.read_mapping(Path(source)) if isinstance(source, Path | str) else dict(source or {})
    if section is not None and section in tree and isinstance(tree[section], Mapping | None):
        tree, origin = dict(tree[section] or {}), f"{origin} ({section})"
    for override in overrides:
        _override(tree, override)
    config: T = _build(cls, tree, {}, "", origin, [name for name, *_ in describe(cls)])
    return config


def to_dict(config: Any) -> dict[str, Any]:
    """The resolved config as plain YAML values (paths are strings, tuples lists), in field order."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def to_yaml(config: Any) -> str:
    """The resolved config as YAML; ``load`` makes an equal config of it."""
    return plain_yaml.dump(to_dict(config))


def describe(cls: type, prefix: str = "", defaults: Mapping[str, Any] | None = None) -> list[tuple[str, str, str, str]]:
    """(dotted key, type, default, reason) of every key of ``cls``, in field order, nested configs in their place."""
    rows: list[tuple[str, str, str, str]] = []
    for field, kind in _fields(cls):
        base = (defaults or {}).get(field.name, _default(field))
        nested = _dataclass_of(kind)
        reason = field.metadata.get("reason", "")
        if nested is not None and base is None:
            rows.append((prefix + field.name, _type_name(kind), "null", reason))
        if nested is not None:
            rows += describe(nested, f"{prefix}{field.name}.", _as_defaults(base))
        else:
            default = "required" if base is REQUIRED else _shown(base)
            rows.append((prefix + field.name, _type_name(kind), default, reason))
    return rows


def sections(cls: type, prefix: str = "") -> dict[str, str]:
    """The reason for each config inside ``cls``, under its dotted name."""
    found: dict[str, str] = {}
    for field, kind in _fields(cls):
        if (nested := _dataclass_of(kind)) is not None:
            found[prefix + field.name] = field.metadata.get("reason", "")
            found |= sections(nested, f"{prefix}{field.name}.")
    return found


# --- from a tree of values to a config ------------------------------------------------------------------------------


class _Typed(str):
    """A value as typed on the command line; what it means depends on the type of its key."""


class _TypedMapping(dict[str, Any]):
    """A mapping that only the command line speaks of."""


class _MismatchError(Exception):
    """A value is not of the type its key has."""


def _override(tree: dict[str, Any], override: str) -> None:
    """Put one ``a.b=value`` into the tree."""
    name, equals, text = override.partition("=")
    path = name.strip().split(".")
    if not equals or not all(path):
        raise UserError(f"{_COMMAND_LINE}: {override!r} is not key=value")
    for outer in path[:-1]:
        inner = tree.get(outer)
        if isinstance(inner, _Typed):
            raise UserError(f"{_COMMAND_LINE}: {outer}={inner} and {override} overlap; give the keys one by one")
        # A copy, so that the caller's mapping (or one that the file uses in two places) stays as it is.
        tree[outer] = inner.copy() if isinstance(inner, dict) else _TypedMapping()
        tree = tree[outer]
    tree[path[-1]] = _Typed(text)


def _build(
    cls: type, tree: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str, origin: str, known: Sequence[str]
) -> Any:
    """A ``cls`` of what ``tree`` gives, else of ``defaults``, else of the fields' own.

    ``prefix`` is where ``cls`` stands in the whole config, and ``known`` are all dotted keys there are.
    """
    fields = _fields(cls)
    for name in sorted(tree.keys() - {field.name for field, _ in fields}, key=str):
        raise UserError(_unknown(f"{prefix}{name}", _origin(tree[name], origin), known))
    values: dict[str, Any] = {}
    for field, kind in fields:
        dotted, nested = prefix + field.name, _dataclass_of(kind)
        base = defaults.get(field.name, _default(field))
        given = tree.get(field.name, REQUIRED)
        where = _origin(given, origin)
        if nested is not None:
            given = _section(given, base, optional=_is_union(kind))
        if nested is not None and isinstance(given, Mapping):
            value = _build(nested, given, _as_defaults(base), f"{dotted}.", where, known)
        elif given is REQUIRED and base is REQUIRED:
            raise UserError(f"{origin}: {dotted} is missing; give {dotted}=... ({field.metadata.get('reason', '')})")
        else:
            value = base if given is REQUIRED else _checked(field, kind, given, dotted, where)
        values[field.name] = value
    return cls(**values)


def _section(given: Any, base: Any, *, optional: bool) -> Any:
    """What is given for a nested config; one left out, or left empty in the file, is its defaults."""
    given = _parsed(given)
    left_out = (given is REQUIRED and base is not None) or (given is None and not optional)
    return {} if left_out else given


def _checked(field: "dataclasses.Field[Any]", kind: Any, given: Any, dotted: str, where: str) -> Any:
    """``given`` as the type and in the range its field wants, or the UserError that says what is wrong."""
    try:
        value = _convert(kind, given)
    except _MismatchError:
        raise UserError(f"{where}: {dotted} is {_got(given)}, expected {_wanted(kind, given)}") from None
    low, high = field.metadata.get("low"), field.metadata.get("high")
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, int | float) and low is not None and number < low:
            raise UserError(f"{where}: {dotted} is {_got(given)}, expected {low} or more")
        if isinstance(number, int | float) and high is not None and number > high:
            raise UserError(f"{where}: {dotted} is {_got(given)}, expected {high} or less")
    return value


def _convert(kind: Any, value: Any) -> Any:
    """``value`` as a ``kind``; raises _MismatchError where it is not one. Nothing is rounded or guessed."""
    if isinstance(value, _Typed):
        try:
            return _convert(kind, _parsed(value))
        except _MismatchError:
            return _convert(kind, str(value))  # text needs no quotes on the command line
    outer, inner = get_origin(kind), get_args(kind)
    if kind is Any or (kind in (bool, str, NoneType) and isinstance(value, kind)):
        return value
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value):
        return float(value)
    if kind is Path and isinstance(value, str | Path) and str(value):
        return Path(value).expanduser()
    if outer is Literal and any(value == option and type(value) is type(option) for option in inner):
        return value
    if outer in (Union, UnionType):
        return _first(inner, value)
    if outer is tuple and isinstance(value, list | tuple):
        kinds = [inner[0]] * len(value) if inner[1:] == (...,) else list(inner)
        if len(kinds) == len(value):
            return tuple(_convert(each, item) for each, item in zip(kinds, value, strict=True))
    if outer is dict and isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {name: _convert(inner[1], item) for name, item in value.items()}
    raise _MismatchError


def _first(kinds: Sequence[Any], value: Any) -> Any:
    for kind in kinds:
        try:
            return _convert(kind, value)
        except _MismatchError:
            continue
    raise _MismatchError


def _parsed(value: Any) -> Any:
    """What text from the command line says as YAML; plain text stands as typed, with its '#' and its spaces."""
    if not isinstance(value, _Typed):
        return value
    try:
        parsed = plain_yaml.parse(value)
    except yaml.YAMLError:
        return str(value)
    return str(value) if isinstance(parsed, str) and value[:1] not in ("'", '"') else parsed


# --- what a config class says about itself --------------------------------------------------------------------------


def _fields(cls: type) -> "list[tuple[dataclasses.Field[Any], Any]]":
    hints = get_type_hints(cls)
    return [(field, hints[field.name]) for field in dataclasses.fields(cls)]


def _default(field: "dataclasses.Field[Any]") -> Any:
    """A field's default: a value, the mapping of a ``part``'s own defaults, or REQUIRED."""
    if "defaults" in field.metadata:
        return field.metadata["defaults"]
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _as_defaults(base: Any) -> Mapping[str, Any]:
    if dataclasses.is_dataclass(base):
        return {field.name: getattr(base, field.name) for field in dataclasses.fields(base)}
    return base if isinstance(base, Mapping) else {}


def _dataclass_of(kind: Any) -> type | None:
    """The config class in ``Sub`` or ``Sub | None``, None for every other type."""
    kinds = [each for each in get_args(kind) if each is not NoneType] if _is_union(kind) else [kind]
    return kinds[0] if len(kinds) == 1 and _is_config_class(kinds[0]) else None


def _is_config_class(kind: Any) -> bool:
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, UnionType)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


# --- words for messages and help ------------------------------------------------------------------------------------


def _type_name(kind: Any) -> str:
    inner = get_args(kind)
    if get_origin(kind) is Literal:
        return " | ".join(_shown(option) for option in inner)
    if _is_union(kind):
        return " or ".join(_type_name(each) for each in inner)
    if get_origin(kind) is tuple:
        return f"list of {_type_name(inner[0])}" if inner[1:] == (...,) else f"list of {len(inner)}"
    if get_origin(kind) is dict:
        return f"mapping to {_type_name(inner[1])}"
    if _is_config_class(kind):
        return "mapping"
    return {NoneType: "null", Path: "path", bool: "true | false", Any: "anything"}.get(kind) or kind.__name__


def _shown(value: Any) -> str:
    return plain_yaml.dump(_plain(value), flow=True)


def _got(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    shown = repr(value) if isinstance(value, str) else _shown(value)
    shown = str(value) if isinstance(value, _Typed) and value.isprintable() and value else shown
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _wanted(kind: Any, given: Any) -> str:
    members = get_args(kind) if _is_union(kind) else (kind,)
    options = [str(option) for each in members if get_origin(each) is Literal for option in get_args(each)]
    near = difflib.get_close_matches(str(given), options, 1)
    kinds = [get_origin(each) for each in members]
    example = (
        " such as [a, b]"
        if tuple in kinds
        else " such as {name: value}"
        if dict in kinds and not isinstance(given, Mapping)
        else ""
    )
    return _type_name(kind) + example + (f"; did you mean {near[0]}?" if near else "")


def _unknown(dotted: str, origin: str, known: Sequence[str]) -> str:
    """Names the key spelt most like it, whole or in its last part: the right key in the wrong section is common."""

    def likeness(name: str) -> float:
        whole = difflib.SequenceMatcher(None, dotted, name).ratio()
        last = difflib.SequenceMatcher(None, dotted.rpartition(".")[2], name.rpartition(".")[2]).ratio()
        return max(whole, 0.95 * last)

    names = [*known, *dict.fromkeys(name.rpartition(".")[0] for name in known if "." in name)]
    nearest = max(names, key=likeness, default="")
    near = nearest and likeness(nearest) >= 0.6
    return f"{origin}: unknown key {dotted}; " + (f"did you mean {nearest}?" if near else "see --help for the keys")


def _origin(value: Any, origin: str) -> str:
    return _COMMAND_LINE if isinstance(value, _Typed | _TypedMapping) else origin
