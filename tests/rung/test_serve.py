"""rung.serving against the real server process: what is asked is answered, whatever a client does."""

import select
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from browsing import Complaints, browser
from served import LINES, Process, read_response, request_bytes, save_tiny_prm, serving, wait_until

from lm.checkpoint import save_model
from lm.errors import UserError
from lm.models import ModelConfig, build_causal_lm
from lm.tokenizer import train_tokenizer
from prm.loading import Reading, load_as
from prm.loading import load as load_prm
from rung.cli import main
from rung.client import Client
from verifiers.solution import Problem, Solution, Step
from verifiers.split import split_steps

pytest.importorskip("fastapi", reason="the serve extra is not installed")
pytest.importorskip("uvicorn", reason="the serve extra is not installed")
pytest.importorskip("prometheus_client", reason="the serve extra is not installed")

QUESTION = "How many eggs?"
TEXT = "\n".join(LINES)


@pytest.fixture(scope="module")
def prm(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_prm(tmp_path_factory.mktemp("prm"))


@pytest.fixture(scope="module")
def server(prm: str) -> Iterator[Process]:
    with serving(
        "serve", prm, "limits.body_seconds=4", "limits.steps=20", "limits.solutions=4", "queue=20000"
    ) as process:
        yield process


def solution(text: str, question: str = QUESTION) -> Solution:
    return Solution(Problem("", question, ""), text, split_steps(text))


def offline(prm: str, *texts: str) -> list[list[float]]:
    return [s.probabilities.tolist() for s in load_prm(prm).score([solution(text) for text in texts])]


def test_scores_are_the_offline_scorer_s(server: Process, prm: str) -> None:
    given = [TEXT, LINES, {"text": TEXT, "steps": [[0, 10]]}, "  \n "]
    status, _, answer = server.post("/v1/score", {"question": QUESTION, "solutions": given, "aggregate": "product"})
    assert status == 200
    [expected] = offline(prm, TEXT)
    rows = answer["solutions"]
    assert rows[0]["step_scores"] == pytest.approx(expected, abs=1e-6)
    assert rows[1]["step_scores"] == pytest.approx(expected, abs=1e-6)
    assert rows[0]["steps"] == LINES
    assert rows[0]["score"] == pytest.approx(np.prod(expected), abs=1e-6)
    assert rows[2]["step_scores"] == pytest.approx(expected[:1], abs=1e-6)
    assert rows[3] == {"score": 0.0, "step_scores": [], "steps": []}
    assert answer["aggregate"] == "product"


def test_rerank_has_the_shape_of_cohere_s(server: Process, prm: str) -> None:
    documents = ["7-2=5 eggs", {"text": TEXT}, "#### 5\n3+4=7 eggs"]
    mins = [min(scores) for scores in offline(prm, "7-2=5 eggs", TEXT, "#### 5\n3+4=7 eggs")]
    order = sorted(range(3), key=lambda i: -mins[i])
    request = {"model": "any", "query": QUESTION, "documents": documents, "top_n": 2, "max_tokens_per_doc": 4096}
    request |= {"return_documents": None}  # as clients send what nobody set
    for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
        status, _, answer = server.post(path, request)
        assert status == 200
        assert [result["index"] for result in answer["results"]] == order[:2]
        best = answer["results"][0]
        assert best["relevance_score"] == pytest.approx(mins[order[0]], abs=1e-6)
        assert best["document"] == {"text": ["7-2=5 eggs", TEXT, "#### 5\n3+4=7 eggs"][order[0]]}
    assert answer["usage"]["total_tokens"] > 20
    for top_n in (0, None, 9):
        assert len(server.post("/rerank", request | {"top_n": top_n, "return_documents": False})[2]["results"]) == 3


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{", 400, "the body is not JSON: Expecting property name"),
        (b"\x80", 400, "the body cannot be read as JSON"),
        (b"[" * 100_000, 400, "the body cannot be read as JSON"),
        (b"[]", 422, "send a JSON object"),
        (b"", 422, "send a JSON object"),
        ({"question": QUESTION}, 422, "solutions: Field required"),
        ({"question": 3, "solutions": ["a"]}, 422, "question: Input should be a valid string"),
        ({"question": "", "solutions": []}, 422, "solutions: List should have at least 1 item"),
        ({"question": "", "solutions": ["a"], "agregate": "min"}, 422, "agregate: Extra inputs are not permitted"),
        ({"question": "", "solutions": ["a"], "aggregate": "max"}, 422, "aggregate: Input should be 'min'"),
        ({"question": "", "solutions": [["a", " "]]}, 422, "solutions[0]: step 1 is blank"),
        ({"question": "", "solutions": ["a", "\ud800"]}, 422, "solutions[1] or its question holds half of a surrogate"),
        (
            {"question": "", "solutions": [{"text": "abc", "steps": [[0, 2], [1, 3]]}]},
            422,
            "solutions[0]: step 1 is [1, 3]",
        ),
        ({"question": "", "solutions": [{"text": "abc", "steps": [[0, 4]]}]}, 422, "solutions[0]: step 0 is [0, 4]"),
        ({"question": "", "solutions": [{"text": "abc", "steps": [[0]]}]}, 422, "solutions[0]: step 0 is [0]"),
        ({"question": "", "solutions": ["a"] * 5}, 413, "solutions: 5, at most 4"),
        ({"question": "", "solutions": ["a\n" * 21]}, 413, "solutions[0]: steps: 21, at most 20"),
        ({"question": "q" * 60_000, "solutions": ["a" * 60_000]}, 413, "characters: 120000, at most 100000"),
        (
            {"question": "", "solutions": ["a", "1" * 600]},
            413,
            "solutions[1]': step 1 ends at token 601, the model",
        ),
        ({"question": "", "solutions": ["a" * 2**20]}, 413, "the body has over 1048576 bytes"),
    ],
)
def test_what_is_wrong_is_told(server: Process, body: object, status: int, message: str) -> None:
    got, _, answer = server.post("/v1/score", body)
    assert got == status
    assert message in answer["error"]["message"]
    assert answer["error"]["code"] == status


