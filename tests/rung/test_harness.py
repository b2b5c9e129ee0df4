"""The tasks for lm-evaluation-harness: their measures by hand, and inside the harness where it is installed."""

import importlib.util
import json
from pathlib import Path

import pytest

import rung.harness
from rung.harness.scoring import PRM, load, samples

FOLDER = Path(rung.harness.__file__).parent
GOLDS = ["9", "\\frac{1}{2}"]
# four samples each: of the first problem two are right, one of them by false steps; of the second none
TEXTS = [
    ["8+4=11\n11-3=8\n#### 8", "8+4=12\n12-3=9\n#### 9", "8+4=13\n13-3=9\n#### 9", "8-4=5\n#### 8"],
    ["The answer is 2.", "\\boxed{2}", "", "3"],
]
QUESTIONS = ["Eight and four less three?", "What is a half?"]


@pytest.fixture
def source(tmp_path: Path) -> str:
    rows = [{"id": f"p{i}", "question": QUESTIONS[i], "answer": GOLDS[i]} for i in (0, 1)]
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_measures_by_hand(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PRM, raising=False)
    docs = list(load(set="gsm8k", source=source, version=1.0)["test"])
    assert samples(docs[0], [TEXTS[0]]) == {
        "exact_match": 0.5,
        "some_right": 1.0,
        "majority": 0.5,  # nine twice, eight twice: a fair draw
        "untold": 0.0,
    }
    assert samples(docs[1], [TEXTS[1]]) == {"exact_match": 0.0, "some_right": 0.0, "majority": 0.0, "untold": 0.25}
    monkeypatch.setenv(PRM, "symbolic")
    assert samples(docs[0], [TEXTS[0]])["best_of_n"] == 1.0  # the one without a false equation


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm-evaluation-harness is not installed")
def test_inside_the_harness(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from lm_eval import simple_evaluate
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager

    class Listed(LM):
        def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
            asked: dict[str, int] = {}
            found = []
            for request in requests:
                which = next(i for i, question in enumerate(QUESTIONS) if question in request.args[0])
                number = asked[request.args[0]] = asked.get(request.args[0], -1) + 1
                found.append(TEXTS[which][number % 4])
            return found

        def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
            raise AssertionError("the tasks ask for generated text alone")

        def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
            raise AssertionError("the tasks ask for generated text alone")

    monkeypatch.setenv(PRM, "symbolic")
    manager = TaskManager(include_path=str(FOLDER), metadata={"set": "gsm8k", "source": source})
    found = simple_evaluate(
        Listed(), tasks=["rung_math", "rung_math_samples"], task_manager=manager, bootstrap_iters=0, log_samples=False
    )["results"]
    assert found["rung_math"]["exact_match,none"] == 0.0
    drawn = found["rung_math_samples"]
    assert drawn["exact_match,samples"] == 0.25
    assert drawn["some_right,samples"] == 0.5
    assert drawn["majority,samples"] == 0.25
    assert drawn["best_of_n,samples"] == 0.5
    assert drawn["untold,samples"] == 0.125
