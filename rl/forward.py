"""What models say about a batch of tokens: log-probs and entropies of a policy, values of a critic. All (B, T)."""

from typing import TYPE_CHECKING, Any, TypeAlias, Union

from lm.models import output_layer
from rl.states import choosing_states

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from rl.batch import TokenBatch

# A model of its own, a linear head on the policy's trunk, or none where the advantage needs no critic.
Critic: TypeAlias = Union["PreTrainedModel", "torch.nn.Linear", None]


def evaluate_actions(
    policy: "PreTrainedModel", critic: Critic, tokens: "TokenBatch", temperature: float
) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
    """(log-probs, entropies, values) of the actions. A critic on the policy's trunk costs no pass of its own; without
    a critic the values are 0."""
    import torch

    states = choosing_states(policy, tokens)
    logprobs, entropy = head_logprobs(policy, states, tokens, temperature)
    if critic is None:
        return logprobs, entropy, torch.zeros_like(entropy)
    if isinstance(critic, torch.nn.Linear):
        return logprobs, entropy, head_values(critic, states, tokens)
    return logprobs, entropy, action_values(critic, tokens)


def action_logprobs(
    policy: "PreTrainedModel", tokens: "TokenBatch", temperature: float
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Log-prob of each action and the entropy of the distribution it was drawn from: softmax(logits / temperature).

    The LM head runs at the positions that chose an action and nowhere else. Entropy carries no gradient.
    """
    return head_logprobs(policy, choosing_states(policy, tokens), tokens, temperature)


def head_logprobs(
    policy: "PreTrainedModel", states: "torch.Tensor", tokens: "TokenBatch", temperature: float
) -> "tuple[torch.Tensor, torch.Tensor]":
    """``action_logprobs`` from the states (N, H) that chose the actions."""
    from rl.chosen import chosen_logprobs

    head = output_layer(policy)
    chosen, entropy = chosen_logprobs(states, head.weight, head.bias, tokens.ids[tokens.actions], temperature)
    return _at_actions(chosen, tokens.actions), _at_actions(entropy, tokens.actions)


def action_values(critic: "PreTrainedModel", tokens: "TokenBatch") -> "torch.Tensor":
    """V of the state in which each action is chosen: the critic's output one position before it."""
    head: Any = getattr(critic, "score", None) or critic.classifier
    return _at_actions(head(choosing_states(critic, tokens))[:, 0].float(), tokens.actions)


def head_values(head: "torch.nn.Linear", states: "torch.Tensor", tokens: "TokenBatch") -> "torch.Tensor":
    """As ``action_values``, by a head (H -> 1) on the policy's states (N, H)."""
    return _at_actions(head(states.to(head.weight.dtype))[:, 0].float(), tokens.actions)


def _at_actions(values: "torch.Tensor", actions: "torch.Tensor") -> "torch.Tensor":
    """(N,) numbers, one an action in row order, to (B, T) with zeros elsewhere."""
    return values.new_zeros(actions.shape).masked_scatter(actions, values)