def test_other_ways_to_be_wrong(server: Process) -> None:
    for path, code in (("/docs", 404), ("/v1/score", 405)):
        status, _, answer = server.get(path)
        assert status == code
        told = answer["error"]["message"]
        assert told.startswith(f"GET {path} is not served here; there are POST /v1/score, POST /v1/rerank")
        assert "GET /health" in told
    assert server.post("/v1/score", {"question": "", "solutions": ["a"]}, Content_Type="text/plain")[0] == 422
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    head = request_bytes("POST", "/v1/score", b"", Content_Length="", Transfer_Encoding="chunked")
    status, headers, _ = server.send(head + chunk * 20 + b"0\r\n\r\n")
    assert (status, headers["connection"]) == (413, "close")
    with server.connect() as sock:  # it waits for leave to send, and must not get it
        sock.sendall(request_bytes("POST", "/v1/score", b"", Content_Length="9999999999", Expect="100-continue"))
        assert read_response(sock)[0] == 413
    with server.connect() as sock:
        sock.sendall(b"NOT HTTP AT ALL\r\n\r\n")
        assert b"400 Bad Request" in sock.recv(1000)


def test_slow_and_vanishing_clients_hold_nobody_up(server: Process) -> None:
    request = request_bytes("POST", "/v1/score", {"question": QUESTION, "solutions": [TEXT]})
    slow = [server.connect() for _ in range(20)]
    for sock in slow:
        sock.sendall(request[:-5])
    for _ in range(20):  # these send all and leave before the answer
        with server.connect() as sock:
            sock.sendall(request)
    assert server.send(request)[0] == 200
    assert select.select(slow, [], [], 0)[0] == []  # it came before the slow ones were given up
    for sock in slow:
        with sock:
            status, headers, answer = read_response(sock)
            assert (status, headers["connection"]) == (408, "close")
            assert "did not arrive within 4 s" in answer["error"]["message"]
    wait_until(lambda: server.get("/health")[2]["waiting"] == 0)


def test_two_requests_in_one_packet_are_answered_in_order(server: Process) -> None:
    two = [request_bytes("POST", "/v1/score", {"question": QUESTION, "solutions": [t]}) for t in (TEXT, LINES[0])]
    with server.connect() as sock:
        sock.sendall(b"".join(two))
        assert read_response(sock)[2]["solutions"][0]["steps"] == LINES
        assert read_response(sock)[2]["solutions"][0]["steps"] == LINES[:1]


