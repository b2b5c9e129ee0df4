"""Our losses beside TRL's trainers on the same tiny model and tokens, where TRL (1.16) is installed; elsewhere skipped.

pip install --no-deps trl==1.16.0
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from lm.models import load_causal_lm
from rl.batch import TokenBatch
from rl.forward import action_logprobs
from rl.losses import (
    Normaliser,
    bradley_terry_loss,
    dpo_loss,
    ipo_loss,
    kl_loss,
    kto_loss,
    nll_loss,
    policy_loss,
    token_weights,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

trl = pytest.importorskip("trl", reason="TRL is not installed: its trainers cannot be asked")
pytestmark = pytest.mark.filterwarnings("ignore")
PROMPT, COMPLETION, BETA = 4, 7, 0.3


def arguments(config: Any, folder: Path, **settings: Any) -> Any:
    return config(
        output_dir=str(folder), report_to=[], use_cpu=True, bf16=False, per_device_train_batch_size=4, **settings
    )


@pytest.fixture
def tokens() -> TokenBatch:
    """Four rows of one prompt length, with 7, 5, 2 and 6 actions."""
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(2, 250, (4, PROMPT + COMPLETION), generator=generator)
    lengths = torch.tensor([7, 5, 2, 6])[:, None] + PROMPT
    places = torch.arange(PROMPT + COMPLETION)[None]
    return TokenBatch(ids, (places < lengths).long(), (places >= PROMPT) & (places < lengths), ())


@pytest.mark.parametrize(
    ("loss_type", "normaliser", "level"),
    [
        ("grpo", "sequences", "token"),
        ("bnpo", "tokens", "token"),
        ("dr_grpo", "constant", "token"),
        ("grpo", "sequences", "sequence"),
    ],
)
def test_grpo(
    tiny_policy: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", tokens: TokenBatch, tmp_path: Path,
    loss_type: str, normaliser: Normaliser, level: Any,
) -> None:  # fmt: skip
    from datasets import Dataset

    settings = {
        "num_generations": 4, "max_completion_length": COMPLETION, "loss_type": loss_type, "beta": BETA,
        "epsilon": 0.2, "epsilon_high": 0.3, "importance_sampling_level": level, "use_bias_correction_kl": False,
        "temperature": 0.7,
    }  # fmt: skip
    tiny_policy.save_pretrained(tmp_path / "policy")  # TRL loads its reference from where the policy came from
    trainer = trl.GRPOTrainer(
        model=load_causal_lm(str(tmp_path / "policy")), reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=arguments(trl.GRPOConfig, tmp_path, **settings), processing_class=tokenizer,
        train_dataset=Dataset.from_dict({"prompt": ["1+1"] * 4}),
    )  # fmt: skip
    model = trainer.model.eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        now, _ = action_logprobs(model, tokens, 0.7)
    old, reference, advantages = (torch.randn(now.shape, generator=generator) * size for size in (0.4, 0.4, 1.0))
    old, reference = (now + old) * tokens.actions, (now + reference) * tokens.actions
    inputs = {
        "prompt_ids": tokens.ids[:, :PROMPT], "prompt_mask": tokens.attention[:, :PROMPT],
        "completion_ids": tokens.ids[:, PROMPT:], "completion_mask": tokens.actions[:, PROMPT:].long(),
        "advantages": advantages[:, PROMPT:], "old_per_token_logps": old[:, PROMPT:],
        "ref_per_token_logps": reference[:, PROMPT:], "num_items_in_batch": tokens.actions.sum(),
    }  # fmt: skip
    model.zero_grad()
    theirs = trainer._compute_loss(model, inputs)
    theirs.backward()
    their_gradient = model.model.layers[0].mlp.down_proj.weight.grad.clone()

    model.zero_grad()
    n = float(tokens.actions.sum())
    weights = token_weights(tokens.actions, normaliser, tokens=n, sequences=4, longest=COMPLETION)
    logprobs, _ = action_logprobs(model, tokens, 0.7)
    ours, _ = policy_loss(
        logprobs, old, advantages, tokens.actions,
        clip_low=0.2, clip_high=0.3, normaliser=n, weights=weights, ratio=level,
    )  # fmt: skip
    ours = ours + BETA * kl_loss(
        logprobs, reference, tokens.actions, estimator="k3", clamp=None, normaliser=n, weights=weights
    )
    ours.backward()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    gradient = model.model.layers[0].mlp.down_proj.weight.grad
    if level == "token":  # by sequence TRL sums its min over one ratio a row, whose gradient is the same only
        torch.testing.assert_close(gradient, their_gradient, rtol=1e-3, atol=1e-5)  # for equal advantages in a row


@pytest.mark.parametrize("loss_types", [("sigmoid",), ("ipo",), ("sigmoid", "sft")])
def test_dpo(
    tiny_policy: "PreTrainedModel", fitted_policy: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase",
    tokens: TokenBatch, tmp_path: Path, loss_types: tuple[str, ...],
) -> None:  # fmt: skip
    from datasets import Dataset

    pairs = {"prompt": ["1+1"] * 4, "chosen": ["2"] * 4, "rejected": ["3"] * 4}
    trainer = trl.DPOTrainer(
        model=fitted_policy, ref_model=tiny_policy, processing_class=tokenizer, train_dataset=Dataset.from_dict(pairs),
        args=arguments(
            trl.DPOConfig, tmp_path, loss_type=[*loss_types], loss_weights=[1, 0.5][: len(loss_types)], beta=BETA
        ),
    )  # fmt: skip
    trainer.model.eval()
    inputs = {
        "input_ids": tokens.ids, "attention_mask": tokens.attention, "completion_mask": tokens.actions.long(),
    }  # fmt: skip
    theirs = trainer._compute_loss(trainer.model, inputs, False)
    with torch.no_grad():
        logprobs = action_logprobs(fitted_policy, tokens, 1.0)[0]
        ratios = logprobs - action_logprobs(tiny_policy, tokens, 1.0)[0]
    sums, lengths = ratios.sum(1), tokens.actions.sum(1)
    if loss_types == ("ipo",):
        ours, _ = ipo_loss(*(sums / lengths).chunk(2), beta=BETA)
    else:
        ours, _ = dpo_loss(*sums.chunk(2), beta=BETA)
    if "sft" in loss_types:  # its mean is over tokens, not over responses: one "response" of all of them
        ours = ours + 0.5 * nll_loss(logprobs[:2].sum()[None], lengths[:2].sum()[None])[0]
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-5, atol=1e-6)


def test_kto(
    tiny_policy: "PreTrainedModel", fitted_policy: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase",
    tokens: TokenBatch, tmp_path: Path,
) -> None:  # fmt: skip
    from datasets import Dataset

    rows = {"prompt": ["1+1"] * 4, "completion": ["2"] * 4, "label": [True, False] * 2}
    trainer = trl.KTOTrainer(
        model=fitted_policy, ref_model=tiny_policy, processing_class=tokenizer, train_dataset=Dataset.from_dict(rows),
        args=arguments(trl.KTOConfig, tmp_path, beta=BETA, desirable_weight=1.0, undesirable_weight=1.5),
    )  # fmt: skip
    trainer.model.eval()
    desirable = torch.tensor([True, False, True, True])
    batch = {
        "input_ids": tokens.ids, "attention_mask": tokens.attention, "completion_mask": tokens.actions.long(),
        "KL_input_ids": tokens.ids, "KL_attention_mask": tokens.attention,
        "KL_completion_mask": tokens.actions.long(), "label": desirable,
    }  # fmt: skip
    theirs = trainer._compute_loss(trainer.model, batch, False)
    with torch.no_grad():
        ratios = (action_logprobs(fitted_policy, tokens, 1.0)[0] - action_logprobs(tiny_policy, tokens, 1.0)[0]).sum(1)
    ours, _ = kto_loss(ratios, desirable, ratios.mean().clamp(min=0), beta=BETA, undesirable_weight=1.5)
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-5, atol=1e-6)


def test_bradley_terry(tiny_policy: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", tmp_path: Path) -> None:
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification

    tiny_policy.save_pretrained(tmp_path / "policy")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "policy", num_labels=1)
    model.config.pad_token_id = tokenizer.pad_token_id
    pairs = {"prompt": ["1+1"] * 4, "chosen": ["2"] * 4, "rejected": ["3"] * 4}
    trainer = trl.RewardTrainer(
        model=model, processing_class=tokenizer, train_dataset=Dataset.from_dict(pairs),
        args=arguments(trl.RewardConfig, tmp_path),
    )  # fmt: skip
    trainer.model.eval()
    ids = torch.randint(5, 250, (6, 9), generator=torch.Generator().manual_seed(0))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    theirs = trainer.compute_loss(trainer.model, dict(inputs))
    with torch.no_grad():
        rewards = trainer.model(**inputs).logits[:, 0]
    ours, _ = bradley_terry_loss(*rewards.chunk(2))
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-6, atol=1e-6)
