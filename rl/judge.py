"""Who says how good a step is: a trained PRM, a prover's roll-outs, or an implicit PRM that learns from verdicts."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lm import processes
from lm.engine import Sampling
from lm.engines import open_engine
from lm.models import load_causal_lm, load_tokenizer, make_trainable
from prm.formats import FORMATS
from prm.implicit import ImplicitPRM, cumulative_rewards
from prm.labelling import monte_carlo_labels
from prm.layout import encode_solutions
from prm.loading import load_as
from prm.rollouts import Roller, Sample
from prm.scorer import Scorer
from prm.scores import StepScores
from rl.config import RLConfig
from rl.losses import Metrics
from rl.reward_model import RewardModel, load_reward_model
from verifiers.solution import Solution, Verdict

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def step_judge(
    config: RLConfig, tokenizer: "PreTrainedTokenizerBase", reference: "PreTrainedModel"
) -> "Scorer | Prover | RewardModel":
    """The scorer that ``config`` asks for.

    credit.form=implicit: a second copy of the policy beside the frozen one, as PRIME starts (Cui et al. 2025).
    """
    if config.reward is not None:
        return load_reward_model(config.reward, config.dtype, config.prompt, config.micro_tokens)
    if config.credit.form == "implicit":
        model = load_causal_lm(config.policy, config.dtype).to(reference.device)  # type: ignore[arg-type]
        make_trainable(model, config.lora, config.gradient_checkpointing)
        model.train()
        form = FORMATS["rung-implicit"]
        return ImplicitPRM(model, reference, tokenizer, form, prompt=config.prompt, tokens=config.micro_tokens)
    if config.prover is not None:
        prover_tokenizer = load_tokenizer(config.prover)
        engine = open_engine(
            config.prover_engine, config.prover, prover_tokenizer, dtype=config.dtype, batch=config.engine_batch
        )
        sampling = Sampling(max_tokens=config.sampling.max_tokens, n=config.prover_rollouts)
        return Prover(Roller(engine, prover_tokenizer, sampling, config.prompt), config.seed)
    return load_as(config.reading, config.prm, config.dtype, config.micro_tokens, config.prompt)


class Prover:
    """V^μ of a prover μ after each step: the share of its roll-outs from there that reach the gold answer.

    Setlur et al. 2024 train a model on these values; sampling them anew costs more and lags behind nothing. After the
    last step there is nothing left to say, so its value is the verdict on the solution.
    """

    def __init__(self, roller: Roller, seed: int) -> None:
        self.roller, self.seed = roller, seed

    def score(self, solutions: Sequence[Solution], advance: Callable[[int], None] | None = None) -> list[StepScores]:
        labelled, _ = monte_carlo_labels(self.roller, [Sample(s, finished=True) for s in solutions], self.seed)
        if advance is not None:
            advance(len(solutions))
        return [StepScores(np.array(item.labels, dtype=np.float64)) for item in labelled]


def outcome_backward(prm: ImplicitPRM, solutions: Sequence[Solution], verdicts: Sequence[Verdict]) -> Metrics:
    """Accumulate the gradient of mean −[o log σ(q) + (1 − o) log σ(−q)], q the log-odds after the last step and o = 1
    where the answer is right: PRIME's update of its reward model (Cui et al. 2025, eq. 5). Solutions without a step
    are left out."""
    import torch

    judged = [i for i, solution in enumerate(solutions) if solution.steps]
    rows = encode_solutions(prm.form, prm.tokenizer, [solutions[i] for i in judged], prm.prompt)
    right = torch.tensor([float(verdicts[i].correct) for i in judged], device=prm.policy.device)
    loss_sum, agree = 0.0, 0.0
    for batch, weight in processes.my_micro_batches([len(row.ids) for row in rows], prm.tokens):
        values = cumulative_rewards(prm.policy, prm.reference, [rows[i] for i in batch], prm.form.beta)
        q = torch.stack([value[-1] for value in values]).float()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(q, right[batch], reduction="sum") / len(rows)
        loss = weight * loss
        loss.backward()
        loss_sum += float(loss.detach())
        agree += weight * float(((q > 0) == (right[batch] > 0)).float().sum())
    return processes.sum_metrics({"prm_loss": loss_sum, "prm_accuracy": agree / max(1, len(rows))})
