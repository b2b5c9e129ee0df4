"""The states from which actions are chosen: a trunk's pass over rollouts, with a shared prompt run only once."""

from typing import TYPE_CHECKING, Any

from lm import processes
from lm.padding import by_length, pad

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from rl.batch import TokenBatch

SHARED = 0.1  # of a batch's tokens must be spared before prompts are run by themselves: a second pass costs a little
CPU_WASTE = 0.1  # greatest share of padding on a CPU, which is as fast with small batches


def choosing_states(model: "PreTrainedModel", tokens: "TokenBatch") -> "torch.Tensor":
    """(N, H): the trunk's last hidden state before each of the N actions, row after row.

    Rows are padded on the right and the trunk is causal, so no mask is needed: what follows an action cannot reach
    it. Where rows begin with the same prompt, it is run once and its keys and values serve them all; gradients flow
    back through them. Both ways agree to rounding.
    """
    if _pays(model, tokens):
        return _shared_states(model.base_model, tokens)
    hidden: torch.Tensor = model.base_model(input_ids=tokens.ids, use_cache=False).last_hidden_state
    return hidden[:, :-1][tokens.actions[:, 1:]]


def _pays(model: "PreTrainedModel", tokens: "TokenBatch") -> bool:
    """Whether enough is spared, and the model keeps the whole prompt in its cache (recomputing, it keeps none)."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    if processes.sharded():  # all processes must make the same number of passes
        return False
    prompts = [r.prompt_ids for r in tokens.rollouts]
    spared = sum(map(len, prompts)) - sum(map(len, set(prompts)))
    if spared < SHARED * int(tokens.attention.sum()) or min(map(len, prompts), default=0) < 2:
        return False
    recomputes = model.training and model.is_gradient_checkpointing
    return not recomputes and all(type(layer) is DynamicLayer for layer in DynamicCache(config=model.config).layers)


def _shared_states(trunk: Any, tokens: "TokenBatch") -> "torch.Tensor":
    """First each prompt but its last token, left-padded; then that token and the response of each row, by length."""
    import torch
    from transformers import DynamicCache

    device = tokens.ids.device
    prompts = list(dict.fromkeys(r.prompt_ids for r in tokens.rollouts))
    place = {prompt: i for i, prompt in enumerate(prompts)}
    width = max(map(len, prompts)) - 1
    begun, mask = torch.zeros((len(prompts), width), dtype=torch.long), torch.zeros((len(prompts), width)).long()
    for i, prompt in enumerate(prompts):
        begun[i, width + 1 - len(prompt) :] = torch.tensor(prompt[:-1])
        mask[i, width + 1 - len(prompt) :] = 1
    begun, mask = begun.to(device), mask.to(device)
    first = trunk(
        input_ids=begun, attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp(min=0), use_cache=True
    ).past_key_values
    rows = [(r.prompt_ids[-1], *r.completion.token_ids[:-1]) for r in tokens.rollouts]
    waste = CPU_WASTE if device.type == "cpu" else 1.0
    states: list[torch.Tensor] = []
    found, begin = {}, 0
    for part in by_length([len(row) for row in rows], tokens.ids.numel(), waste):
        owners = torch.tensor([place[tokens.rollouts[i].prompt_ids] for i in part], device=device)
        starts = torch.tensor([len(tokens.rollouts[i].prompt_ids) - 1 for i in part], device=device)
        ids = pad([rows[i] for i in part], 0, torch.long).to(device)
        hidden = trunk(
            input_ids=ids,
            # Padding behind a row cannot reach into it, so only what stands before the prompts is masked.
            attention_mask=torch.cat([mask[owners], torch.ones_like(ids)], 1),
            position_ids=starts[:, None] + torch.arange(ids.shape[1], device=device),
            past_key_values=DynamicCache([(x.keys[owners], x.values[owners]) for x in first.layers]),
            use_cache=True,
        ).last_hidden_state
        states.append(hidden.flatten(0, 1))
        for k, i in enumerate(part):
            found[i] = torch.arange(len(rows[i])) + begin + k * ids.shape[1]
        begin += ids.numel()
    return torch.cat(states)[torch.cat([found[i] for i in range(len(rows))]).to(device)]
