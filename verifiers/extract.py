"""Finding the final answer in a model's text: which characters are the answer, and which rule says so.

Every scan is linear in the text, whatever the text: braces are matched with a counter, never with a regular expression.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from verifiers.boxes import MAX_BOX, Found, Span, boxed, trimmed

Rule = Literal["boxed", "tag", "hashes", "the answer is", "answer:", "A:", "bold", "last line", "whole text"]

DEFAULT_RULES: tuple[Rule, ...] = ("boxed", "tag", "hashes", "the answer is", "answer:", "A:", "bold", "last line")

MAX_TEXT = 100_000  # characters from the end that are read at all
MAX_TAIL = 20_000  # characters from the end in which cues are looked for
MAX_CUES = 64


@dataclass(frozen=True)
class Extraction:
    """The answer as it stands in the text: ``text == source[start:end]`` unless several boxes were joined by ", "."""

    text: str
    start: int
    end: int
    rule: Rule


def extract_answer(text: str, rules: Sequence[Rule] = DEFAULT_RULES) -> Extraction | None:
    """The final answer in ``text`` by the first of ``rules`` that finds one; None where none does.

    Within a rule the last occurrence wins, so a later correction overrides what it corrects.  Text up to the last
    ``</think>`` is a draft and is not read when anything follows it.

    ========== ============================================================================================
    rule       takes
    ========== ============================================================================================
    boxed      the last ``\\boxed{...}`` or ``\\fbox{...}``, nested braces and all; boxes joined only by "and",
               "or", commas and a few words count as one answer of several parts; a box that the text breaks off in
               is skipped, and "the final answer is ..." after the box overrides it
    tag        ``<answer>...</answer>``
    hashes     the last line, after ``####``
    the answer "the (final) answer is ...", "the answer should be ...", to the end of the sentence
    is
    answer:    "Answer: ...", "Final answer: ...", {"answer": ...}, and the same in a few other languages
    A:         a line that starts with ``A:`` (GSM8K's model solutions)
    bold       the last ``**...**`` of the last line
    last line  in the last sentence of the last line that has one: its last formula, else the number that it
               states; else the whole line
    whole text everything, for texts that are an answer and nothing else; not one of the default rules
    ========== ============================================================================================
    """
    draft_end = text.rfind("</think>")
    base = draft_end + len("</think>") if draft_end >= 0 and text[draft_end + len("</think>") :].strip() else 0
    base = max(base, len(text) - MAX_TEXT)
    body = text[base:]
    for rule in rules:
        found = _FINDERS[rule](body)
        if (
            found is not None
            and rule == "boxed"
            and (later := _last_cue(_FINALLY, ("final answer is",), body, found[2])) is not None
        ):
            found, rule = later, "the answer is"
        if found is not None:
            answer, start, end = found
            return Extraction(answer, base + start, base + end, rule)
    return None


# --- cues ------------------------------------------------------------------------------------------------------------

_TAG = re.compile(r"<answer>", re.IGNORECASE)
_IS = re.compile(
    r"(?:answer|(?:choice|option)(?=\s\w+\W{1,8}[A-J]\b))\s(?:is|should be|must be|will be|would be)\b"
    r"(?:\s(?:definitely|clearly|therefore|thus|just|option|choice|equal to))?\s?:?",
    re.IGNORECASE,
)
_PROSE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_FINALLY = re.compile(r"\bfinal answer is\b(?=[^\n]{0,200}\w)", re.IGNORECASE)
_COLON = re.compile(
    r"(?:\b(?:answer|respuesta|réponse|antwort|ответ)\b[*_ ]{0,4}|答案[*_ ]{0,4})[:：][*_ ]{0,4}|答案(?:是|为)[:：]?",
    re.IGNORECASE,
)
_JSON = re.compile(r'"(?:final_?)?answer"\s?:\s?(?:"((?:[^"\\\n]|\\.)*)"|([-\d.,]*\d))', re.IGNORECASE)
_LETTER = re.compile(r"^[ \t]{0,8}A:", re.MULTILINE)
_AFTER_DISPLAY = re.compile(r"(?<=[.,]\$\$)\s+(?=[A-Z])|(?<=\\\])\s+(?=[A-Z])")
_SENTENCE_END = re.compile(r"[.!?](?=[\s\"')*]|<\||$)(?!\s?[=+/×÷])|\n|<\|")
_REASON = re.compile(r",? \(?(?:because|since)\b|, (?:and )?not \S")
_YES_OR_NO = re.compile(r"(?:yes|no|true|false)(?=[,;:]\s)", re.IGNORECASE)
_MATH_OPEN = re.compile(r"\$\$|\$|\\\(|\\\[")
_LISTED_FORMULA = re.compile(r"\s?,?\s?(?:and|or)?\s?(?:\$|\\\(|\\\[)(?=[^\s])")
_CUT_OFF = re.compile(r"(?:[-−–+*/=<>×÷·(,]|(?<=\d) x)\s*$")
_CLOSERS = {"$$": "$$", "$": "$", "\\(": "\\)", "\\[": "\\]"}
_NUMBER = re.compile(
    r"(?<![\w.:])[-+−–]?(?:\d{1,2}:\d\d(?![\d:])(?:\s?[aApP]\.?[mM]\b\.?)?|"
    r"(?:\d+(?:\.\d+)?)?\s?(?:π|[√∛]\d+|(?:√|∛|sqrt)\(\d+\))(?:/\d+)?(?!\w)|"
    r"[$€£]?\s?(?:\d{1,3}(?:[,\u202f\u2009]\d{3})+(?:\.\d+)?|\d+(?:[.,]\d+)?|\.\d+)"
    r"(?:\s?/\s?\d+)?(?:[eE][-+]?\d+)?\s?%?)"
)
_BOLD = re.compile(r"\*\*([^*\n]{1,400})\*\*")
_FILLER = re.compile(
    r"(?:I hope (?:it|this) is correct\.?|Let me know if [^\n]{0,80}|<\|[a-z_]{1,20}\|>[a-z]{0,10}|\s)+$"
)
_HEADING = re.compile(
    r"(?:final |the )?(?:answer|solution|result|conclusion)s?:?|(?:step|part|note|case)\b.*|.*:", re.I
)


def _tagged(body: str) -> Found | None:
    tags = list(_TAG.finditer(body)) if "<" in body else []
    if not tags:
        return None
    start = tags[-1].end()
    end = body.lower().find("</answer>", start)
    return trimmed(body, start, end if end >= 0 else len(body))


def _json(body: str) -> Found | None:
    """The value in ``{"answer": "42"}``."""
    fields = list(_JSON.finditer(body, max(0, len(body) - MAX_TAIL))) if '"' in body else []
    return trimmed(body, *fields[-1].span(fields[-1].lastindex or 0)) if fields else None


def _hashes(body: str) -> Found | None:
    """The line after ``####`` where nothing follows it: with text below, it is a heading."""
    at = body.rfind("####")
    if at < 0:
        return None
    end = body.find("\n", at)
    end = end if end >= 0 else len(body)
    return trimmed(body, at + 4, end) if not body[end:].strip() else None


def _last_cue(pattern: re.Pattern[str], words: tuple[str, ...], body: str, after: int = 0) -> Found | None:
    """The statement after the last cue that has one; ``words`` are those of which the pattern needs one."""
    tail = max(after, len(body) - MAX_TAIL)
    lowered = body[tail:].lower()
    if not any(word in lowered for word in words):
        return None  # most texts have none, and this is ten times faster than the pattern
    for cue in reversed(list(pattern.finditer(body, tail))[-MAX_CUES:]):
        found = _statement(body, cue.end())
        if found is not None:
            return found
    return None


def _statement(body: str, start: int) -> Found | None:
    """The answer in the sentence that starts here: a formula in front, what follows its last "is", or all of it."""
    while start < len(body) and body[start] in " \t\n*_:":
        start += 1
    opening = _MATH_OPEN.match(body, start)
    if opening and (formula := _formula(body, opening)):
        return formula
    if told := _YES_OR_NO.match(body, start):
        return trimmed(body, *told.span())
    end = _sentence_end(body, start)
    reason = _REASON.search(body, start + 1, end)
    end = reason.start() if reason else end
    verb = max(body.rfind(" is ", start, end), body.rfind(" are ", start, end), body.rfind(" be ", start, end))
    if verb >= 0:
        return _statement(body, verb + 4)
    while end > start and body[end - 1] in " *_":
        end -= 1
    return trimmed(body, start, end)


def _formula(body: str, opening: re.Match[str]) -> Found | None:
    """The content of the formula that opens here, with a unit or a second formula that it is listed with."""
    closer = _CLOSERS[opening.group()]
    close = body.find(closer, opening.end(), opening.end() + MAX_BOX)
    if close < 0 or (opening.group() == "$" and "\n" in body[opening.end() : close]):
        return None
    inner = body[opening.end() : close]
    if opening.group() == "$" and re.search(r"[A-Za-z]{2,} [A-Za-z]{2,}", re.sub(r"\\[a-z]+\{[^{}]*\}", "", inner)):
        return None  # "$100 in the bank and $5": prices, not a formula
    if opening.group() == "$" and (_CUT_OFF.search(inner) or (inner[:1].isdigit() and inner[-1:] == " ")):
        return None  # "$400 + $60 = $460", "$60 and $40"
    if _LISTED_FORMULA.match(body, close + len(closer)):
        return trimmed(body, opening.start(), _sentence_end(body, close + len(closer)))
    return trimmed(body, opening.end(), close)


def _sentence_end(body: str, start: int) -> int:
    """Where the sentence that starts at ``start`` ends; a full stop inside a formula or a number ends nothing."""
    end = _SENTENCE_END.search(body, start, start + MAX_BOX)
    return end.start() if end else min(len(body), start + MAX_BOX)


def _bold(body: str) -> Found | None:
    start, end = last_line(body)
    for bold in reversed(list(_BOLD.finditer(body, start, end))):
        if not _HEADING.fullmatch(bold.group(1).strip()):
            return trimmed(body, *bold.span(1))
    return None


def last_line(body: str) -> Span:
    """The last line that says anything, boilerplate such as "I hope it is correct." left out."""
    filler = _FILLER.search(body, max(0, len(body) - 300))
    end = filler.start() if filler else len(body)
    start = body.rfind("\n", 0, end) + 1
    return max(start, end - MAX_BOX), end


def _closing_line(body: str) -> Found | None:
    start, end = last_line(body)
    display = _display_at_end(body, end)
    if display is not None:
        return display
    start = label.end() if (label := _STEP_LABEL.match(body, start, end)) else start
    stops = [m.end() for pattern in (_SENTENCE_END, _AFTER_DISPLAY) for m in pattern.finditer(body, start, end)]
    cuts = sorted([start, *stops, end])
    for first, last in zip(reversed(cuts[:-1]), reversed(cuts[1:]), strict=True):
        if _DENIES.search(body, first, last):
            break  # "x = 15 is not a solution" gives no answer away
        found = _listed(body, first, last) or _last_formula(body, first, last) or _stated_number(body, first, last)
        if found is not None:
            return found
    told = _TOLD.match(body, start, end)
    return trimmed(body, *told.span(told.lastindex or 0)) if told else trimmed(body, start, end)


def _listed(body: str, start: int, end: int) -> Found | None:
    """What "the solutions are 1 and 2" and "the point is (1, 2)" list, and the end of "the degree of $p(x)$ is 15."."""
    listed = _SEVERAL.search(body, start, end) or _AFTER_FORMULA.search(body, start, end)
    return trimmed(body, *listed.span(listed.lastindex or 0)) if listed else None


_VALUE = r"(?:[A-Za-z]\w{0,3} ?= ?)?[-−–$]{0,2}(?:\d[\d.,/]*\d|\d|π|[√∛]\d+)%?"
_SEVERAL = re.compile(
    rf"\b(?:solutions|roots|answers|values|zeros|zeroes|numbers|integers)(?: [a-z]+){{0,4}} are:? "
    rf"({_VALUE}(?:,? (?:and |or )?{_VALUE}){{1,8}})(?=\W*$|[.;] )|"
    r"\bis (?:at )?(?=([(\[][^()\[\]A-Za-z$]{1,60},[^()\[\]A-Za-z$]{1,60}[)\]]))"
)
_AFTER_FORMULA = re.compile(rf"(?:\$|\\\)) is ({_VALUE})(?=\W{{0,9}}$)")
_STEP_LABEL = re.compile(r"\W{0,4}(?:step|part) \d{1,2} ?[:.)]\W{0,4} ", re.IGNORECASE)
# "Yes, because ...", "The capital is Paris."
_TOLD = re.compile(
    r"(yes|no|true|false)[,.;:](?= )|[^\d=]{1,200}? (?:is|are) (?!not )((?:[A-Z]\w+ ?){1,4})\W*$", re.IGNORECASE
)


def _last_formula(body: str, start: int, end: int) -> Found | None:
    last: Found | None = None
    for _ in range(MAX_CUES):
        opening = _MATH_OPEN.search(body, start, end)
        if opening is None:
            break
        close = body.find(_CLOSERS[opening.group()], opening.end(), end)
        formula = _formula(body, opening) if close >= 0 else None
        last = formula or last
        start = max(formula[2], close + len(opening.group())) if formula else opening.end()
    return last


_VERBS = (
    re.compile(r"=|\b(?:is|are|was|were|equals?|becomes?|became|rounds? (?:up |down )?to)\b", re.I),
    re.compile(
        r"\b(?:will|would|has|have|had|needs?|costs?|makes?|made|pays?|paid|saved?|saves|earns?|earned|used|uses|gets?|got|be|"
        r"spent|spends?|took|takes?|ate|eats?|can|should|must|worth|sold|gave|gained|lost|left)\b",
        re.I,
    ),
)
# Calculator marks stand in sentences only.
_LEADS_TO = re.compile(r"<<|\b(?:gives?|giving|gets?|getting|obtain(?:s|ed)?|yields?|costs?|becomes?)\b", re.I)
_BARE_LATEX = re.compile(r"\s*-?\\(?=[a-z])")
_DENIES = re.compile(
    r"\b(?:is|are|was|were)(?: (?:definitely|certainly|clearly|surely))? not [-$\\(]{0,3}\d|"
    r"\b(?:(?:is|are) not|(?:is|are)n['’]t) (?:an?|the|valid|possible|correct|right|allowed|in)\b|"
    r"\b(?:(?:do|does|can|could) ?not|(?:do|does|ca|could)n['’]t) (?:work|satisfy|hold|fit|exist|be|have)\b",
    re.I,
)
_CONCLUDES = re.compile(r"\s*(?:So|Thus|Therefore|Hence)\b")


def _stated_number(body: str, start: int, end: int) -> Found | None:
    """The number that a sentence states: after its last "=", else after its verb; None where it is no sentence.

    "In 4 weeks she will eat 7 dozen eggs in 3 meals" states 7.  On GSM8K's own last sentences this finds the gold
    answer in 99.3 %, against 97.2 % for the last number.
    """
    sentence = body[start:end]
    words = _PROSE.findall(sentence)
    plain = len(words) < 4 and sum(len(w) > 2 for w in words) < 3 and (len(words) < 3 or "=" in sentence)
    plain = plain and not _LEADS_TO.search(sentence) and not (len(words) > 1 and _VERBS[1].search(sentence))
    numbers = list(_NUMBER.finditer(body, start, end))
    if not numbers or (plain and not re.search(r"[A-Za-z]{2} ?:", sentence)):
        return None
    after = body.rfind("=", start, end)
    for pattern in _VERBS:
        for verb in [pattern.search(body, start, end)] if after < 0 else [pattern.match(body, after)]:
            if verb and _BARE_LATEX.match(body, verb.end(), end):
                return trimmed(body, verb.end(), end)  # LaTeX without its dollar signs
            following = [number for number in numbers if verb and number.start() >= verb.end()]
            if following:
                return trimmed(body, *following[0].span())
    return trimmed(body, *numbers[0 if _CONCLUDES.match(sentence) else -1].span())


def _display_at_end(body: str, end: int) -> Found | None:
    """A displayed formula, perhaps over several lines, that the text ends with."""
    tail = body[max(0, end - MAX_BOX) : end].rstrip(" .\n")
    end = max(0, end - MAX_BOX) + len(tail)
    for opener, closer in (("$$", "$$"), ("\\[", "\\]")):
        if tail.endswith(closer):
            start = body.rfind(opener, 0, end - len(closer))
            return trimmed(body, start + len(opener), end - len(closer)) if start >= 0 else None
    return None


_FINDERS: dict[Rule, Callable[[str], Found | None]] = {
    "boxed": boxed,
    "tag": _tagged,
    "hashes": _hashes,
    "the answer is": lambda body: _last_cue(_IS, ("answer", "choice", "option"), body),
    "answer:": lambda body: (
        _json(body) or _last_cue(_COLON, ("answer", "答案", "respuesta", "réponse", "antwort", "ответ"), body)
    ),
    "A:": lambda body: _last_cue(_LETTER, ("a:",), body),
    "bold": _bold,
    "last line": _closing_line,
    "whole text": lambda body: trimmed(body, 0, len(body)),
}
