"""The verdict on a solution's final answer: extract it, then compare it with the gold one."""

import re
from collections.abc import Sequence
from functools import lru_cache

from verifiers.choices import choice, extract_choice, options
from verifiers.effort import metered
from verifiers.equal import Decision, decide, read, same_numbers
from verifiers.extract import DEFAULT_RULES, Extraction, Rule, extract_answer
from verifiers.policy import DEFAULT_POLICY, Policy
from verifiers.solution import Problem, Solution, Verdict
from verifiers.units import measure
from verifiers.words import UNITS


def verify(
    problem: Problem, text: str, *, policy: Policy = DEFAULT_POLICY, rules: Sequence[Rule] = DEFAULT_RULES
) -> Verdict:
    """Whether the final answer in ``text`` equals ``problem.answer``.

    The gold answer may be bare, in ``$`` or ``\\boxed``, or a whole reference solution.  Where it is an option's letter
    the letter that the text settles on is compared; options listed in the question, "(A) 5 (B) 6", let either side give
    the option's text instead.  An unreadable gold answer makes the verdict "unparsable", never "match" (unless the
    prediction is the same text).  Never raises on any text.
    """
    with metered():
        return _verify(problem, text, policy, rules)


def _verify(problem: Problem, text: str, policy: Policy, rules: Sequence[Rule]) -> Verdict:
    gold = gold_answer(problem.answer)
    letter = choice(gold)
    if letter is not None:
        return _verify_choice(problem, letter, text, policy, rules)
    found = extract_answer(text, rules)
    if found is None:
        return Verdict(False, None, "no answer")
    found = _with_unit(found, text) if found.rule == "last line" and _unit(gold) else found
    decision = decide(gold, found.text, policy)
    if decision.verdict is not True and (named := choice(read(found.text).text)) is not None:
        option = options(problem.question).get(named[0])
        if option is not None:
            decision = decide(gold, option, policy)
    return _verdict(decision, found)


def verify_solution(solution: Solution) -> Verdict:
    """``verify`` of a solution's own problem and text, with the default policy."""
    return verify(solution.problem, solution.text)


def verify_plain(gold: str, text: str, rules: Sequence[Rule] = DEFAULT_RULES) -> Verdict | None:
    """``verify`` where the gold answer and the one in ``text`` are plain numbers, which takes microseconds; None
    elsewhere."""
    if same_numbers(gold, gold) is None:
        return None
    found = extract_answer(text, rules)
    same = same_numbers(gold, found.text) if found is not None else None
    return None if same is None or found is None else Verdict(same, found.text, "match" if same else "mismatch")


@lru_cache(maxsize=2)
def _unit_pattern() -> re.Pattern[str]:
    names = "|".join(sorted((re.escape(name) for name in UNITS if name != "in"), key=len, reverse=True))
    named = rf"(?:(?:square|cubic|sq) )?(?:{names})(?:\^?[23]|[²³]| squared| cubed)?"
    return re.compile(rf"\s?{named}(?:(?: per |\s?/\s?){named})?(?![\w^])")


def _unit(gold: str) -> bool:
    tree = read(gold).tree
    return tree is not None and tree.op == "unit" and measure(str(tree.value)) is not None


def _with_unit(found: Extraction, text: str) -> Extraction:
    """A sentence's number with the unit after it, for a gold answer that has one: 12 m is not 12 cm."""
    unit = _unit_pattern().match(text, found.end)
    return Extraction(text[found.start : unit.end()], found.start, unit.end(), found.rule) if unit else found


def _verdict(decision: Decision, found: Extraction) -> Verdict:
    if decision.verdict is None:
        return Verdict(False, found.text, "timeout" if decision.rung == "time" else "unparsable")
    return Verdict(decision.verdict, found.text, "match" if decision.verdict else "mismatch")


def _verify_choice(
    problem: Problem, gold: tuple[str, str], text: str, policy: Policy, rules: Sequence[Rule]
) -> Verdict:
    letter, gold_text = gold
    named = extract_choice(text, rules)
    if named is not None:
        return Verdict(named.text == letter, named.text, "match" if named.text == letter else "mismatch")
    found = extract_answer(text, rules)
    if found is None:
        return Verdict(False, None, "no answer")
    listed = options(problem.question)
    matching = [name for name, option in listed.items() if decide(option, found.text, policy).verdict]
    if matching:
        return Verdict(matching == [letter], found.text, "match" if matching == [letter] else "mismatch")
    if gold_text or letter in listed:
        return _verdict(decide(gold_text or listed[letter], found.text, policy), found)
    return _verdict(decide(letter, found.text, policy), found)


@lru_cache(maxsize=4096)
def gold_answer(answer: str) -> str:
    """The final answer of a gold field, which may be a whole reference solution."""
    if "\\boxed" not in answer and "\\fbox" not in answer and "####" not in answer:
        reading = read(answer)
        if reading.tree is not None or len(answer.split()) < 4:
            return reading.text if reading.tree is not None and choice(reading.text) else answer
    found = extract_answer(answer)
    return found.text if found is not None else answer
