"""A reward model that writes critiques, behind every verb: what a tiny one says is the same by whichever way."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from served import serving
from toy_tokenizers import QUESTION, STEPS, qwen
from transformers import Qwen2Config, Qwen2ForCausalLM

from lm.checkpoint import save_model
from prm.generative import THINK, THINK_START
from prm.loading import load
from prm.scores import StepScores
from rung.cli import main
from rung.client import Client
from rung.score import as_row
from verifiers.solution import Problem, Solution
from verifiers.split import split_steps

TEXTS = ["\n".join(STEPS[:2]), f"{STEPS[1]}\n{STEPS[0]}", STEPS[0], "\n".join([*STEPS[:2], STEPS[1]])]
CRITIQUE_TOKENS = {"thinkprm": 32, "genprm": 8}  # a verdict on each of three steps; an analysis of one


def solution(text: str) -> Solution:
    return Solution(Problem("", QUESTION, "6"), text, split_steps(text))


def write_critic(folder: Path, *, steps: int) -> str:
    """A small Qwen2 that has learned, in ``steps`` steps of Adam, to write boxed verdicts after ThinkPRM's prompt."""
    torch.manual_seed(0)
    tokenizer = qwen()
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"num_key_value_heads": 2, "vocab_size": len(tokenizer), "max_position_embeddings": 2048}
    model = Qwen2ForCausalLM(Qwen2Config(**sizes, initializer_range=0.1, tie_word_embeddings=False))
    rows = []
    for text, verdicts in zip(TEXTS, ("cc", "ci", "i", "cic"), strict=True):
        listed = "\n".join(f"Step {i}: {step}" for i, step in enumerate(text.split("\n"), 1))
        asked = THINK.replace("{steps}", listed).replace("{question}", QUESTION)
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": asked}], tokenize=False, add_generation_prompt=True
        )
        said = "".join(f"\n\\boxed{{{'correct' if v == 'c' else 'incorrect'}}}" for v in verdicts) + "<|im_end|>"
        first, second = (tokenizer(t, add_special_tokens=False)["input_ids"] for t in (prompt + THINK_START, said))
        rows.append((first + second, len(first)))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        for ids, asked_for in rows:
            labels = [-100] * asked_for + ids[asked_for:]
            loss = model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels])).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    save_model(folder, model)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def critic(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_critic(tmp_path_factory.mktemp("models") / "ThinkPRM-tiny", steps=15)


def keys(form: str) -> list[str]:
    return [f"reading.format={form}", "reading.critiques=3", f"reading.critique_tokens={CRITIQUE_TOKENS[form]}"]


def rows_agree(rows: list[dict[str, Any]], expected: list[StepScores]) -> None:
    for row, scores in zip(rows, expected, strict=True):
        assert row["step_scores"] == pytest.approx(scores.probabilities.tolist(), abs=1e-4)
        assert tuple(row.get("unsaid_steps", ())) == scores.unsaid


@pytest.mark.parametrize("form", ["thinkprm", "genprm"])
def test_a_critics_scores_are_the_same_by_every_way(
    critic: str, form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three critiques drawn of each solution: alone, together, over HTTP among others, and in the commands."""
    prm = load(critic, format=form, critiques=3, critique_tokens=CRITIQUE_TOKENS[form])
    expected = prm.score([solution(text) for text in TEXTS])
    for text, scores in zip(TEXTS, expected, strict=True):
        rows_agree([as_row(scores, "mean")], prm.score([solution(text)]))
    assert np.ptp(np.concatenate([s.probabilities for s in expected])) > 0.01  # alike they would agree with anything
    said = keys(form)

    with serving("serve", critic, *said, "threads=1") as server:
        body = {"question": QUESTION, "solutions": TEXTS}
        status, _, answer = server.post("/v1/score", body)
        assert status == 200
        rows_agree(answer["solutions"], expected)
        assert answer["usage"]["total_tokens"] > 4 * CRITIQUE_TOKENS[form]
        with ThreadPoolExecutor(8) as pool:
            single = [{"question": QUESTION, "solutions": [text]} for text in TEXTS]
            answers = [answer for status, _, answer in pool.map(lambda b: server.post("/v1/score", b), single)]
        rows_agree([answer["solutions"][0] for answer in answers], expected)
        found = Client(server.url).score([solution(text) for text in TEXTS])
        rows_agree([as_row(scores, "mean") for scores in found], expected)
        mins = [scores.aggregate("min") for scores in expected]
        ranked = Client(server.url).rerank(QUESTION, TEXTS)
        assert [r.index for r in ranked] == sorted(range(len(TEXTS)), key=lambda i: -mins[i])
        status, _, answer = server.post("/v1/score", {"question": "much " * 1900, "solutions": [STEPS[0]]})
        assert (status, "allow shorter critiques" in answer["error"]["message"]) == (413, True)

    file = tmp_path / "candidates.jsonl"
    file.write_text(json.dumps({"question": QUESTION, "candidates": TEXTS}) + "\n")
    assert main(["rerank", str(file), f"prm={critic}", *said, f"out={tmp_path / 'ranked.jsonl'}"]) == 0
    ranking = json.loads((tmp_path / "ranked.jsonl").read_text())["ranking"]
    assert [place["index"] for place in ranking] == [r.index for r in ranked]
    rows_agree(sorted(ranking, key=lambda place: place["index"]), expected)

    samples = [{"response": text, "correct": i == ranked[0].index} for i, text in enumerate(TEXTS)]
    file.write_text(json.dumps({"id": "p", "question": QUESTION, "gold_answer": "6", "samples": samples}) + "\n")
    words = ["eval", "bon", f"files=[{file}]", f"folder={tmp_path / 'bon'}", f"prm={critic}", "separator=line", *said]
    assert main(words) == 0
    curves = json.loads((tmp_path / "bon" / "summary.json").read_text())["files"]["candidates"]["curves"]
    assert curves["PRM min"][-1]["mean"] == 1.0  # it picks what the critic ranked first
    assert curves["a random sample"][-1]["mean"] == 0.25
