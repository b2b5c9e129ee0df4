"""prm.token_trees: a tree by hand, and states and gradients that are those of each solution by itself."""

import random

import pytest
import torch
from toy_models import toy_classifier, toy_tokenizer
from transformers import Qwen2Config, Qwen2Model

from prm.fit import Example, step_loss, trainable_logits
from prm.formats import FORMATS, RUNG
from prm.forward import states_at
from prm.layout import Row
from prm.token_trees import ancestors, depths, grow, grown, tree_states_at


def test_a_tree_by_hand() -> None:
    """1 2 3 4, its beginning 1 2, and 1 2 5, which parts from it after two tokens."""
    tree = grow([Row([1, 2, 5], [2], 1), Row([1, 2, 3, 4], [1, 3], 1), Row([1, 2], [1], 1)])
    assert tree.ids == [1, 2, 3, 4, 5]
    assert tree.parents == [-1, 0, 1, 2, 1]
    assert tree.ends == [4, 1, 3, 1]  # in the order of the rows
    assert depths(tree.parents) == [0, 1, 2, 3, 2]
    assert ancestors(tree.parents).astype(int).tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]


def branching(seed: int, count: int = 40) -> list[Example]:
    """Examples of four prompts whose rows go on from one another at random places."""
    rng = random.Random(seed)
    found: list[Example] = []
    rows: list[Row] = [Row([rng.randrange(5, 90) for _ in range(6)], [5], 6) for _ in range(4)]
    while len(found) < count:
        start = rng.choice(rows)
        ids = start.ids[: rng.randint(6, len(start.ids))] + [rng.randrange(5, 90) for _ in range(rng.randint(1, 9))]
        rows.append(Row(ids, sorted({rng.randrange(6, len(ids)), len(ids) - 1}), 6))
        ends = rows[-1].ends
        found.append(Example(rows[-1], [rng.random() for _ in ends], [1 + rng.random() for _ in ends]))
    return found


@pytest.mark.parametrize("tokens", [1, 30, 10_000])
def test_states_are_those_of_each_row_by_itself(tokens: int) -> None:
    torch.manual_seed(0)
    sizes = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    trunk = Qwen2Model(Qwen2Config(**sizes, num_attention_heads=4, num_key_value_heads=2, initializer_range=0.3)).eval()
    examples = branching(1)
    trees = grown(examples, tokens)
    rows = [tree.row for tree in trees]
    assert all(len(row.ids) <= tokens or len(set(row.parents)) == len(row.ids) for row in rows)  # or one solution
    assert len(trees) == (4 if tokens == 10_000 else len(trees))
    assert sum(len(row.ids) for row in rows) <= sum(len(e.row.ids) for e in examples)
    alone: dict[tuple, torch.Tensor] = {}
    for e in examples:
        for end, target, state in zip(e.row.ends, e.targets, states_at(trunk, [e.row], [0]), strict=True):
            alone[target, e.row.ids[end], end] = state
    found = tree_states_at(trunk, rows, range(len(rows)))
    places = [(row, end) for row in rows for end in row.ends]
    targets = [y for tree in trees for y in tree.targets]
    assert len(targets) == len(alone) == len(found)
    for (row, end), target, state in zip(places, targets, found, strict=True):
        torch.testing.assert_close(state, alone[target, row.ids[end], depths(row.parents)[end]], atol=1e-4, rtol=1e-4)


def test_the_loss_and_its_gradient_are_those_of_the_solutions() -> None:
    tokenizer = toy_tokenizer()
    model, found = toy_classifier(tokenizer), []
    for states_of, examples in ((states_at, branching(2)), (tree_states_at, grown(branching(2), 50))):
        model.zero_grad()
        step_loss(trainable_logits(model, FORMATS[RUNG], tokenizer, states_of=states_of), examples).backward()
        found.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    torch.testing.assert_close(found[1], found[0], atol=1e-4, rtol=1e-4)
