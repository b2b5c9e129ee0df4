"""Trees of steps, where several solutions share their beginnings, and the paths through them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Node(Generic[T]):
    """A step, what was said of it, and the steps that follow it in one solution or another."""

    text: str
    judgement: T
    children: "tuple[Node[T], ...]"


def joined_siblings(nodes: Iterable[Node[T]], settle: Callable[[list[T]], T]) -> tuple[Node[T], ...]:
    """Nodes of equal text made one, in the order they first appear: the same step after the same steps.

    ``settle`` makes one judgement of the several that were said of it.
    """
    alike: dict[str, list[Node[T]]] = {}
    for node in nodes:
        alike.setdefault(node.text, []).append(node)
    joined = []
    for text, group in alike.items():
        below = [child for node in group for child in node.children]
        children = joined_siblings(below, settle) if len(group) > 1 else group[0].children
        joined.append(Node(text, settle([node.judgement for node in group]), children))
    return tuple(joined)


def paths(roots: tuple[Node[T], ...]) -> list[tuple[tuple[str, ...], tuple[T, ...], int]]:
    """(texts, judgements, new_from) from each root to each leaf; the first ``new_from`` steps are in an earlier path.

    Counted from there, each node appears in exactly one path.
    """
    found = []
    trail: list[Node[T]] = []
    fresh = 0
    stack = [(0, node) for node in reversed(roots)]  # not recursion: a solution may have thousands of steps
    while stack:
        depth, node = stack.pop()
        del trail[depth:]
        trail.append(node)
        fresh = min(fresh, depth)
        stack += [(depth + 1, child) for child in reversed(node.children)]
        if not node.children:
            found.append((tuple(n.text for n in trail), tuple(n.judgement for n in trail), fresh))
            fresh = len(trail)
    return found
