"""rung.annotation in a process of its own: people at once, a hard kill, and the page in a real browser."""

import json
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from browsing import Complaints, browser, chromium
from served import ROOT, Process, serving

from prm.journal import BATCH
from rung.annotation.annotate import AnnotateConfig, read_tasks
from rung.annotation.store import Store

pytest.importorskip("fastapi", reason="the serve extra is not installed")
pytest.importorskip("uvicorn", reason="the serve extra is not installed")
pytest.importorskip("prometheus_client", reason="the serve extra is not installed")

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>&amp;\"'‮"


def write(path: Path, count: int = 3) -> Path:
    rows = [
        {"question": f"{i}+{i}? {HOSTILE}", "answer": str(2 * i), "text": f"first {i} {HOSTILE}\nsecond\n#### {k}"}
        for i in range(count)
        for k in (2 * i, 7, 8)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_answers_of_several_people_survive_a_hard_kill(tmp_path: Path) -> None:
    database = tmp_path / "a.sqlite"
    arguments = ("annotate", str(write(tmp_path / "rows.jsonl")), f"database={database}", "overlap=2")
    with serving(*arguments) as server:

        def work(person: str) -> int:
            judged = 0
            while task := server.get(f"/api/next?annotator={person}")[2]["task"]:
                answer = [1] * (len(task["solutions"][0]["steps"]) - 1) + [-1]
                given = {"annotator": person, "task": task["id"], "answer": answer, "seconds": 1.5}
                assert server.post("/api/answer", given)[0] == 200
                judged += 1
            return judged

        with ThreadPoolExecutor(3) as pool:
            judged = list(pool.map(work, ("ann", "bob", "cleo")))
        assert 18 <= sum(judged) <= 27  # nine items, two people each; three may meet at one
        task = server.get("/api/next?annotator=dan")[2]
        assert (task["task"], task["done"], task["left"]) == (None, 0, 0)
        refused(server)
        server.process.kill()  # no goodbye
        server.process.wait()
    assert len(Store(database).answers()) == sum(judged)


def test_a_hard_kill_while_the_queue_is_scored_loses_the_batch_in_flight(tmp_path: Path) -> None:
    file, database = tmp_path / "rows.jsonl", tmp_path / "a.sqlite"
    rows = [{"question": f"{i}?", "text": f"{i}+{i}={2 * i}\n{i}*2={2 * i + i % 2}"} for i in range(8 * BATCH)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    kept = tmp_path / "a.sqlite.scores"
    words = ["annotate", str(file), f"database={database}", "prm=symbolic", "port=0"]
    with subprocess.Popen([sys.executable, "-m", "rung", *words], cwd=ROOT, stderr=-3, stdout=-3) as process:
        while not (kept.exists() and kept.read_bytes().count(b"\n") > 1):
            assert process.poll() is None
            time.sleep(0.001)
        process.kill()
    head, *batches = kept.read_text().splitlines(keepends=True)
    assert 1 <= len(batches) < 8
    assert '"p": [1.0, 1.0]' in batches[0]
    kept.write_text(head + batches[0].replace("1.0", "0.75"))  # to see that it is read, not worked out again
    tasks = read_tasks(AnnotateConfig(file=file, database=database, prm="symbolic", order="file"))
    scores = [task.candidates[0].score for task in tasks]
    assert scores == [0.75, 0.0] * (BATCH // 2) + [1.0, 0.0] * (7 * BATCH // 2)
    server = Process(*words[:-1])
    assert server.get("/api/next?annotator=Ann")[2]["task"] is not None
    assert not kept.exists()  # in the database now
    assert server.stop()[0] == 0


def test_only_its_own_machine_is_served_and_a_stuck_client_does_not_keep_it(tmp_path: Path) -> None:
    arguments = ("annotate", str(write(tmp_path / "rows.jsonl")), f"database={tmp_path / 'a.sqlite'}")
    with serving(*arguments) as server:
        for host, status in (("evil.example", 403), ("localhost.evil.example:80", 403), ("[::1]:8001", 200)):
            assert server.get("/api/next?annotator=ann", Host=host)[0] == status, host
        assert server.get("/api/next?annotator=ann", Host=f"LocalHost:{server.port}")[0] == 200
        with server.connect() as stuck:  # its body never comes
            stuck.sendall(b"POST /api/answer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
            assert server.get("/health")[0] == 200
            began = time.monotonic()
            assert server.stop()[0] == 0
            assert time.monotonic() - began < 25  # five seconds, and a busy machine; not the body's thirty


def test_those_with_the_key_may_come_by_any_name(tmp_path: Path) -> None:
    arguments = ("annotate", str(write(tmp_path / "rows.jsonl")), f"database={tmp_path / 'a.sqlite'}")
    with serving(*arguments, "api_key_env=RUNG_TEST_KEY", env={"RUNG_TEST_KEY": "k"}) as server:
        path = "/api/next?annotator=ann"
        assert server.get(path, Host="proxy.example", Authorization="Bearer k")[0] == 200
        assert server.get(path, Host="proxy.example")[0] == 401


def refused(server: Process) -> None:
    """What is no answer is told so, and nothing of it is kept."""
    kept = server.get("/api/export/annotations.jsonl")[2]
    task = json.loads(kept.splitlines()[0])["task"]
    good: dict[str, Any] = {"annotator": "eve", "task": task, "answer": [1, 0, None], "seconds": 1}
    for change, status in (
        ({"task": "nothing"}, 404),
        ({"task": "\ud800"}, 422),
        ({"answer": [1, 1]}, 422),
        ({"answer": [1, 2, 1]}, 422),
        ({"answer": [True, 1, 1]}, 422),
        ({"answer": [None] * 3}, 422),
        ({"answer": [[0]]}, 422),
        ({"annotator": ""}, 422),
        ({"annotator": "a\nb"}, 422),
        ({"annotator": "\ud800"}, 422),
        ({"annotator": "x" * 61}, 422),
        ({"seconds": -1}, 422),
        ({"more": 1}, 422),
    ):
        assert server.post("/api/answer", good | change)[0] == status, change
    assert server.post("/api/answer", good, Content_Type="text/plain")[0] == 422  # what another site's form could send
    assert server.get("/api/export/everything.jsonl")[0] == 404
    assert server.get("/api/export/annotations.jsonl")[2] == kept


def test_the_pages_in_a_browser(tmp_path: Path) -> None:
    chromium()
    rows = write(tmp_path / "rows.jsonl")
    with browser() as running:
        with serving("annotate", str(rows), f"database={tmp_path}/a.sqlite", "order=file") as server:
            rate_steps(running, server)
        with serving("annotate", str(rows), f"database={tmp_path}/b.sqlite", "kind=ranking", "order=file") as server:
            rank_solutions(running, server)


def shows(page: Any, progress: str) -> None:
    """Wait until the page says how far one is."""
    page.locator("#progress", has_text=progress).wait_for()


def rate_steps(running: Any, server: Process) -> None:
    page = running.new_page()
    complaints = Complaints(page, server.url)
    page.goto(server.url)
    page.fill("#name", "ann+b")
    page.keyboard.press("Enter")
    page.wait_for_selector("#steps li")
    assert page.inner_text("#question") == f"0+0? {HOSTILE}"  # as text, and nothing of it ran
    assert page.locator("#judge img, #judge script").count() == 0
    assert page.locator("#save").is_disabled()
    page.keyboard.press("+")
    page.keyboard.press("0")
    page.keyboard.press("Backspace")  # the second step is judged anew
    page.keyboard.press("-")
    assert page.locator("#steps li.after").count() == 1
    page.keyboard.press("Enter")
    shows(page, "1 done")
    page.keyboard.press("s")
    shows(page, "1 done · 7 left")
    page.keyboard.press("1")
    page.keyboard.press("ArrowDown")
    page.click("#steps li:nth-child(2) button.neutral")
    page.keyboard.press("1")
    page.click("#save")
    shows(page, "2 done")
    page.keyboard.press("b")
    page.wait_for_selector("#steps li.neutral")
    page.keyboard.press("ArrowUp")
    page.click("#steps li:nth-child(3) button.wrong")  # she thinks better of it
    page.keyboard.press("Enter")
    page.wait_for_selector("#steps li:not(.right)")
    page.click("#agreement-tab")
    page.wait_for_selector("#agreement table")
    assert "ann b" in page.inner_text("#agreement")
    with page.expect_download() as download:
        page.click("text=labels.jsonl")
    labels = [json.loads(line)["labels"] for line in Path(download.value.path()).read_text().splitlines()]
    assert labels == [[1.0, 0.0, None], [1.0, 1.0, 0.0]]
    assert complaints.found == []
    page.close()


def rank_solutions(running: Any, server: Process) -> None:
    page = running.new_page(viewport={"width": 390, "height": 800}, color_scheme="dark")
    complaints = Complaints(page, server.url)
    page.goto(server.url)
    page.fill("#name", "bob")
    page.keyboard.press("Enter")
    page.wait_for_selector("#cards article")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # nothing sticks out on a phone
    page.keyboard.press("2")
    page.keyboard.press("=")
    page.keyboard.press("3")
    assert page.locator("#cards header b").all_inner_texts() == ["tied 1st", "tied 1st"]
    page.keyboard.press("Backspace")
    page.keyboard.press("1")
    page.locator("#cards article").nth(2).click()
    shown = [re.search(r"#### (\d)", text)[1] for text in page.locator("#cards article").all_inner_texts()]  # type: ignore[index]
    page.keyboard.press("Enter")
    shows(page, "1 done")
    [row] = [json.loads(line) for line in server.get("/api/export/rankings.jsonl")[2].splitlines()]
    best_first = [row["solutions"][place[0]].splitlines()[-1].removeprefix("#### ") for place in row["ranking"]]
    assert best_first == [shown[1], shown[0], shown[2]]
    assert complaints.found == []
    page.close()