def test_metrics_count(server: Process) -> None:
    def value(name: str) -> float:
        _, headers, text = server.get("/metrics")
        assert headers["content-type"].startswith("text/plain; version=0.0.4")
        return float(next(line for line in text.splitlines() if line.startswith(name)).split()[-1])

    server.post("/v1/score", {"question": QUESTION, "solutions": [TEXT]})
    answered, solutions = value('rung_requests_total{path="/v1/score",status="200"}'), value("rung_solutions_total")
    server.post("/v1/score", {"question": QUESTION, "solutions": [TEXT, TEXT]})
    assert value('rung_requests_total{path="/v1/score",status="200"}') == answered + 1
    assert value("rung_solutions_total") == solutions + 2
    assert value("rung_waiting_requests") == 0


def test_the_page_is_one_file_under_a_strict_policy(server: Process) -> None:
    status, headers, page = server.get("/")
    assert (status, headers["x-content-type-options"]) == (200, "nosniff")
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "http://" not in page
    assert "https://" not in page
    assert "innerHTML" not in page


def test_the_page_in_a_browser(server: Process) -> None:
    hostile = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    with browser() as running:
        page = running.new_page(viewport={"width": 390, "height": 800})
        complaints = Complaints(page, server.url)
        page.goto(server.url)
        page.fill("#question", hostile)
        page.fill("#solutions textarea", f"{hostile}\nsecond")
        page.click("#add")
        page.locator("#solutions textarea").nth(1).fill("only one")
        page.keyboard.press("Control+Enter")
        page.locator("#results article").nth(1).wait_for()
        assert sorted(page.locator("#results li .words").all_inner_texts()) == [hostile, "only one", "second"]
        assert page.locator("#results img, #results script").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # nothing sticks out on a phone
        page.locator("#solutions textarea").nth(1).fill("too many\n" * 21)
        page.click("#go")
        page.locator("#results .error", has_text="steps: 21, at most 20").wait_for()
        assert [c for c in complaints.found if "413" not in c] == []  # Chromium notes each 4xx


def test_a_client_scores_as_a_loaded_model(server: Process, prm: str) -> None:
    spans = Solution(Problem("", "other", ""), "a  b🙂c", (Step("a", 0, 1), Step("b🙂c", 3, 6)))
    solutions = [solution(TEXT), solution(LINES[0]), spans, solution("")]
    counted: list[int] = []
    client = Client(server.url, connections=2)
    for got, expected in zip(client.score(solutions, counted.append), load_prm(prm).score(solutions), strict=True):
        np.testing.assert_allclose(got.probabilities, expected.probabilities, atol=1e-6)
    assert sum(counted) == 4
    ranked = client.rerank(QUESTION, [TEXT, LINES[0]], top_n=1)
    assert len(ranked) == 1
    with pytest.raises(UserError, match="answers 413: solutions: 32, at most 4"):
        client.score([solution(TEXT)] * 33)
    with pytest.raises(UserError, match="does not answer"):
        Client("http://127.0.0.1:9", patience=0.3).score([solution(TEXT)])
    with pytest.raises(UserError, match="no server's address"):
        Client("127.0.0.1:8000")


def test_a_thousand_waiting_requests_are_all_answered(server: Process) -> None:
    sockets = [server.connect() for _ in range(1000)]
    for i, sock in enumerate(sockets):
        sock.sendall(request_bytes("POST", "/v1/score", {"question": str(i), "solutions": [f"step {i}"]}))
    for i, sock in enumerate(sockets):
        with sock:
            status, _, answer = read_response(sock)
            assert status == 200
            assert answer["solutions"][0]["steps"] == [f"step {i}"]


