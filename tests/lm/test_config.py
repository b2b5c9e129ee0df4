"""lm.config: what a YAML file and ``key=value`` may say, and the one line for what they may not."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm.config import REQUIRED, describe, key, load, part, to_dict, to_yaml
from lm.errors import UserError
from lm.plain_yaml import parse


@dataclass(frozen=True)
class Credit:
    form: Literal["outcome", "sum", "min-form"] = key("sum", "how step scores become rewards")
    weight: float = key(1.0, "weight of the process reward", low=0, high=2)


@dataclass(frozen=True)
class Train:
    steps: int = key(10, "updates of the policy", low=1)
    data: str = key(REQUIRED, "the problems")
    lr: float = key(1e-5, "learning rate")
    prompt: str | None = key(None, "prompt template")
    credit: Credit = part(Credit, weight=0.5)
    critic: Credit | None = key(None, "a second one")
    families: tuple[str, ...] = key(("a", "b"), "problem families")
    weights: dict[str, float] = key({"x": 1.0}, "weight of each source")
    folder: Path = key(Path("runs/x"), "run folder")
    shuffle: bool = key(True, "draw in random order")


def build(*overrides: str, source: Any = None, section: str | None = None) -> Train:
    return load(Train, source if source is not None else {"data": "d"}, overrides, section)


def complaint(*overrides: str, source: Any = None, section: str | None = None) -> str:
    with pytest.raises(UserError) as error:
        build(*overrides, source=source, section=section)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_defaults_then_yaml_then_command_line(tmp_path: Path) -> None:
    file = tmp_path / "ppo.yaml"
    file.write_text("data: d\nlr: 2e-5\ncredit:\n  form: outcome\n")
    config = build("lr=3e-4", "credit.weight=2", source=file)
    assert config == Train(data="d", lr=3e-4, credit=Credit("outcome", 2.0))
    assert build(source=file) == Train(data="d", lr=2e-5, credit=Credit("outcome", 0.5))


@pytest.mark.parametrize(
    ("override", "name", "value"),
    [
        ("lr=3e-4", "lr", 3e-4),
        ("lr=3", "lr", 3.0),
        ("lr=1_000.5", "lr", 1000.5),
        ("steps=1_000", "steps", 1000),
        ("steps=010", "steps", 10),
        ("data=123", "data", "123"),
        ("data=no", "data", "no"),
        ("data=", "data", ""),
        ("data=null", "data", "null"),
        ("data=a # b: c", "data", "a # b: c"),
        ("data=x=y", "data", "x=y"),
        ("prompt=null", "prompt", None),
        ("prompt=12", "prompt", "12"),
        (r"prompt={question}\n", "prompt", r"{question}\n"),
        (r'prompt="{question}\n"', "prompt", "{question}\n"),
        ("families=[x, '3']", "families", ("x", "3")),
        ("families=[]", "families", ()),
        ("weights.y=2", "weights", {"y": 2.0}),
        ("weights={y: 2, z: 1e-3}", "weights", {"y": 2.0, "z": 0.001}),
        ("folder=out/1", "folder", Path("out/1")),
        ("shuffle=false", "shuffle", False),
        ("credit={form: outcome}", "credit", Credit("outcome", 0.5)),
        ("critic.form=outcome", "critic", Credit("outcome", 1.0)),
        ("critic=null", "critic", None),
    ],
)
def test_a_value_typed_on_the_command_line(override: str, name: str, value: object) -> None:
    found = getattr(build(override), name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("credit.frm=sum", "command line: unknown key credit.frm; did you mean credit.form?"),
        ("form=sum", "command line: unknown key form; did you mean credit.form?"),
        ("stpes=3", "command line: unknown key stpes; did you mean steps?"),
        ("crdit.form=sum", "command line: unknown key crdit; did you mean credit?"),
        ("qqq=1", "command line: unknown key qqq; see --help for the keys"),
        ("steps=3.0", "command line: steps is 3.0, expected int"),
        ("steps=true", "command line: steps is true, expected int"),
        ("steps=0", "command line: steps is 0, expected 1 or more"),
        ("credit.weight=2.5", "command line: credit.weight is 2.5, expected 2 or less"),
        ("lr=abc", "command line: lr is abc, expected float"),
        ("lr=.nan", "command line: lr is .nan, expected float"),
        ("lr=true", "command line: lr is true, expected float"),
        ("lr.x=1", "command line: lr is a mapping, expected float"),
        ("shuffle=yes", "command line: shuffle is yes, expected true | false"),
        ("families=a", "command line: families is a, expected list of str such as [a, b]"),
        ("families=[1, 2]", "command line: families is [1, 2], expected list of str such as [a, b]"),
        ("weights.y=big", "command line: weights is a mapping, expected mapping to float"),
        (
            "credit.form=outcom",
            "command line: credit.form is outcom, expected outcome | sum | min-form; did you mean outcome?",
        ),
        ("critic=3", "command line: critic is 3, expected mapping or null"),
        ("credit=3", "command line: credit is 3, expected mapping"),
        ("data", "command line: 'data' is not key=value"),
        ("a..b=1", "command line: 'a..b=1' is not key=value"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(override: str, message: str) -> None:
    assert complaint(override) == message


def test_a_mistake_in_a_file_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("data: d\ncredit:\n  frm: sum\n")
    assert complaint(source=file) == f"{file}: unknown key credit.frm; did you mean credit.form?"
    # An override in the same section is not to blame for what the file says.
    assert complaint("credit.weight=1", source=file).startswith(f"{file}: ")
    file.write_text("data: 12\n")
    assert complaint(source=file) == f"{file}: data is 12, expected str"
    file.write_text("steps: 3\n")
    assert complaint(source=file) == f"{file}: data is missing; give data=... (the problems)"


def test_a_required_key_may_come_from_the_command_line() -> None:
    assert load(Train, None, ["data=d"]).data == "d"
    with pytest.raises(UserError, match=r"^command line: data is missing; give data="):
        load(Train)


def test_overlapping_overrides_are_refused() -> None:
    assert "overlap" in complaint("credit={form: sum}", "credit.weight=1")


def test_an_empty_section_is_its_defaults() -> None:
    assert build(source={"data": "d", "credit": None}) == Train(data="d")


def test_the_caller_keeps_its_mapping() -> None:
    source = {"data": "d", "credit": {"form": "sum"}}
    build("credit.form=outcome", source=source)
    assert source == {"data": "d", "credit": {"form": "sum"}}


def test_a_section_of_a_ladder_file(tmp_path: Path) -> None:
    file = tmp_path / "ladder.yaml"
    file.write_text("sft:\n  data: s\nppo:\n  data: p\n  steps: 7\neval:\n")
    assert build(source=file, section="ppo") == Train(data="p", steps=7)
    assert build("data=e", source=file, section="eval") == Train(data="e")
    assert complaint("lr=x", "steps=2.5", source=file, section="ppo") == "command line: steps is 2.5, expected int"
    assert complaint(source=file, section="score").startswith(f"{file}: unknown key ")


def test_resolved_yaml_loads_back_to_an_equal_config() -> None:
    config = build("critic.form=outcome", "lr=1e-7", "prompt='3e-4'", "families=['no', '1', '']", "weights={}")
    assert load(Train, parse(to_yaml(config))) == config
    assert list(to_dict(config)) == [
        "steps",
        "data",
        "lr",
        "prompt",
        "credit",
        "critic",
        "families",
        "weights",
        "folder",
        "shuffle",
    ]


@given(
    prompt=st.none()
    | st.text(st.characters(codec="utf-8"), max_size=12)
    | st.sampled_from(["3e-4", "yes", "010", "~"]),
    lr=st.floats(allow_nan=False),
    steps=st.integers(1, 10**12),
    families=st.lists(st.text(st.characters(codec="utf-8"), max_size=5), max_size=3),
)
def test_any_config_survives_yaml(prompt: str | None, lr: float, steps: int, families: list[str]) -> None:
    config = replace(Train(data="d"), prompt=prompt, lr=lr, steps=steps, families=tuple(families))
    assert load(Train, parse(to_yaml(config))) == config


def test_describe_lists_every_key_with_the_default_in_force() -> None:
    rows = {name: (kind, default, reason) for name, kind, default, reason in describe(Train)}
    assert list(rows)[:6] == ["steps", "data", "lr", "prompt", "credit.form", "credit.weight"]
    assert rows["data"] == ("str", "required", "the problems")
    assert rows["credit.weight"] == ("float", "0.5", "weight of the process reward")
    assert rows["critic"] == ("mapping or null", "null", "a second one")
    assert rows["critic.weight"][1] == "1.0"
    assert rows["families"] == ("list of str", "[a, b]", "problem families")
    assert rows["folder"] == ("path", "runs/x", "run folder")
