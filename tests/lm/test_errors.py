"""lm.errors: what the libraries raise for a model or data set that cannot be had becomes one line, and soon."""

import http.server
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants, hf_hub_download

from lm import errors
from lm.errors import UserError, hub_errors


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers every request as the hub does for a missing, a gated and an empty repository."""

    def do_HEAD(self) -> None:
        missing, gated = (401, "RepoNotFound"), (403, "GatedRepo")
        status, code = missing if "missing" in self.path else gated if "gated" in self.path else (404, "EntryNotFound")
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    errors._answers.cache_clear()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    use_endpoint(monkeypatch, f"http://127.0.0.1:{server.server_port}")
    yield
    server.shutdown()
    server.server_close()


def use_endpoint(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")


def complaint(name: str) -> str:
    with pytest.raises(UserError) as error, hub_errors(name):
        hf_hub_download(name, "config.json")
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.usefixtures("hub")
def test_a_hub_that_answers() -> None:
    assert complaint("owner/missing") == (
        "cannot load model 'owner/missing': not a local folder, and the hub has none of that name "
        "(or it is private: `hf auth login`)"
    )
    assert complaint("owner/gated") == (
        "cannot load model 'owner/gated': its owner must grant you access on the hub; then log in with `hf auth login`"
    )
    assert complaint("no such/thing/here") == (
        "cannot load model 'no such/thing/here': not a local folder, nor a name the hub could have; "
        "give a folder with config.json or an owner/name"
    )


UNREACHABLE = (
    "cannot load model 'owner/name': not a local folder and the hub could not be reached; "
    "give a folder with config.json or check the name"
)


SILENT = "http://192.0.2.1:81"  # an address kept for documentation (RFC 5737): nobody answers there


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: a connection is refused
        use_endpoint(monkeypatch, f"http://127.0.0.1:{taken.getsockname()[1]}")
        yield


@pytest.mark.usefixtures("refused")
def test_a_hub_that_cannot_be_reached_is_found_out_at_once() -> None:
    began = time.monotonic()
    assert complaint("owner/name") == UNREACHABLE
    assert time.monotonic() - began < 5
    assert constants.HF_HUB_OFFLINE is False


def test_a_hub_that_is_silent_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "_PATIENCE", 0.3)
    use_endpoint(monkeypatch, SILENT)
    began = time.monotonic()
    assert complaint("owner/name") == UNREACHABLE
    assert time.monotonic() - began < 3


def test_a_user_who_is_offline_by_choice_does_not_wait_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    use_endpoint(monkeypatch, SILENT)
    began = time.monotonic()
    assert complaint("owner/name") == UNREACHABLE
    assert time.monotonic() - began < 0.9 * errors._PATIENCE


@pytest.mark.usefixtures("refused")
def test_what_is_cached_loads_without_a_hub(tmp_path: Path) -> None:
    commit = "0" * 40
    snapshot = tmp_path / "cache" / "models--owner--name" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text(commit)
    with hub_errors("owner/name"):
        assert hf_hub_download("owner/name", "config.json") == str(snapshot / "config.json")


@pytest.mark.usefixtures("refused")
def test_only_a_proxy_can_tell_what_is_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with hub_errors("owner/name"):
        assert constants.HF_HUB_OFFLINE is True
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    with hub_errors("owner/name"):
        assert constants.HF_HUB_OFFLINE is False


@pytest.mark.usefixtures("refused")
def test_data_sets_are_put_offline_as_well() -> None:
    import datasets

    began = time.monotonic()
    with pytest.raises(UserError) as error, hub_errors("owner/name", "data set"):
        datasets.load_dataset("owner/name")
    assert str(error.value) == UNREACHABLE.replace("model", "data set").replace("config.json", "data files")
    assert time.monotonic() - began < 10
    assert not datasets.config.HF_HUB_OFFLINE


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no config.json in it; give a folder that save_pretrained wrote"),
        ({"config.json": "{"}, "is not a valid JSON file; give a folder that save_pretrained wrote"),
        ({"config.json": "[]"}, "give a folder that save_pretrained wrote"),
        ({"config.json": '{"model_type": "zzz"}'}, "has model type `zzz`"),
        ({"config.json": '{"model_type": "qwen2", "num_hidden_layers": 1}'}, "no file named model.safetensors"),
        (
            {"config.json": '{"model_type": "qwen2", "num_hidden_layers": 1}', "model.safetensors": "\x10" + "\0" * 9},
            "Error while deserializing header",
        ),
    ],
)
def test_a_folder_that_is_no_model(tmp_path: Path, files: dict[str, str], message: str) -> None:
    from transformers import AutoModelForCausalLM

    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as error, hub_errors(str(tmp_path)):
        AutoModelForCausalLM.from_pretrained(tmp_path, use_safetensors=True, trust_remote_code=False)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_bug_of_ours_crashes() -> None:
    with pytest.raises(ZeroDivisionError), hub_errors("."):
        _ = 1 / 0
    with pytest.raises(UserError, match=r"^mend this$"), hub_errors("."):
        raise UserError("mend this")
