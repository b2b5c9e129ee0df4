"""lm.plain_yaml: numbers as people write them, and files that cannot be read."""

from pathlib import Path

import pytest

from lm.errors import UserError
from lm.plain_yaml import dump, parse, read_mapping


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4),
        ("-1E+3", -1000.0),
        (".5", 0.5),
        ("2.", 2.0),
        ("1_000.5", 1000.5),
        ("010", 10),
        ("1_000", 1000),
        ("-7", -7),
        ("1:30", "1:30"),
        ("no", "no"),
        ("2024-01-02", "2024-01-02"),
        ("1.2.3", "1.2.3"),
        ("0x10", "0x10"),
        ("true", True),
        ("~", None),
        ("", None),
        (".inf", float("inf")),
        ("-.inf", float("-inf")),
        ("- [1, {a: b}]", [[1, {"a": "b"}]]),
        ("a: &x {b: 1}\nc: {<<: *x}", {"a": {"b": 1}, "c": {"b": 1}}),
    ],
)
def test_parse(text: str, value: object) -> None:
    found = parse(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["3e-4", "010", "yes", "no", "1:30", "2024-01-02", "~", "", " x", "a: b", "- a", "é"])
def test_text_that_looks_like_something_else_is_quoted(text: str) -> None:
    assert parse(dump({"key": text})) == {"key": text}
    assert parse(dump(text, flow=True)) == text


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "ppo.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [1, 2\n", "line 3: not valid YAML: "),
        ("a: 1\nb: 2\na: 3\n", "line 3: not valid YAML: 'a' is given twice"),
        ("a: !!python/object/apply:os.system [ls]\n", "line 1: not valid YAML: could not determine a constructor"),
        ("a:\n\t- b\n", "line 2: not valid YAML: "),
        ("- a\n- b\n", "expected lines of 'key: value', got a list"),
        ("just text", "expected lines of 'key: value', got a value"),
        (b"\xff\xfe\x00", "not a text file in UTF-8, so not YAML"),
        ("a: \x00", "not valid YAML: "),
        ("[" * 5000, "not valid YAML: it is nested too deeply"),
        ("a: " + "9" * 5000, "not valid YAML: Exceeds the limit"),
    ],
)
def test_a_file_that_is_not_a_mapping_is_one_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UserError) as error:
        read_mapping(path)
    assert str(error.value).startswith(f"{path}: {message}")
    assert "\n" not in str(error.value)


def test_an_empty_file_is_an_empty_mapping(tmp_path: Path) -> None:
    assert read_mapping(write(tmp_path, "# nothing\n")) == {}


def test_a_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    write(tmp_path, "a: 1")
    with pytest.raises(UserError, match=r"no such file; did you mean .*/ppo\.yaml\?$"):
        read_mapping(tmp_path / "pppo.yaml")
    with pytest.raises(UserError, match=r"no such file$"):
        read_mapping(tmp_path / "nowhere" / "ppo.yaml")


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be read: Is a directory$"):
        read_mapping(tmp_path)
