"""A PRM that keeps learning from what the policy writes now.

A frozen PRM is right about solutions like those that it was trained on, and the policy moves to where it pays, so also
to where it errs (Gao et al. 2022). Policies trained on a reward model that stopped learning came to odd behaviour, and
those trained on one that went on did not (Christiano et al. 2017, section 3.3).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lm.config import key, part
from lm.errors import UserError
from lm.models import DType, load_token_scorer
from lm.optim import OptimConfig, learning_rate, make_optimizer, optimizer_step
from lm.sft import batch_of
from prm.fit import Example, classifier_logits, examples_of, prm_gradient
from prm.formats import FORMATS, RUNG
from prm.heads import split_classifier
from prm.labelled_data import AfterError, after_errors
from prm.labelling import symbolic_labels
from prm.layout import encode_steps
from prm.readers import read_step_labels
from prm.scorer import StepPRM
from prm.scores import LabeledSolution
from rl.losses import Metrics
from verifiers.families import is_built_in
from verifiers.solution import Solution

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class RefreshConfig:
    """Train the PRM on the policy's newest rollouts, labelled by the check of each step's mathematics."""

    every: int = key(0, "updates of the policy between refreshes of the PRM; 0: it stays as it is", low=0)
    keep: int = key(10, "newest updates whose rollouts a refresh learns from", low=1)
    steps: int = key(10, "optimizer steps of a refresh", low=1)
    batch: int = key(64, "solutions an optimizer step", low=1)
    replay: str | None = key(
        None, "labelled solutions to learn from as well, such as those that the PRM was trained on; null: none"
    )
    replay_share: float = key(0.5, "their share of a batch, where there are any", low=0, high=1)
    after_error: AfterError = key(
        "keep", "labels after the first wrong step: keep, since each step is checked given those before it; or drop"
    )
    optim: OptimConfig = part(
        OptimConfig, "of the PRM at its refreshes", lr=3e-4, warmup=5, schedule="constant", weight_decay=0.0
    )


class Refresh:
    """Labels the rollouts of each update and, when it is time, trains on them the PRM that scores the next ones.

    A built-in problem's steps have an exact check, others are judged by the equations that they state; what neither
    can judge teaches nothing, nor does what follows a wrong step where ``after_error`` drops it, as ``rung prm`` may.
    The PRM's temperature stays.
    Raises UserError for a PRM of another format than Rung's two classes a step, and for replay that cannot be read.
    """

    def __init__(self, prm: object, config: RefreshConfig, *, seed: int, micro_tokens: int) -> None:
        import torch

        if not isinstance(prm, StepPRM) or prm.form != FORMATS[RUNG]:
            raise UserError(
                f"prm_refresh trains PRMs of format {RUNG} (rung prm head=classes) and this one has another: leave "
                "prm_refresh.every at 0"
            )
        self.prm, self.config, self.seed, self.micro_tokens = prm, config, seed, micro_tokens
        self.recent: list[list[LabeledSolution]] = []  # of the newest updates
        self.replay = [] if config.replay is None else self._examples(replayed(config.replay, config.after_error))
        self.model = torch.nn.ModuleDict({"trunk": prm.trunk, "head": prm.head})
        self.optimizer = make_optimizer(self.model, config.optim)

    def __call__(self, step: int, total: int, solutions: Sequence[Solution]) -> Metrics:
        """Take in the rollouts of update ``step`` of ``total``; the mean loss of a refresh, and how many solutions it
        had labels of."""
        sizes = self.prm.measure(solutions)
        readable = [solution for solution, size in zip(solutions, sizes, strict=True) if isinstance(size, int)]
        fresh = [symbolic_labels(s, is_built_in(s.problem)) for s in readable]
        self.recent = [*self.recent, after_errors(fresh, self.config.after_error)][-self.config.keep :]
        if (step + 1) % self.config.every:
            return {}
        examples = self._examples([item for items in self.recent for item in items])
        if not examples:
            return {"refresh_solutions": 0.0}
        first = step // self.config.every * self.config.steps
        last = total // self.config.every * self.config.steps
        losses = [self._learn(examples, number, last) for number in range(first, first + self.config.steps)]
        return {"refresh_solutions": float(len(examples)), "refresh_loss": sum(losses) / len(losses)}

    def _examples(self, items: Sequence[LabeledSolution]) -> list[Example]:
        return examples_of(encode_steps(self.prm.tokenizer, [item.solution for item in items], self.prm.prompt), items)

    def _learn(self, examples: Sequence[Example], number: int, total: int) -> float:
        """Optimizer step ``number`` of ``total``; the cross-entropy of a step of a solution, before it."""
        config = self.config
        old = round(config.replay_share * config.batch) if self.replay else 0
        batch = batch_of(examples, config.batch - old, self.seed, number)
        batch += batch_of(self.replay, old, self.seed, number)
        loss = prm_gradient(classifier_logits(self.prm.trunk, self.prm.head), batch, self.micro_tokens)
        optimizer_step(self.model, self.optimizer, config.optim, learning_rate(config.optim, number, total))
        return loss

    def whole(self, name: str, dtype: DType) -> "PreTrainedModel":
        """The PRM as it is now in one piece, as it was at ``name``: for ``prm.load`` to read."""
        model = load_token_scorer(name, 2, dtype)
        for module, ours in zip(split_classifier(model), (self.prm.trunk, self.prm.head), strict=True):
            module.load_state_dict(ours.state_dict())
        return model

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "recent": [[item.to_json() for item in items] for items in self.recent],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.recent = [[LabeledSolution.from_json(row) for row in rows] for rows in state["recent"]]


def replayed(path: str, after_error: AfterError) -> list[LabeledSolution]:
    """The labelled solutions of a file or hub data set in any layout of docs/labels.md; never of test data."""
    try:
        items, _ = read_step_labels(path, purpose="train")
    except UserError as error:
        raise UserError(f"prm_refresh.replay: {error}") from error
    return after_errors(items, after_error)
