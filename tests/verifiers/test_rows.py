"""The hub, asked in processes of their own: its client reads its settings from the environment when imported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from verifiers.rows import is_hub_name, read_rows

ROOT = Path(__file__).resolve().parents[2]


def run(code: str, home: Path, **environment: str) -> list[str]:
    """The lines that ``code`` prints, run without any proxy and with an empty cache."""
    environment |= {"HOME": str(home), "PATH": "", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_byte_order_mark_is_no_fault(name: str, tmp_path: Path) -> None:
    row = '{"question": "2 €?"}'
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + (row if name == "a.jsonl" else f"[{row}]").encode())
    assert list(read_rows(tmp_path / name)) == [(f"{tmp_path / name}:1", {"question": "2 €?"})]


def test_a_hub_that_cannot_be_reached_fails_at_once_in_one_line(tmp_path: Path) -> None:
    code = """
import time, datasets
from verifiers.data import DataError, load_examples
start = time.monotonic()
try:
    load_examples("openai/gsm8k", config="main")
except DataError as error:
    print(time.monotonic() - start, error, sep="\\n")
"""
    seconds, message = run(code, tmp_path, HF_ENDPOINT="https://hub.invalid")  # "invalid" never resolves (RFC 6761)
    assert float(seconds) < 10  # the client's own five retries take 23
    assert message.startswith(
        "openai/gsm8k: no such file, and the hub (hub.invalid) cannot be reached; give a local file"
    )


def test_a_hub_name_that_is_not_in_the_cache_is_named_offline(tmp_path: Path) -> None:
    code = """
from verifiers.data import DataError, load_examples
try:
    load_examples("nobody/nothing-of-this-name")
except DataError as error:
    print(error)
"""
    (message,) = run(code, tmp_path, HF_HUB_OFFLINE="1")
    assert message.startswith("nobody/nothing-of-this-name/train: no such file, and the hub does not give it (")


def test_rows_and_a_missing_split_of_a_data_set_that_is_there(tmp_path: Path) -> None:
    """A folder laid out as a hub data set, which the client loads in the same way without a network."""
    folder = tmp_path / "sums"
    folder.mkdir()
    rows = [{"question": "1 + 1?", "answer": "It is <<1+1=2>>2.\n#### 2"}, {"question": "2 + 2?", "answer": "#### 4"}]
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    code = f"""
import json
from verifiers.rows import DataError, hub_rows
for where, row in hub_rows({str(folder)!r}, None, "train"):
    print(json.dumps([where, dict(row)]))
try:
    list(hub_rows({str(folder)!r}, None, "dev"))
except DataError as error:
    print(error)
"""
    *read, message = run(code, tmp_path, HF_HUB_OFFLINE="1")
    assert [json.loads(line) for line in read] == [[f"{folder}/train:{i}", row] for i, row in enumerate(rows, start=1)]
    assert message.startswith(f"{folder}/dev: no such file, and the hub does not give it (Unknown split")


@pytest.mark.parametrize("name", ["openai/gsm8k", "gsm8k", "HuggingFaceH4/MATH-500"])
def test_hub_names(name: str) -> None:
    assert is_hub_name(name)


@pytest.mark.parametrize("name", ["data/train.jsonl", "train.jsonl.gz", "a/b/c", "../x", "/etc", "my file"])
def test_names_of_files(name: str) -> None:
    assert not is_hub_name(name)
