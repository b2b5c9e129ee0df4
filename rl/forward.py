"""What models say about a batch of tokens: log-probs and entropies of a policy, values of a critic. All (B, T)."""

from typing import TYPE_CHECKING, TypeAlias, Union

from lm.errors import UserError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from rl.batch import TokenBatch

# A model of its own, a linear head on the policy's trunk, or none where the advantage needs no critic.
Critic: TypeAlias = Union["PreTrainedModel", "torch.nn.Linear", None]

# What some architectures do to logits after the head (Gemma-2, Cohere, Granite), which the code below does not.
_AFTER_HEAD = ("final_logit_softcapping", "logit_scale", "logits_scaling")


def evaluate_actions(
    policy: "PreTrainedModel", critic: Critic, tokens: "TokenBatch", temperature: float
) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
    """(log-probs, entropies, values) of the actions. A critic on the policy's trunk costs no pass of its own; without
    a critic the values are 0."""
    import torch

    hidden = trunk_states(policy, tokens)
    logprobs, entropy = head_logprobs(policy, hidden, tokens, temperature)
    if critic is None:
        return logprobs, entropy, torch.zeros_like(entropy)
    if isinstance(critic, torch.nn.Linear):
        return logprobs, entropy, head_values(critic, hidden, tokens)
    return logprobs, entropy, action_values(critic, tokens)


def action_logprobs(
    policy: "PreTrainedModel", tokens: "TokenBatch", temperature: float
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Log-prob of each action and the entropy of the distribution it was drawn from: softmax(logits / temperature).

    The LM head runs at the positions that chose an action and nowhere else. Entropy carries no gradient.
    """
    return head_logprobs(policy, trunk_states(policy, tokens), tokens, temperature)


def trunk_states(policy: "PreTrainedModel", tokens: "TokenBatch") -> "torch.Tensor":
    """The last hidden states (B, T, hidden). Raises UserError for a model whose logits are more than a head of them."""
    scaled = [name for name in _AFTER_HEAD if getattr(policy.config, name, None) not in (None, 1, 1.0)]
    if scaled:
        raise UserError(
            f"{type(policy).__name__} changes its logits after the LM head ({', '.join(scaled)}): not supported"
        )
    states: torch.Tensor = policy.base_model(input_ids=tokens.ids, attention_mask=tokens.attention).last_hidden_state
    return states


def head_logprobs(
    policy: "PreTrainedModel", hidden: "torch.Tensor", tokens: "TokenBatch", temperature: float
) -> "tuple[torch.Tensor, torch.Tensor]":
    """``action_logprobs`` from the trunk's states (B, T, hidden)."""
    import torch

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


def head_values(head: "torch.nn.Linear", hidden: "torch.Tensor", tokens: "TokenBatch") -> "torch.Tensor":
    """As ``action_values``, by a head (hidden -> 1) on the trunk's states (B, T, hidden)."""
    out = head(hidden[:, :-1][tokens.actions[:, 1:]].to(head.weight.dtype))[:, 0].float()
    return _at_actions(out, tokens.actions)


def _at_actions(values: "torch.Tensor", actions: "torch.Tensor") -> "torch.Tensor":
    """(N,) numbers, one an action in row order, to (B, T) with zeros elsewhere."""
    return values.new_zeros(actions.shape).masked_scatter(actions, values)
