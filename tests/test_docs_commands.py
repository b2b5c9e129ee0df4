"""Every command that README.md and docs/ show is one that Rung takes: its verb, its keys, its files that exist here."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from rung.cli import VERBS, configured

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each command in a page's bash blocks (and indented ones), without comments and variables."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    blocks += re.findall(r"^    ((?:rung|python) .*)$", text, re.MULTILINE)
    for line in "\n".join(blocks).replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if words:
            yield words


def shown() -> Iterator[tuple[str, list[str]]]:
    for page in PAGES:
        for words in commands(page):
            yield str(page.relative_to(ROOT)), words


RUNG = [(page, words[1:]) for page, words in shown() if words[0] == "rung" and "--help" not in words]


@pytest.mark.parametrize(("page", "words"), RUNG, ids=[f"{page}: {' '.join(words)[:60]}" for page, words in RUNG])
def test_a_command_of_rung_is_taken_as_it_stands(page: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    verb = next((v for v in (" ".join(words[:2]), words[0]) if v in VERBS), None)
    assert verb is not None, f"{page}: no verb in {words}"
    given = words[len(verb.split()) :]
    if VERBS[verb].argument == "config":  # the file is what it works on
        given = [f"config={word}" if word.endswith(".yaml") else word for word in given]
    mine = [word for word in given if "=" not in word and word.endswith(".yaml") and not word.startswith("configs/")]
    configured(verb, [word for word in given if word not in mine])  # a file of the reader's own is theirs to write


def test_the_other_commands_name_what_there_is() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for page, words in shown():
        if words[0] == "make":
            assert words[1] in targets, page
        if words[:2] == ["python", "-m"] and words[2].startswith("benchmarks."):
            assert (ROOT / f"{words[2].replace('.', '/')}.py").is_file(), (page, words)


def test_pages_name_files_that_exist() -> None:
    """Paths in backticks that begin with a room of the repository."""
    rooms = "verifiers|lm|prm|rl|rung|configs|benchmarks|tests"
    for page in PAGES:
        for path in re.findall(rf"`((?:{rooms})/[\w./-]+\.(?:py|yaml|md))`", page.read_text(encoding="utf-8")):
            assert (ROOT / path).is_file(), (page.name, path)