def test_a_key_a_full_queue_and_a_graceful_end(prm: str) -> None:
    arguments = ("serve", prm, "queue=10", "batch_tokens=1", "api_key_env=RUNG_TEST_KEY", "limits.solutions=32")
    arguments += ("reading.format=rung-outcome",)
    with serving(*arguments, env={"RUNG_TEST_KEY": "sécret"}) as server:
        work = {"question": QUESTION, "solutions": [TEXT] * 20}

        # only those with the key get in
        assert server.get("/health")[0] == server.get("/")[0] == 200
        for headers in ({}, {"Authorization": "Bearer secret"}, {"Authorization": "Basic sécret"}):
            for path in ("/v1/score", "/rerank", "/metrics", "/openapi.json", "/nowhere"):
                status, got, _ = server.post(path, work, **headers)
                assert (status, got["www-authenticate"]) == (401, "Bearer"), path
        with pytest.raises(UserError, match="answers 401: send the API key"):
            Client(server.url).score([solution(TEXT)])
        request = request_bytes("POST", "/v1/score", work, Authorization="Bearer sécret")
        assert server.send(request)[0] == 200

        # a full queue says when to come back, and a client that does is served
        with ThreadPoolExecutor(40) as pool:
            answers = list(pool.map(lambda _: server.send(request), range(40)))
        refused = [headers for status, headers, _ in answers if status == 429]
        assert refused
        assert len(refused) + sum(status == 200 for status, _, _ in answers) == 40
        assert all(1 <= int(headers["retry-after"]) <= 60 for headers in refused)
        client = Client(server.url, "sécret", connections=16)
        assert len(client.score([solution(TEXT, f"{i // 10}?") for i in range(300)])) == 300
        [judged] = client.score([solution(TEXT)])  # an outcome model's one number, whatever the rule
        assert judged.aggregate("product") == judged.aggregate("min") == judged.probabilities[0]
        assert judged.probabilities.size == 3

        # what was accepted is finished, what is new is refused
        sockets = [server.connect() for _ in range(8)]
        late = server.connect()
        for sock in sockets:
            sock.sendall(request)
        wait_until(lambda: server.get("/health")[2]["waiting"] > 3)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: server.get("/health")[0] == 503)
        late.sendall(request)
        status, headers, answer = read_response(late)
        assert (status, headers["retry-after"], answer["error"]["type"]) == (503, "5", "stopping")
        late.close()
        for sock in sockets:
            assert read_response(sock)[0] == 200
            sock.close()
        assert server.process.wait(120) == 0


def test_an_ensemble_with_an_implicit_model_and_the_symbolic_check_is_served(prm: str, tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in ("policy", "reference")]
    tokenizer = train_tokenizer([QUESTION + "\n" + TEXT], 280)
    for name in names:
        model = build_causal_lm(ModelConfig(hidden_size=32, layers=1, heads=2, intermediate_size=48), tokenizer)
        model.config.rung_prm = {"format": "rung-implicit", "reference": names[1], "beta": 1.0}
        save_model(Path(name), model)
        tokenizer.save_pretrained(name)
    reading = Reading(also=(prm, "symbolic"))
    texts = [TEXT, "3+4=8\nhello"]
    expected = load_as(reading, names[0], "float32", 4096, None).score([solution(text) for text in texts])
    with serving("serve", names[0], f"reading.also=[{prm},symbolic]") as server:
        status, _, answer = server.post("/v1/score", {"question": QUESTION, "solutions": texts})
        assert status == 200
        for row, scores in zip(answer["solutions"], expected, strict=True):
            assert row["step_scores"] == pytest.approx(scores.probabilities.tolist(), abs=1e-6)
        assert answer["solutions"][1]["step_scores"][0] < 2 / 3  # one of three says 0
    with serving("serve", "symbolic") as server:
        [row] = server.post("/v1/score", {"question": QUESTION, "solutions": [texts[1]]})[2]["solutions"]
        assert (row["step_scores"], row["unsaid_steps"]) == ([0.0, 0.5], [1])
        [scores] = Client(server.url).score([solution(texts[1])])
        assert scores.unsaid == (1,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-model"], "cannot load model 'no-such-model'"),
        (["m", "port=70000"], "port is 70000, expected 65535 or less"),
        (["m", "host=203.0.113.1"], "cannot listen on 203.0.113.1 port 8000"),
        (["m", "api_key_env=NOT_SET_ANYWHERE"], "the environment variable NOT_SET_ANYWHERE holds no API key"),
        (["m", "api_key_file=no/such/file"], "cannot read the API key in no/such/file"),
        (["m", "api_key_env=A", "api_key_file=b"], "both api_key_env and api_key_file are set"),
    ],
)
def test_what_keeps_it_from_starting_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
