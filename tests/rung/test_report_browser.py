"""The page in a real browser, light and dark, on a desk and on a phone: nothing cut off, nothing on top of another."""

import json
from pathlib import Path
from typing import Any

import pytest
from browsing import Complaints, browser
from test_report import HOSTILE, write_run

from rung.report import write_report

# What is wrong in a page: text cut off at the edge of the window, labels of a picture that overlap or leave it.
FLAWS = """() => {
  const found = [], wide = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > wide) found.push("the page scrolls sideways");
  for (const picture of document.querySelectorAll("figure svg, td svg")) {
    const frame = picture.getBoundingClientRect();
    if (!frame.width) continue;  // folded away
    const words = [...picture.querySelectorAll("text")].map((text) => [text.textContent, text.getBoundingClientRect()]);
    for (const [index, [name, box]] of words.entries()) {
      if (box.right > wide + 1 || box.left < -1) found.push(`${name}: off the page`);
      for (const [other, place] of words.slice(index + 1)) {
        const across = Math.min(box.right, place.right) - Math.max(box.left, place.left);
        const down = Math.min(box.bottom, place.bottom) - Math.max(box.top, place.top);
        if (across > 1 && down > 0.35 * Math.min(box.height, place.height)) found.push(`${name} on ${other}`);
      }
    }
  }
  for (const cell of document.querySelectorAll("th, td, button, h1, h2, h3, figcaption")) {
    const box = cell.getBoundingClientRect();
    if (box.right > wide + 1 && !cell.closest(".scroll, nav")) found.push(`${cell.textContent}: cut off`);
  }
  return found;
}"""


def seeded_runs(folder: Path, note: str = "") -> list[Path]:
    """Ladders of three seeds and one whose reward model was trained in another way, with ``note`` in its config."""
    folders = []
    for seed, rate in ((0, 1e-4), (1, 1e-4), (2, 1e-4), (0, 1e-3)):
        name = f"demo-{seed}" if rate < 1e-3 else "demo-fast"
        folders.append(write_run(folder / name))
        settings = {"folder": str(folder / name), "seed": seed, "prm": {"lr": rate}}
        settings |= {note: note} if note and name == "demo-fast" else {}
        (folder / name / "ladder.yaml").write_text(json.dumps(settings))
        for form in ("process", "outcome"):
            path = folder / name / f"ppo-{form}"
            (path / "config.yaml").write_text(json.dumps({"folder": str(path), "seed": seed, "credit": {"form": form}}))
            rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
            shifted = [row | {"accuracy": row["accuracy"] + 0.03 * seed} for row in rows]
            (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in shifted))
    return folders


@pytest.mark.slow
def test_pages_look_right_on_a_desk_and_on_a_phone_light_and_dark(tmp_path: Path) -> None:
    one = write_report(write_run(tmp_path / "one"))
    many = write_report(*seeded_runs(tmp_path / "many"))
    assert many == tmp_path / "many" / "report.html"
    with browser() as chromium:
        for page_file in (one, many):
            for width, scheme in ((1200, "light"), (390, "dark")):
                page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
                complaints = Complaints(page, page_file.as_uri())
                page.goto(page_file.as_uri())
                assert page.evaluate(FLAWS) == [], (page_file, width)
                assert complaints.found == []
                page.close()
        filters_work(chromium.new_page(), many)


def filters_work(page: Any, page_file: Path) -> None:
    """Wrong answers with high scores, right ones with low, and a legend that hides an arm in every section."""
    page.goto(page_file.as_uri())
    for kind, verdict in (("wrong, high score", "✗ wrong"), ("right, low score", "✓ right")):
        page.get_by_role("button", name=kind).click()
        shown = page.locator("article:visible")
        assert shown.count() > 0
        assert all(verdict in text for text in shown.locator(".meta").all_text_contents())
        scores = [float(text.split("score ")[1][:4]) for text in shown.locator(".meta").all_text_contents()]
        assert all(score >= 0.5 for score in scores) == (kind == "wrong, high score")
    assert page.locator("#learning path.band:visible").count() > 0
    before = page.locator("#health text.name:visible").count()
    name = "process (demo-fast)"
    page.locator("#learning .legend button", has_text=name).first.click()
    assert page.locator("#health text.name:visible", has_text=name).count() == 0
    assert page.locator("#health text.name:visible").count() < before
    page.locator("#learning .legend button", has_text=name).first.click()
    assert page.locator("#health text.name:visible").count() == before


@pytest.mark.slow
def test_nothing_but_our_own_script_runs(tmp_path: Path) -> None:
    page_file = write_report(write_run(tmp_path / "run", HOSTILE))
    markup = "<img src=x onerror=alert(1)>{{ 7*7 }}"
    folders = seeded_runs(tmp_path / markup, markup)
    beside = write_report(*folders, out=tmp_path / "beside.html")
    with browser() as chromium:
        page = chromium.new_page()
        complaints = Complaints(page, tmp_path.as_uri())
        page.goto(beside.as_uri())
        assert (page.locator("img").count(), page.locator("script").count()) == (0, 1)
        assert page.locator(".settings").get_by_text(markup).count() > 0
        page.goto(page_file.as_uri())
        assert page.locator("#shown").text_content() == "72 solutions"  # counted by the script, and the filters shown
        assert page.locator(".filters").is_visible()
        assert (page.locator("img").count(), page.locator("script").count()) == (0, 1)
        assert complaints.found == []
