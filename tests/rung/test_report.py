import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rung.report import HERE, write_report

HOSTILE = "<script>alert('x')</script> \"><img onerror=alert(1)> \x00 \u202eevil \ud800 {{ 7*7 }} </style>&amp;"
VOID = {"meta", "img", "br", "input", "link"}


class Page(HTMLParser):
    """Collects every element and its attributes, and fails on tags that do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID and not self.get_starttag_text().endswith("/>"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, *tags: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.elements if tag in tags]


def page_of(folder: Path) -> str:
    path = write_report(folder)
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


def test_nothing_is_fetched_from_anywhere(tmp_path: Path) -> None:
    text = page_of(write_run(tmp_path / "run"))
    assert not re.search(r"https?:|//\w|url\(|@import|\bsrc\s*=", text)
    page = Page(text)
    assert page.all("link", "img", "iframe", "object", "embed", "base", "form", "use", "image") == []
    assert all(a["href"].startswith("#") for a in page.all("a"))


def test_every_section_of_a_whole_run_is_there(tmp_path: Path) -> None:
    text = page_of(write_run(tmp_path / "run"))
    page = Page(text)
    sections = [a["id"] for a in page.all("section")]
    assert sections == [
        "results",
        "learning",
        "alarms",
        "proxy",
        "behaviour",
        "health",
        "prm",
        "labels",
        "sft",
        "samples",
        "how",
    ]
    assert [a["href"] for a in page.all("a")] == [f"#{name}" for name in sections]
    assert "Process rewards raised greedy accuracy from 41.2% to 53.0%" in text
    for wanted in (
        "48.7% to 57.1%",
        "not settled",
        "0.931",
        "best of 8",
        "3,709",
        "first wrong step",
        "2.13.0",
        "form: process",
    ):
        assert wanted in text


def test_pictures_speak_for_themselves(tmp_path: Path) -> None:
    text = page_of(write_run(tmp_path / "run"))
    pictures = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(pictures) > 30
    ids = []
    for picture in pictures:
        title, description = re.search(r'aria-labelledby="(\w+) (\w+)"', picture).groups()
        assert f'<title id="{title}">' in picture
        assert re.search(rf'<desc id="{description}">[^<]+</desc>', picture)
        assert "nan" not in picture
        ids += [title, description]
    assert len(set(ids)) == len(ids)


def test_hostile_words_stay_words(tmp_path: Path) -> None:
    text = page_of(write_run(tmp_path / "run", HOSTILE))
    page = Page(text)
    tame = Page(page_of(write_run(tmp_path / "tame")))
    assert {tag for tag, _ in page.elements} == {tag for tag, _ in tame.elements}
    assert len(page.all("script")) == len(page.all("style")) == 1
    assert not any(name.startswith("on") or name == "style" for _, attributes in page.elements for name in attributes)
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in text
    assert "{{ 7*7 }}" in text  # a model's braces are no template
    assert "␀" in text
    assert "⟨U+202E⟩evil ⟨U+D800⟩" in text
    assert not set("\x00\u202e\ud800") & set(text)
    assert "&amp;amp;" in text


def test_only_our_own_script_and_style_may_act(tmp_path: Path) -> None:

    page = Page(text := page_of(write_run(tmp_path / "run", HOSTILE)))
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        inside = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


PARTS = ["config.yaml", "command.txt", "versions.json", "sft", "labels", "prm", "ppo-process", "ppo-outcome", "eval"]


@pytest.mark.parametrize("part", PARTS)
def test_any_part_may_be_missing_or_alone(tmp_path: Path, part: str) -> None:
    whole = write_run(tmp_path / "whole")
    (alone := tmp_path / "alone").mkdir()
    shutil.move(whole / part, alone / part)
    for folder in (whole, alone):
        page = Page(text := page_of(folder))
        assert "<h1>" in text
        assert "None" not in text
        assert {a["href"][1:] for a in page.all("a")} == {a["id"] for a in page.all("section")}


def test_an_empty_folder_and_single_points_have_a_page(tmp_path: Path) -> None:
    assert "An unfinished run" in page_of(tmp_path)
    _lines(tmp_path / "ppo-process" / "metrics.jsonl", [{"step": 0, "accuracy": 0.5, "kl": 0.0, "prm_score": 0.5}])
    _object(tmp_path / "prm" / "summary.json", {"auc": float("nan"), "reliability": [], "baseline": {}})
    text = page_of(tmp_path)
    assert Page(text).all("section")
    assert "No evaluation yet: process at step 1, 50.0%" in text


def test_long_runs_keep_a_small_page(tmp_path: Path) -> None:
    rows = [
        {"step": i, "sampled_tokens": i, "accuracy": (i % 7) / 7, "reward": 0.1, "kl": i / 1e4} for i in range(20_000)
    ]
    _lines(tmp_path / "ppo-process" / "metrics.jsonl", rows)
    assert len(page_of(tmp_path)) < 120_000


def test_colours_can_be_read() -> None:
    """WCAG 2.2, 1.4.3: text at 4.5 to 1 on what it stands on, light and dark, the deepest step tints included."""
    css = (HERE / "report.css").read_text()
    for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL):
        colour = {name: _rgb(value) for name, value in re.findall(r"--(\w+): #(\w{6})", block)}
        for ground in ("paper", "card"):
            for name in (
                "ink",
                "muted",
                "process",
                "outcome",
                "sft",
                "prm",
                *(f"arm{i}" for i in range(1, 9)),
                "good",
                "bad",
            ):
                assert _contrast(colour[name], colour[ground]) >= 4.5, (name, ground)
        for tint, share in (("bad", 0.42), ("good", 0.33)):
            mixed = share * colour[tint] + (1 - share) * colour["card"]
            assert _contrast(colour["ink"], mixed) >= 4.5, tint


def _rgb(digits: str) -> np.ndarray:
    return np.array([int(digits[i : i + 2], 16) for i in (0, 2, 4)]) / 255


def _contrast(a: np.ndarray, b: np.ndarray) -> float:
    linear = [
        np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722] for c in (a, b)
    ]
    return (max(linear) + 0.05) / (min(linear) + 0.05)


def write_run(folder: Path, hostile: str = "") -> Path:
    """Write the folder; ``hostile`` text is put wherever a model's or a user's words can come in."""
    generator = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(f"seed: 0\ncredit:\n  form: process\nnote: {hostile!r}\n")
    (folder / "command.txt").write_text(f"rung ladder configs/demo.yaml seed=0 {hostile!r}\n")
    _object(folder / "versions.json", {"python": "3.11.9", "torch": "2.13.0", "words": hostile})
    _lines(folder / "sft" / "metrics.jsonl", _sft(generator))
    _object(folder / "labels" / "summary.json", _labels(hostile))
    _lines(folder / "prm" / "metrics.jsonl", _sft(generator))
    _object(folder / "prm" / "summary.json", _prm())
    _lines(folder / "ppo-process" / "metrics.jsonl", _ppo(generator, 0.62, 0.97, hostile))
    _lines(folder / "ppo-outcome" / "metrics.jsonl", _ppo(generator, 0.55, 0.7, hostile))
    _object(folder / "eval" / "summary.json", _evaluation(hostile))
    _lines(folder / "eval" / "samples.jsonl", _samples(hostile))
    return folder


def _evaluation(hostile: str = "") -> dict[str, Any]:
    means = {"sft": (0.412, 0.695, 0.47, 0.52), "ppo-process": (0.53, 0.742, 0.571, 0.612), "ppo-outcome": (0.505,) * 4}
    arms = [
        {"name": name + hostile}
        | {m: _interval(v) for m, v in zip(("greedy", "pass@8", "majority@8", "best_of_8"), values, strict=True)}
        for name, values in means.items()
    ]
    pairs = [
        ("ppo-process", "sft", "greedy", 0.118, 0.079, 0.156),
        ("ppo-outcome", "sft", "greedy", 0.093, 0.055, 0.13),
        ("ppo-process", "ppo-outcome", "greedy", 0.025, -0.008, 0.058),
    ]
    paired = [dict(zip(("a", "b", "metric", "mean", "low", "high"), pair, strict=True)) for pair in pairs]
    return {"problems": 500, "arms": arms, "paired": paired}


def _samples(hostile: str = "") -> list[dict[str, Any]]:
    """24 an arm; every third is right, every other one scores high, one timed out and a few gave no answer."""
    rows = []
    for arm in ("sft", "ppo-process", "ppo-outcome"):
        for index in range(24):
            correct, lift = index % 3 == 0, 0.35 if index % 2 else 0.0
            row = {"arm": arm, "id": f"p{index}", "question": f"Two friends share a bill of 12 and 15 euros. {hostile}"}
            row |= _solution(correct, lift, hostile)
            row |= {"gold": "13.5", "correct": correct, "predicted": "13.5" if correct else f"13{hostile}"}
            row["reason"] = "match" if correct else "timeout" if index == 5 else "mismatch"
            if index % 10 == 7:
                row |= {"predicted": None, "reason": "no answer"}
            rows.append(row)
    return rows


def _solution(correct: bool, lift: float, hostile: str) -> dict[str, Any]:
    half = "13.5" if correct else "13"
    lines = [
        "Add the two prices: 12 + 15 = 27.",
        f"Half of 27 is {half}.",
        f"So each pays {half}.",
        f"\\boxed{{{half}}}",
    ]
    labels = (1, 1, 1, None) if correct else (1, 0, 0, None)
    steps, at = [], 0
    for line, score, label in zip(lines, (0.97, 0.31, 0.55, 0.62), labels, strict=True):
        steps.append({"start": at, "end": at + len(line), "score": min(score + lift, 0.99), "label": label})
        at += len(line) + 1
    return {"text": "\n".join([*lines, hostile]), "steps": steps}


def _interval(mean: float) -> dict[str, float]:
    return {"mean": mean, "low": round(mean - 0.043, 4), "high": round(mean + 0.041, 4)}


def _sft(generator: np.random.Generator) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for step in range(200):
        loss = 0.4 + 2 * float(np.exp(-step / 40)) + 0.06 * float(generator.standard_normal())
        rows.append({"step": step, "loss": loss, "learning_rate": 1e-3})
        if step % 50 == 49:
            rows[-1]["val_loss"] = loss + 0.08
    return rows


def _labels(hostile: str) -> dict[str, Any]:
    table = {"both": 5120, "agree": 4719, "kappa": 0.781, "auc": 0.93, "table": [[1010, 188], [213, 3709]]}
    names = {"table_rows": ["checked wrong", "checked right"], "table_columns": ["rollouts wrong", "rollouts right"]}
    return {"solutions": 2000, "steps": 9312, "agreement": table | names, "note": hostile}


def _prm() -> dict[str, Any]:
    bins = [
        (0.05, 0.04, 900),
        (0.15, 0.13, 310),
        (0.35, 0.41, 120),
        (0.55, 0.5, 140),
        (0.75, 0.81, 420),
        (0.96, 0.94, 4100),
    ]
    keys = ("mean_probability", "fraction_right", "count")
    score = {"f1": 0.71, "error_accuracy": 0.66, "correct_accuracy": 0.77}
    baseline = {"auc": 0.5, "calibration_error": 0.0, "brier": 0.16, "guess": -1}
    return {
        "auc": 0.931,
        "calibration_error": 0.021,
        "brier": 0.081,
        "threshold": 0.5,
        "first_error": score,
        "baseline": baseline
        | {"first_error": {"f1": 0.0, "error_accuracy": 0.0, "correct_accuracy": 1.0}}
        | {"mixed_first_error": {"f1": 0.29, "error_accuracy": 0.27, "correct_accuracy": 0.35}},
        "reliability": [dict(zip(keys, row, strict=True)) for row in bins],
    }


def _ppo(generator: np.random.Generator, top: float, proxy_top: float, hostile: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for step in range(150):
        done, noise = 1 - float(np.exp(-step / 50)), generator.standard_normal(6)
        accuracy = 0.4 + (top - 0.4) * done + 0.03 * noise[0]
        row = {"step": step, "sampled_tokens": (step + 1) * 9216, "accuracy": accuracy, "reward": accuracy - 0.1}
        row |= {"prm_score": 0.5 + (proxy_top - 0.5) * done + 0.02 * noise[1], "kl": 6 * done * (1 + 0.05 * noise[2])}
        row |= {"entropy": 0.6 - 0.3 * done + 0.02 * noise[3], "clip_fraction": 0.05 + 0.01 * abs(noise[4])}
        row |= {"response_length": 70 + 20 * done + 2 * noise[5], "steps_per_solution": 4 + done + 0.1 * noise[0]}
        row |= {"explained_variance": 0.8 * done, "no_answer": 0.05 * (1 - done), "unparsable": 0.02, "timeout": 0.0}
        row |= {"truncated": 0.03, "grad_norm": 0.5 + 0.1 * abs(noise[2]), "seconds": 3.0, "words": hostile}
        if step % 25 == 24:
            row["eval_accuracy"] = 0.4 + (top - 0.42) * done
        rows.append(row)
    return rows


def _object(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def _lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(
            json.dumps({k: float(v) if isinstance(v, np.floating) else v for k, v in row.items()}) + "\n"
            for row in rows
        )
    )
