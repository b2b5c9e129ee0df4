"""What a person can get wrong, through the command line: one line on standard error, exit status 2, no traceback."""

import json
import subprocess
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models
from toy_ladder import ENVIRONMENT, ROOT, rung_command, write_gsm8k, write_yaml
from transformers import PreTrainedTokenizerFast

from lm.checkpoint import save_model
from lm.models import ModelConfig, build_causal_lm
from lm.tokenizer import train_tokenizer
from rung.cli import main


@pytest.fixture
def said(capfd: pytest.CaptureFixture[str]) -> object:
    def complain(*words: str) -> str:
        capfd.readouterr()
        assert main(words) == 2
        out, err = capfd.readouterr()
        assert out == ""
        assert err.count("\n") == 1, err
        return err.rstrip()

    return complain


def toy_model(folder: Path) -> str:
    tokenizer = train_tokenizer(["a b c"], 260)
    sizes = ModelConfig(hidden_size=16, layers=1, heads=2, intermediate_size=16)
    save_model(folder, build_causal_lm(sizes, tokenizer))
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_a_missing_file(said, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    gone = f"{tmp_path}/gone.jsonl"
    assert said("sft", f"problems.source={gone}") == f"rung sft: problems: {gone}: no such file; give one data file"
    assert said("prm", f"data.train=[{gone}]") == f"rung prm: data.train: {gone}: no such file; give one data file"
    assert said("score", f"file={gone}") == f"rung score: {gone}: no such file; give one data file"
    assert said("eval", f"problems.source={gone}", f"problems.test_source={gone}") == (
        f"rung eval: problems: {gone}: no such file; give one data file"
    )
    assert said("ppo", f"{tmp_path}/gone.yaml") == f"rung ppo: {tmp_path}/gone.yaml: no such file"
    assert said("report", f"{tmp_path}/gone") == (
        f"rung report: no run folder at {tmp_path}/gone: give the folder that a run wrote its results to"
    )


def test_a_word_in_the_wrong_place(said, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert said("eval", "procesbench") == "rung eval: no 'procesbench' to eval; did you mean processbench?"
    assert said("eval", "foo").startswith("rung eval: no 'foo' to eval; one of processbench, prmbench, math")
    assert said("label", "mine.jsonl") == (
        "rung label: mine.jsonl holds data and is no config file; give it by its key, as KEY=mine.jsonl"
    )
    for verb in (["score"], ["eval", "bon"], ["eval", "processbench"]):
        assert said(*verb, f"{tmp_path}/gone.jsonl", "prm=symbolic").endswith("no such file; give one data file")


def test_a_run_folder_in_the_place_of_its_model(said, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    model = toy_model(tmp_path / "run/model")
    file = tmp_path / "rows.jsonl"
    file.write_text('{"question": "q", "text": "a"}\n')
    begins = f"rung score: cannot load model '{tmp_path}/run': no config.json in it; "
    assert said("score", str(file), f"prm={tmp_path}/run") == f"{begins}did you mean {model}?"
    Path(f"{model}/config.json").unlink()
    assert said("score", str(file), f"prm={tmp_path}/run") == f"{begins}give a folder that save_pretrained wrote"


def test_an_empty_data_set(said, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    empty = tmp_path / "train.jsonl"
    empty.write_text("\n")
    for verb, key in (("sft", "problems.source="), ("score", "file=")):
        assert said(verb, f"{key}{empty}").endswith(f"{empty}: no rows; give a file with at least one")
    assert said("prm", f"data.train=[{empty}]").endswith("no rows; give a file with at least one")
    policy = toy_model(tmp_path / "policy")
    for verb in ("label", "ppo"):
        words = [f"problems.source={empty}", f"policy={policy}", f"folder={tmp_path}/run"]
        prm = [f"prm={policy}"] if verb == "ppo" else []
        assert said(verb, *words, *prm).endswith("no rows; give a file with at least one")


def test_a_row_without_a_gold_answer(said, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    train = Path(write_gsm8k(tmp_path / "train.jsonl", 30, 0))
    rows = [json.loads(line) for line in train.read_text().splitlines()]
    del rows[4]["answer"]
    train.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert said("sft", f"problems.source={train}") == (
        f"rung sft: problems: {train}:5: no column 'answer' for the answer; the columns are question (answer=NAME)"
    )
    rows[4]["answer"] = None
    train.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert said("sft", f"problems.source={train}") == (
        f"rung sft: problems: {train}:5: the answer in column 'answer' is None; fill it in or remove the row"
    )


def test_training_on_a_test_file(said, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    test = write_gsm8k(tmp_path / "test.jsonl", 30, 0)
    assert "names a test set, never train on it" in said("sft", f"problems.source={test}")
    train = write_gsm8k(tmp_path / "train.jsonl", 30, 0)
    complaint = said("eval", "policies={a: b}", f"problems.source={train}", f"problems.test_source={train}")
    assert "has 30 questions of problems.source" in complaint


def test_a_tokenizer_without_eos(said, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = toy_model(tmp_path / "policy")
    bare = Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    PreTrainedTokenizerFast(tokenizer_object=bare).save_pretrained(folder)
    expected = f"the tokenizer of {folder!r} has no EOS token: set eos_token in its tokenizer_config.json"
    for verb in ("label", "ppo"):
        assert said(verb, f"policy={folder}", f"folder={tmp_path}/run") == f"rung {verb}: {expected}"
    words = [f"model.path={folder}", f"folder={tmp_path}/run", "problems.families=[chain,word]"]
    assert said("sft", *words) == f"rung sft: {expected}"


def test_a_tokenizer_without_a_chat_template(said, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = toy_model(tmp_path / "policy")
    (tmp_path / "policy/chat_template.jinja").unlink()
    complaint = said("label", f"policy={folder}", f"folder={tmp_path}/run", "threads=1")
    assert "has no chat template: set prompt, for example prompt=" in complaint
    complaint = said("label", f"policy={folder}", f"folder={tmp_path}/run2", "threads=1", "prompt=Q")
    assert "the prompt template 'Q' has no {question} in it" in complaint


def test_a_model_that_is_not_there(said, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "nothing"
    folder.mkdir()
    complaint = f"rung label: cannot load model '{folder}': no config.json in it; "
    assert said("label", f"policy={folder}") == f"{complaint}give a folder that save_pretrained wrote"
    assert "cannot load model 'runs/no/such/model'" in said("label", "policy=runs/no/such/model")


def test_a_misspelt_key(said, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = write_yaml(tmp_path / "my.yaml", {"fit": {"stesp": 3}})
    assert said("sft", str(path)) == f"rung sft: {path}: unknown key fit.stesp; did you mean fit.steps?"
    assert said("sft", "fit.stesp=3") == "rung sft: command line: unknown key fit.stesp; did you mean fit.steps?"
    ladder = write_yaml(tmp_path / "ladder.yaml", {"sft": {"fit": {"stesp": 3}}})
    for verb in ("sft", "prm", "report", "demo"):
        assert said(verb, str(ladder)) == (
            f"rung {verb}: {ladder}: unknown key sft.fit.stesp; did you mean sft.fit.steps?"
        )


def test_a_wrong_type(said, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = write_yaml(tmp_path / "my.yaml", {"steps": "many"})
    assert said("ppo", str(path)) == f"rung ppo: {path}: steps is 'many', expected int"
    assert said("ppo", "credit.form=mni") == (
        "rung ppo: command line: credit.form is mni, expected outcome | sum | clip | delta | clip_delta | min "
        "| running_min | potential | progress | group | implicit; "
        "did you mean min?"
    )
    assert said("sft", "fit.steps=0") == "rung sft: command line: fit.steps is 0, expected 1 or more"


def test_a_folder_that_holds_a_run(said, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    words = ["sft", f"folder={tmp_path}/run", "fit.steps=1", "fit.batch=2", "examples=20", "threads=1"]
    words += ["problems.families=[chain,word]", "model.layers=1", "model.hidden_size=16", "model.heads=2"]
    assert main(words) == 0
    assert said(*words) == (
        f"rung sft: {tmp_path}/run holds a run; resume=true goes on with it, overwrite=true starts afresh"
    )
    assert main([*words, "overwrite=true"]) == 0
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/ladder.yaml").write_text("seed: 0\n")
    assert said("demo", f"folder={tmp_path}/demo") == (
        f"rung demo: {tmp_path}/demo holds a run; resume=true goes on with it, overwrite=true starts afresh"
    )


@pytest.mark.parametrize(
    "words",
    [
        ("sft", "model.path=nobody-here/no-such-model", "problems.families=[chain,word]"),
        ("sft", "problems.source=nobody-here/no-such-data"),
    ],
)
def test_what_the_hub_cannot_give(words: tuple[str, ...], tmp_path: Path) -> None:
    """Offline, as a real process: nothing that a library prints or raises gets through."""
    environment = ENVIRONMENT | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    command = rung_command(*words, f"folder={tmp_path}/run")
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1, done.stderr
    assert words[1].partition("=")[2] in done.stderr
