"""Constitutional AI: a writer and a judge behind real servers, files that training reads, and a run that goes on."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chat_server import message, serving
from test_pair_judge import saying, shorter

from lm.chat import ChatConfig
from lm.engine import Sampling
from lm.errors import UserError
from prm.problems import ProblemsConfig, load_problems
from rl.config import RLConfig
from rl.constitution import ConstitutionConfig, Principle, load_constitution, main
from rl.pair_judge import PairJudgeConfig
from rl.preferences import PreferenceData, load_preferences

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "constitution"
Make = Callable[..., ConstitutionConfig]


@pytest.fixture(scope="module")
def make(configure: Callable[..., RLConfig], worked: list[tuple[str, str]], tmp_path_factory: Any) -> Make:
    home = tmp_path_factory.mktemp("constitution")
    prompts = "".join(json.dumps({"question": question}) + "\n" for question in sorted(dict(worked)))
    (home / "prompts.jsonl").write_text(prompts, encoding="utf-8")
    principles = [{"critique": f"What is wrong ({i})?", "revision": f"Mend it ({i})."} for i in range(3)]
    (home / "principles.json").write_text(json.dumps(principles), encoding="utf-8")

    def config(name: str, url: str, **changes: Any) -> ConstitutionConfig:
        config = ConstitutionConfig(
            folder=home / name, constitution=home / "principles.json", policy=configure("constitution").policy,
            problems=ProblemsConfig(source=str(home / "prompts.jsonl"), answers=False), count=12, batch_prompts=5,
            writer=ChatConfig(url=url, model="w", retries=0, timeout=5.0), sampling=Sampling(max_tokens=24), threads=1,
        )  # fmt: skip
        return replace(config, **changes)

    return config


def write(body: dict[str, Any], number: int) -> Any:
    """A writer that criticises by name, and revises to the answer alone."""
    talk = [turn["content"] for turn in body["messages"]]
    if len(talk) == 3:
        return message(f"critique of {talk[1]!r}", 20, 2)
    assert talk[3] == f"critique of {talk[1]!r}"
    assert talk[2].removeprefix("What is wrong ").strip("?") == talk[4].removeprefix("Mend it ").strip(".")
    return message(talk[1].split("\n")[-1], 30, 3)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_revisions_become_files_that_training_reads(make: Make) -> None:
    with serving(write) as served:
        main(config := make("plain", served.url))
    transcripts = rows(config.folder / "transcripts.jsonl")
    assert len(transcripts) >= 6
    assert all(row["revision"] == row["response"].split("\n")[-1] != row["response"] for row in transcripts)
    assert len({row["principle"] for row in transcripts}) > 1
    told = load_problems(
        ProblemsConfig(source=str(config.folder / "sft.jsonl"), answers=False, validation_fraction=0.3), "train"
    )
    assert {(e.problem.question, e.solution) for e in told} <= {(r["question"], r["revision"]) for r in transcripts}
    pairs, _ = load_preferences(
        PreferenceData(pairs=(str(config.folder / "preferences.jsonl"),), validation_fraction=0), 0
    )
    assert [(p.question, p.chosen, p.rejected) for p in pairs] == [
        (row["question"], row["revision"], row["response"]) for row in transcripts
    ]
    metrics = rows(config.folder / "metrics.jsonl")
    assert sum(line["requests"] for line in metrics) == len(served.requests)
    lost = sum(line[name] for line in metrics for name in ("no_response", "no_critique", "no_revision", "unchanged"))
    assert len(transcripts) + lost == 12 == sum(line["prompts"] for line in metrics)


def test_a_dead_endpoint_leaves_a_run_that_goes_on(make: Make) -> None:
    with serving(write) as served:
        main(whole := make("whole", served.url, revisions=2))
    asked = len(served.requests)
    dying = serving(lambda body, number: write(body, number) if number < asked - 3 else 503)
    with dying as served, pytest.raises(UserError, match="resume when it does"):
        main(broken := make("broken", served.url, revisions=2))
    assert not (broken.folder / "sft.jsonl").exists()
    with serving(write) as served:
        main(replace(broken, resume=True, writer=replace(broken.writer, url=served.url)))
        assert 0 < len(served.requests) < asked
    for name in ("sft.jsonl", "preferences.jsonl", "transcripts.jsonl", "metrics.jsonl"):
        assert (broken.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_a_judge_has_the_last_word(make: Make) -> None:
    def longer(a: str, b: str) -> str:
        return {"A": "B", "B": "A", "tie": "tie"}[shorter(a, b)]

    for decide, chosen in ((shorter, "revision"), (longer, "response")):
        with serving(write) as writer, serving(saying(decide)) as judge:
            config = make(f"judged-{chosen}", writer.url, judge=PairJudgeConfig(url=judge.url, model="j", retries=0))
            main(config)
        transcripts = rows(config.folder / "transcripts.jsonl")
        assert [p["chosen"] for p in rows(config.folder / "preferences.jsonl")] == [t[chosen] for t in transcripts]
        assert {t["principle"] for t in transcripts} == {
            body["messages"][0]["content"].partition("by this principle? ")[2] for body in judge.requests
        }


def test_the_policy_may_do_it_all(make: Make) -> None:
    """A model of a moment writes nonsense, and every prompt is either revised or counted."""
    main(config := make("alone", "http://localhost:1/v1", writer=ChatConfig()))
    metrics = rows(config.folder / "metrics.jsonl")
    lost = sum(line[name] for line in metrics for name in ("no_response", "no_critique", "no_revision", "unchanged"))
    assert lost + len(rows(config.folder / "sft.jsonl")) == 12


def test_constitutions_in_either_layout_and_what_is_wrong_with_others(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text('{"constitutions": [{"critic": "a", "revision": "b"}]}', encoding="utf-8")
    assert load_constitution(path) == [Principle("a", "b")]
    for text, complaint in (
        ("[]", "holds no principles"),
        ('[{"critique": "a"}]', "principle 1"),
        ("x", "cannot read"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=complaint):
            load_constitution(path)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared constitution is not beside the repository")
def test_a_published_constitution_is_read() -> None:
    principles = load_constitution(SHARED / "critique_revision_16.json")
    assert len(principles) == 16
    assert principles[0].revision.startswith("Please rewrite the response to make it more age-appropriate")
