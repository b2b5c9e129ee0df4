"""Two parsed answers compared by their structure: lists, tuples, sets, matrices, statements; scalars at the leaves."""

from typing import Literal

from verifiers.nodes import Node, difference, key, number, symbols
from verifiers.policy import Policy
from verifiers.rounding import rounded
from verifiers.scalar import same_value
from verifiers.sets import real_set, same_set
from verifiers.shape import (
    ORDER,
    Item,
    all_equal,
    beside_a_time,
    composite,
    coordinates,
    core,
    counted,
    different_names,
    entries,
    is_collection,
    is_sequence,
    item_key,
    items,
    lettered,
    measured,
    names,
    opposed,
    plain_words,
    proportion,
    residue,
    same_mark,
    set_like,
    stated,
    unconditioned,
)
from verifiers.spoken import spoken
from verifiers.units import measure
from verifiers.words import NO_SOLUTION, REALS, SYNONYMS

Rung = Literal["string", "canonical form", "exact", "numeric", "structure", "limit", "time"]
_COST = {r: cost for cost, r in enumerate(("string", "canonical form", "exact", "structure", "numeric", "limit"))}

MAX_ITEMS = 24  # of an unordered list: comparing them is quadratic


class Comparison:
    """One comparison; ``rung`` is the dearest rung it needed and ``detail`` the first difference found."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.rung: Rung = "canonical form"
        self.detail = ""

    def note(self, rung: Rung) -> None:
        self.rung = max(self.rung, rung, key=_COST.__getitem__)

    def differ(self, why: str) -> bool:
        self.detail = self.detail or why
        return False

    def same(self, a: Node, b: Node) -> bool | None:
        """True, False, or None where it cannot be told."""
        a, b = core(a), core(b)
        a, b = unconditioned(a, b)
        if a == b:
            return True
        if (a.op == "clock") != (b.op == "clock"):
            a, b = beside_a_time(a, b), beside_a_time(b, a)
        if "text" in (a.op, b.op):
            return self.same_text(a, b)
        if a.op == b.op and a.op in ("base", "clock"):
            return same_mark(a, b) or self.differ("different numerals, bases or times")
        if "mod" in (a.op, b.op):
            return self.same_modulo(a, b)
        if set_like(a) or set_like(b):
            verdict = self.same_sets(a, b)
            if verdict is not None:
                return verdict
        if a.op == "matrix" or b.op == "matrix":
            return self.same_matrix(a, b)
        if "ratio" in (a.op, b.op):
            return self.same_ratio(a, b)
        if is_sequence(a) and is_sequence(b):
            return self.same_sequence(a, b)
        if is_collection(a) or is_collection(b):
            return self.same_collection(a, b)
        if a.op == "chain" or b.op == "chain":
            return self.same_statement(a, b)
        if any(side.op in ("group", "setop", "base", "clock") for side in (a, b)):
            return self.structural(a, b)
        return self.same_scalar(a, b)

    # --- leaves

    def same_scalar(self, a: Node, b: Node) -> bool | None:
        (value_a, kind_a), (value_b, kind_b) = measured(a), measured(b)
        if (measure(kind_a) is None) != (measure(kind_b) is None):  # "1 m" beside "100 cm" is no product
            (value_a, kind_a), (value_b, kind_b) = lettered(value_a, kind_a), lettered(value_b, kind_b)
        if kind_a == kind_b == "" or (kind_a == kind_b and kind_a in "%°"):
            return self.value(value_a, value_b)
        kinds = {kind_a, kind_b}
        if opposed(kind_a, kind_b):
            return self.differ(f"{kind_a} and {kind_b} exclude each other")
        if any(kind.startswith("%") for kind in kinds):
            return self.same_percent(value_a, value_b, kind_a[:1], kind_b[:1])
        if "°" in kinds:
            sides = ((value_a, kind_a), (value_b, kind_b))
            angles = [Node("degree", (value,)) if kind == "°" else value for value, kind in sides]
            if "" in kinds:
                return (self.policy.degrees_optional and self.value(value_a, value_b)) or self.value(*angles)
            if measure(max(kinds - {"°"})) != measure("rad"):
                return self.differ("an angle and another measure")
            return self.value(*angles)
        if "" in kinds:
            if not self.policy.units_optional:
                return self.differ("one has a unit and the other has none")
            return self.value(value_a, value_b)
        measure_a, measure_b = measure(kind_a), measure(kind_b)
        if measure_a is None or measure_b is None:
            return self.value(value_a, value_b)
        if measure_a[0] != measure_b[0]:
            return self.differ(f"{kind_a} and {kind_b} measure different things")
        scaled = Node("mul", (value_a, number(measure_a[1]))), Node("mul", (value_b, number(measure_b[1])))
        return self.value(*scaled)

    def same_percent(self, a: Node, b: Node, kind_a: str, kind_b: str) -> bool | None:
        if kind_a == kind_b:
            return self.value(a, b)
        if "" not in (kind_a, kind_b):
            return self.differ("a percentage and a measure")
        verdicts: list[bool | None] = [self.value(a, b)] if self.policy.percent_sign_optional else []
        if self.policy.percent_is_fraction:
            whole, part = (b, a) if kind_a == "%" else (a, b)
            verdicts.append(self.value(Node("div", (part, number(100))), whole))
        return True if True in verdicts else None if None in verdicts else False

    def value(self, a: Node, b: Node) -> bool | None:
        verdict, rung = same_value(a, b)
        if verdict is False and rounded(a, b, self.policy.rounding_digits):
            verdict, rung = True, "numeric"
        self.note(rung)
        if verdict is False:
            self.differ("the values differ")
        return verdict

    def same_text(self, a: Node, b: Node) -> bool | None:
        words = [plain_words(str(side.value)) if side.op == "text" else None for side in (a, b)]
        if words[0] is not None and words[1] is not None:
            return words[0] == words[1] or any(s.issuperset(words) for s in SYNONYMS) or self.differ("different words")
        text, other = (words[0], b) if words[0] is not None else (words[1], a)
        if text in NO_SOLUTION and other == Node("sym", (), "∅"):
            return True
        if text in REALS:
            return self.same(Node("sym", (), "set R"), other)
        said = spoken(str(text))  # "three", "three apples"
        if said is not None:
            unit = plain_words(measured(other)[1])
            if said[1] in ("", unit) or (self.policy.units_optional and not unit):
                return self.same(number(said[0]), measured(other)[0] if said[1] else other)
        return self.differ("words and mathematics")

    # --- several values

    def same_sets(self, a: Node, b: Node) -> bool | None:
        left, right = real_set(a), real_set(b)
        if left is None or right is None:
            return None
        if len({frozenset(unknowns) for side in (a, b) if (unknowns := symbols(side) - {"set R", "∅"})}) == 2:
            return self.differ("sets of different unknowns")
        self.note("structure")
        verdict = same_set(left, right)
        return self.differ("different sets of reals") if verdict is False else verdict

    def same_matrix(self, a: Node, b: Node) -> bool | None:
        self.note("structure")
        items_a, shape_a = entries(a)
        items_b, shape_b = entries(b)
        if items_a is None or items_b is None:
            if "chain" in (a.op, b.op):
                return self.same_statement(a, b)
            return self.differ("only one is a matrix")
        flat = "tuple" in (shape_a, shape_b) and 1 in (shape_b if shape_a == "tuple" else shape_a or (1,))  # type: ignore[operator]
        if not flat and shape_a != shape_b:
            return self.differ("matrices of different shapes")
        return self.all_same(items_a, items_b)

    def same_sequence(self, a: Node, b: Node) -> bool | None:
        self.note("structure")
        if a.value != b.value and (len(a.args) == 2 or {str(a.value), str(b.value)} & {"(]", "[)"}):
            return self.differ("different brackets")
        return self.all_same(a.args, b.args)

    def all_same(self, left: tuple[Node, ...], right: tuple[Node, ...]) -> bool | None:
        if len(left) != len(right):
            return self.differ(f"{len(left)} parts and {len(right)} parts")
        outcome: bool | None = True
        for x, y in zip(left, right, strict=True):
            verdict = self.same(x, y)
            if verdict is False:
                return False
            outcome = outcome and verdict
        return outcome

    def same_ratio(self, a: Node, b: Node) -> bool | None:
        self.note("structure")
        if a.op == b.op == "ratio":
            if len(a.args) != len(b.args):
                return self.differ("ratios of different lengths")
            first_a, first_b = a.args[0], b.args[0]
            crossed = [
                self.value(Node("mul", (x, first_b)), Node("mul", (y, first_a)))
                for x, y in zip(a.args[1:], b.args[1:], strict=True)
            ]
            return False if False in crossed else None if None in crossed else True
        ratio, other = (a, b) if a.op == "ratio" else (b, a)
        if other.op == "chain":
            return self.same_statement(a, b)
        if len(ratio.args) != 2 or is_collection(other) or other.op in ("group", "matrix", "clock", "base"):
            return self.differ("a ratio and something else")
        return self.same(Node("div", ratio.args), other) or self.differ("a ratio and another value")

    def same_collection(self, a: Node, b: Node) -> bool | None:
        """Solutions in any order, named ("x = 2, y = 3") or not; a bare list may also stand for a tuple, in order."""
        self.note("structure")
        a, b = (coordinates(a) if b.op == "list" else a), (coordinates(b) if a.op == "list" else b)
        items_a, items_b = counted(self.distinct(a), self.distinct(b))
        named_a, named_b = names(items_a), names(items_b)
        if items_a and items_b and bool(named_a) != bool(named_b) and not self.policy.names_optional:
            return self.differ("only one names its values")
        tupled = next((x for x in (a, b) if x.op == "group" and x.value != "{}" and len(items(x)) == 1), None)
        if tupled is not None:
            other = items_b if tupled is a else items_a
            if len(other) > 1 and (tupled.value == "()" and "{}" not in (a.value, b.value)):
                return self.all_same(tuple(v for _, v in other), tupled.args)
        if different_names(items_a, items_b):
            return self.differ("values of different names")
        if named_a and named_b:
            return self.matched(items_a, items_b, names=True)
        if self.policy.ordered_lists and "{}" not in (a.value, b.value):
            return self.all_same(tuple(v for _, v in items_a), tuple(v for _, v in items_b))
        return self.matched(items_a, items_b, names=False)

    def matched(self, left: list[Item], right: list[Item], *, names: bool) -> bool | None:
        """Whether each item has an equal partner on the other side."""
        if len(left) != len(right):
            return self.differ(f"{len(left)} values and {len(right)} values")
        if len(left) > MAX_ITEMS:
            return True if sorted(map(item_key, left)) == sorted(map(item_key, right)) else None
        unmatched, unsure = list(right), False
        for name, value in left:
            for index, (other_name, other) in enumerate(unmatched):
                if names and name != other_name:
                    continue
                verdict = Comparison.same(self.quietly(), value, other)
                unsure = unsure or verdict is None
                if verdict:
                    del unmatched[index]
                    break
            else:
                return None if unsure else self.differ("a value of one is missing in the other")
        return True

    def quietly(self) -> "Comparison":
        """A comparison for one of several candidates: its differences are no reason for the verdict."""
        inner = Comparison(self.policy)
        inner.rung = self.rung
        return inner

    def distinct(self, node: Node) -> list[Item]:
        """The solutions that a node lists, each once ("15 39/40 or 639/40"); "75, 75" stays two, as do p = q = 2."""
        listed = items(node)
        if len(listed) > MAX_ITEMS:
            return list({item_key(item): item for item in listed}.values())
        kept: list[Item] = []
        for name, value in listed:
            if name is not None or not any(self.quietly().same(value, other) for _, other in kept):
                kept.append((name, value))
        return listed if len(kept) == len({item_key(item) for item in listed}) == 1 else kept

    # --- statements

    def same_statement(self, a: Node, b: Node) -> bool | None:
        self.note("structure")
        if a.op == b.op == "chain":
            return self.same_chains(a, b)
        statement, value = (a, b) if a.op == "chain" else (b, a)
        meant = stated(statement)
        if meant is None and all_equal(statement):
            meant = self.numeric_statement(statement)
        if meant is None or not self.policy.names_optional:
            return self.differ("a statement and a value that it does not state")
        return self.same(meant, value)

    def numeric_statement(self, statement: Node) -> Node | None:
        """The value that "17 mod 5 = 2" states, if it is true."""
        if any(symbols(side) for side in statement.args):
            return None
        true = all(self.quietly().same(x, y) for x, y in zip(statement.args, statement.args[1:], strict=False))
        return statement.args[-1] if true else None

    def same_chains(self, a: Node, b: Node) -> bool | None:
        if all_equal(a) and all_equal(b):
            return self.same_equations(a, b)
        if len(a.args) == len(b.args) == 2 and {a.value[0], b.value[0]} <= set(ORDER):  # type: ignore[index]
            return self.same_inequality(a, b)
        if a.value == b.value and len(a.args) == len(b.args):
            return self.all_same(a.args, b.args)
        return self.differ("different statements")

    def same_equations(self, a: Node, b: Node) -> bool | None:
        """The same sides, or left minus right proportional: "2x + 4y = 3" and "y = 3/4 - x/2"."""
        if len(a.args) == len(b.args) and self.quietly().all_same(a.args, b.args):
            return True
        if len(a.args) != 2 or len(b.args) != 2:
            last_a, last_b = stated(a), stated(b)
            if last_a is not None and last_b is not None and a.args[0] == b.args[0]:
                return self.same(last_a, last_b)
            return self.differ("different equations")
        if any(composite(side) for side in (*a.args, *b.args)):
            if key(a.args[0]) == key(b.args[0]):
                return self.same(a.args[1], b.args[1])
            return self.differ("different equations")
        if self.quietly().all_same(a.args, b.args[::-1]):
            return True
        scale = proportion(difference(*a.args), difference(*b.args))
        return scale is not None or self.differ("the equations have different solutions")

    def same_inequality(self, a: Node, b: Node) -> bool | None:
        sign_a, sign_b = str(a.value[0]), str(b.value[0])  # type: ignore[index]
        scale = proportion(difference(*a.args), difference(*b.args))
        if scale is None:
            return self.differ("different inequalities")
        return (sign_a if scale > 0 else ORDER[sign_a]) == sign_b or self.differ("inequalities the other way round")

    def same_modulo(self, a: Node, b: Node) -> bool | None:
        if a.op == b.op == "mod":
            return self.all_same((residue(a.args[0]), a.args[1]), (residue(b.args[0]), b.args[1]))
        with_modulus, other = (a, b) if a.op == "mod" else (b, a)
        return self.same(residue(with_modulus.args[0]), other)

    def structural(self, a: Node, b: Node) -> bool | None:
        """Part by part, for what has no value: symbolic intervals, unions of named sets."""
        self.note("structure")
        if a.op != b.op or a.value != b.value or len(a.args) != len(b.args) or not a.args:
            return self.differ("different kinds of answer")
        verdict = self.quietly().all_same(a.args, b.args)
        if verdict is False and a.op == "setop" and a.value in ("cup", "cap"):
            verdict = self.quietly().all_same(a.args, b.args[::-1])
        return self.differ("different parts") if verdict is False else verdict
