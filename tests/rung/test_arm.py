"""rung.arm: an arm of a demo that is killed ends by itself, with a checkpoint."""

import fcntl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from toy_ladder import ENVIRONMENT, ROOT

from lm.config import to_yaml
from lm.engine import Sampling
from prm.problems import ProblemsConfig
from rl.config import RLConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DEMO = """
import sys
from pathlib import Path
from lm.config import load
from rl.config import RLConfig
from rung.demo import run_side_by_side
run_side_by_side([load(RLConfig, Path(sys.argv[1]))])
"""


def test_the_arm_of_a_killed_demo_stops_after_its_step(
    fitted_policy: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", tmp_path: Path
) -> None:
    for part in (fitted_policy, tokenizer):
        part.save_pretrained(tmp_path / "policy")
    config = RLConfig(
        folder=tmp_path / "arm", policy=str(tmp_path / "policy"), prm="symbolic", threads=1, steps=10_000, pool=20,
        problems=ProblemsConfig(families=("chain",), levels=(1,)), sampling=Sampling(max_tokens=8, n=2),
        problems_per_step=2, epochs=1, minibatches=1, eval_every=0, eval_problems=5, save_every=0,
    )  # fmt: skip
    (tmp_path / "given.yaml").write_text(to_yaml(config))
    demo = subprocess.Popen([sys.executable, "-c", DEMO, str(tmp_path / "given.yaml")], cwd=ROOT, env=ENVIRONMENT)
    waited(lambda: (config.folder / "metrics.jsonl").exists() or demo.poll() is not None)
    assert demo.poll() is None
    demo.kill()
    demo.wait()
    waited(lambda: not locked(config.folder))
    log = config.folder.with_suffix(".log").read_text()
    assert "rung rl: stopped after" in log
    assert "rung ppo" in log.splitlines()[-1]  # the command that goes on with it, as a person would type it
    assert len(list((config.folder / "checkpoints").iterdir())) == 1


def waited(until: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def locked(folder: Path) -> bool:
    """Whether a run holds the folder: the lock of lm.run is asked for and let go of at once."""
    with (folder / ".lock").open("r+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        return False
