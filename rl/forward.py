"""What models say about a batch of tokens: log-probs and entropies of a policy, values of a critic. All (B, T)."""

from typing import TYPE_CHECKING

from lm.errors import UserError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from rl.batch import TokenBatch


# What some architectures do to logits after the head (Gemma-2, Cohere, Granite), which the code below does not.
_AFTER_HEAD = ("final_logit_softcapping", "logit_scale", "logits_scaling")


def action_logprobs(
    policy: "PreTrainedModel", tokens: "TokenBatch", temperature: float
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Log-prob of each action and the entropy of the distribution it was drawn from: softmax(logits / temperature).

    The LM head runs at the positions that chose an action and nowhere else. Entropy carries no gradient.
    """
    import torch

    scaled = [name for name in _AFTER_HEAD if getattr(policy.config, name, None) not in (None, 1, 1.0)]
    if scaled:
        raise UserError(
            f"{type(policy).__name__} changes its logits after the LM head ({', '.join(scaled)}): not supported"
        )
    hidden = policy.base_model(input_ids=tokens.ids, attention_mask=tokens.attention).last_hidden_state
    chooses = tokens.actions[:, 1:]  # position t - 1 chooses token t
    logits = policy.get_output_embeddings()(hidden[:, :-1][chooses]).float() / temperature
    all_logprobs = torch.log_softmax(logits, -1)
    chosen = all_logprobs.gather(-1, tokens.ids[:, 1:][chooses][:, None])[:, 0]
    with torch.no_grad():
        entropy = -(all_logprobs.exp() * all_logprobs).sum(-1)
    return _at_actions(chosen, tokens.actions), _at_actions(entropy, tokens.actions)


def action_values(critic: "PreTrainedModel", tokens: "TokenBatch") -> "torch.Tensor":
    """V of the state in which each action is chosen: the critic's output one position before it."""
    out = critic(input_ids=tokens.ids, attention_mask=tokens.attention).logits[..., 0].float()
    return _at_actions(out[:, :-1][tokens.actions[:, 1:]], tokens.actions)


def _at_actions(values: "torch.Tensor", actions: "torch.Tensor") -> "torch.Tensor":
    """(N,) numbers, one an action in row order, to (B, T) with zeros elsewhere."""
    return values.new_zeros(actions.shape).masked_scatter(actions, values)
