"""LaTeX and plain mathematics cut into tokens.

A token is ``(kind, value)``.  Kinds: "num" (its digits), "numeral" (digits above 9 too), "sym", "const", "func", "text"
(words), "op" (a sign or a bracket), "begin" and "end" (an environment), "big" (integrals, sums), "accent",
"differential", "end of text".  Spacing, sizes and styles leave no token.
One pass, no backtracking: every character is looked at a bounded number of times.
"""

import re

from verifiers.boxes import matching_brace
from verifiers.commands import ACCENTS, CONSTANTS, ESCAPED, RENAMED, SKIPPED, SPACING, TEXTUAL, WITH_ARGUMENT, Token
from verifiers.nodes import Unreadable
from verifiers.units import measure
from verifiers.words import ATTACHED, FUNCTIONS, GREEK, ONLY_LATEX, ORDINALS, PLAIN_GREEK, SEPARATORS, UNITS, vocabulary

MAX_TOKENS = 800
MAX_LEVELS = 6

_GROUPED = r"\d{1,3}(?:(?:\s?\{\s?,\s?\}\s?|,\s?\\[!,]\s?|\\!\s?,\s?|\\[,!]\s?|\{\\,\}|\\[ ;:]|~)\d{3})+(?!\d)"
_PLAIN_GROUPED = r"\d{1,3}(?:,\d{3})+(?![\d,])"
_DIGITS = r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,4}(?![\w.]))?"
_NUMBER = re.compile(rf"{_GROUPED}(?:\.\d+)?|{_DIGITS}")
_NUMBER_COMMAS = re.compile(rf"(?:{_GROUPED}|{_PLAIN_GROUPED})(?:\.\d+)?|{_DIGITS}")
_REPEATING = re.compile(r"(\d*\.\d*)\\(?:overline|bar|dot)\{?(\d+)\}?")
_GOES_ON = re.compile(r"(\d*\.\d{0,12}?)(?:(\d)\2{2,20}|(\d{2,6})\3{1,6})(?:\.\.\.+|\\[lc]?dots)$")  # "0.333..."
_BASE_ABOVE_TEN = re.compile(r"\s*_\s*\{?\s*(?:1[1-9]|2\d|3[0-6]|\\text)")
_HEXADECIMAL = re.compile(r"\d[0-9A-F]*[A-F][0-9A-F]*(?=_\{?\d)|[A-F]+\d[0-9A-F]*(?=_\{?\d)", re.IGNORECASE)
_OTHER_GROUPED = re.compile(r"[-+]?\d{1,3}(?:(?: \d{3})+|(?:'\d{3})+|(?:_\d{3})+)(?:\.\d+)?")
_DOT_GROUPED = re.compile(
    r"(?:\\euro |\\pounds |\\?\$)?\s*(?:[-+]?\d{1,3}(?:\.\d{3}){2,}(?:,\d+)?|[-+]?\d{1,3}\.\d{3},\d{1,2})(?:\s*\\euro)?"
)
_TIMES_TEN = re.compile(r"\s*10\s*\^")
_WORD = re.compile(r"[A-Za-z]+")
_COMMAND = re.compile(r"\\([A-Za-z]+)\*?\s*|\\(.)", re.DOTALL)
_ENVIRONMENT = re.compile(r"\\(begin|end)\s*\{([A-Za-z]+)\*?\}(?:\s*\{[^{}]{0,40}\}|\s*\[[^\]]{0,40}\])?")
_HALF_DAY = re.compile(r"\b([aApP])\.\s?[mM]\b\.?")
_BLACKBOARD = re.compile(r"\\(?:mathbb|mathds|Bbb)\s*\{?\s*([A-Z])\s*\}?")
_LONG_OP = re.compile(r"<=|>=|!=|<>|==|\*\*|->|=>|\.\.\.+|:=")
_OPS = {"<=": "≤", ">=": "≥", "!=": "≠", "<>": "≠", "==": "=", ":=": "=", "**": "^", "->": "→", "=>": "⇒"}


class Lexer:
    """Cuts one text; ``commas`` says whether "1,234" outside brackets is one number."""

    def __init__(self, text: str, commas: bool, level: int = 0) -> None:
        if level > MAX_LEVELS:
            raise Unreadable(f"more than {MAX_LEVELS} text commands inside each other")
        self.text, self.commas, self.level = text, commas, level
        self.tokens: list[Token] = []
        self.depth = 0  # brackets open, where "1,234" is two elements
        self.differentials = "\\int" in text

    def run(self) -> list[Token]:
        text = self.text
        if self.commas and _OTHER_GROUPED.fullmatch(text):
            text = self.text = re.sub("[ '_]", "", text)
        elif self.commas and _DOT_GROUPED.fullmatch(text):  # "1.234.567,89"
            text = self.text = text.replace(".", "").replace(",", ".")
        text = self.text = _HALF_DAY.sub(r"\1m", text) if ".m" in text.lower() or ". m" in text.lower() else text
        at, size = 0, len(text)
        while at < size:
            if len(self.tokens) > MAX_TOKENS:
                raise Unreadable(f"more than {MAX_TOKENS} tokens")
            character = text[at]
            if character == " " or character == "~":
                at += 1
            elif character.isalnum() and (digits := _HEXADECIMAL.match(text, at)):
                self.tokens.append(("numeral", digits.group().upper()))
                at = digits.end()
            elif character.isdigit() or (character == "." and text[at + 1 : at + 2].isdigit()):
                at = self.number(at)
            elif character == "\\":
                at = self.command(at)
            elif character.isascii() and character.isalpha():
                at = self.word(at)
            else:
                at = self.sign(at)
        return self.tokens

    def number(self, at: int) -> int:
        repeating = _REPEATING.match(self.text, at)
        if repeating:
            self.tokens.append(("num", f"{repeating.group(1)}({repeating.group(2)})"))
            return repeating.end()
        goes_on = _GOES_ON.match(self.text, at)
        if goes_on:
            self.tokens.append(("num", f"{goes_on.group(1)}({goes_on.group(2) or goes_on.group(3)})"))
            return goes_on.end()
        pattern = _NUMBER_COMMAS if self.commas and self.depth == 0 else _NUMBER
        found = pattern.match(self.text, at)
        if found is None or not found.group().isascii():
            raise Unreadable("a digit of another script")
        self.tokens.append(("num", re.sub(r"[^\d.eE+-]", "", found.group())))
        return found.end()

    def sign(self, at: int) -> int:
        character = self.text[at]
        long = _LONG_OP.match(self.text, at)
        if long:
            sign = long.group()
            self.tokens.append(("sym", "…") if sign.startswith("...") else ("op", _OPS[sign]))
            return long.end()
        if character == "$":
            if self.text[at + 1 : at + 2] == "$":
                at += 1
        elif character in "()[]{}|+-*/^_=<>,;:!%'&?\"#@":
            if character in "([":
                self.depth += 1
            elif character in ")]":
                self.depth -= 1
            if character in '?"#@':
                raise Unreadable(f"the sign {character}")
            self.tokens.append(("op", character))
        else:
            raise Unreadable(f"the character {character!r}")
        return at + 1

    def command(self, at: int) -> int:
        environment = _ENVIRONMENT.match(self.text, at)
        if environment:
            self.depth += 1 if environment.group(1) == "begin" else -1
            self.tokens.append((environment.group(1), environment.group(2)))
            return environment.end()
        board = _BLACKBOARD.match(self.text, at)
        if board:
            self.tokens.append(("sym", "set " + board.group(1)))
            return board.end()
        found = _COMMAND.match(self.text, at)
        if found is None:
            raise Unreadable("a lone backslash")
        name, escaped = found.groups()
        if escaped is not None:
            return self.escaped(escaped, found.end())
        return self.named(name, found.end())

    def escaped(self, character: str, end: int) -> int:
        if character == "$":
            self.tokens.append(("text", "dollar"))
        elif character in ESCAPED:
            self.depth += (character == "{") - (character == "}")
            self.tokens.append(("op", ESCAPED[character]))
        elif character in "()[]":
            pass  # formula delimiters left inside
        elif character not in SPACING:
            raise Unreadable(f"\\{character}")
        return end

    def named(self, name: str, end: int) -> int:
        if name in SKIPPED:
            if name in WITH_ARGUMENT and self.text[end : end + 1] == "{":
                return max(end, matching_brace(self.text, end) + 1)
            return self.delimiter(name, end)
        if name in TEXTUAL:
            return self.textual(name, end)
        if name in RENAMED:
            self.tokens.append(RENAMED[name])
        elif name in ACCENTS:
            self.tokens.append(("accent", "bar" if name in ("overline", "bar") else name))
        elif name in FUNCTIONS:
            self.tokens.append(("func", FUNCTIONS[name]))
        elif name in GREEK:
            self.tokens.append(("sym", name.removeprefix("var")))
        elif name.startswith("quad"):  # "\quadx": a missing space, not a command
            self.word_tokens(name[4:])
        else:
            raise Unreadable(f"\\{name}")
        return end

    def delimiter(self, name: str, end: int) -> int:
        """After ``\\left`` and its kind: an invisible "." and braces that mean a set."""
        if name not in ("quad", "qquad"):
            following = self.text[end : end + 1]
            if following == "." and not self.text[end + 1 : end + 2].isdigit():
                return end + 1
            if following in ("{", "}") and name in ("left", "right"):
                self.tokens.append(("op", "\\" + following))
                return end + 1
        return end

    def textual(self, name: str, end: int) -> int:
        if self.text[end : end + 1] != "{":
            return end  # "\rm x": a style for what follows
        close = matching_brace(self.text, end)
        if close < 0:
            raise Unreadable(f"\\{name} without a closing brace")
        content = _HALF_DAY.sub(r"\1m", self.text[end + 1 : close])
        words = content.strip().strip(".,").strip()
        if words in UNITS and self.tokens and self.tokens[-1][0] == "num" and name not in ("operatorname", "mathbf"):
            self.tokens.append(("text", words))  # "2600 \\text{ g}"
        elif re.fullmatch(r"[0-9A-Z]+", words) and _BASE_ABOVE_TEN.match(self.text, close + 1):
            self.tokens.append(("numeral", words))
        elif re.fullmatch(r"[A-Za-z]{2,}\.?(?:[\s'-]+[A-Za-z']+\.?)*", words):
            self.plain_words(words, name)
        elif re.search(r"[A-Za-z]{3,}|[ap]m\b", content) and not re.search(r"[\\^_=]", content):
            self.words_between(content)
        elif self.tokens and measure(words) is not None and name not in ("operatorname", "mathbf"):
            self.tokens.append(("text", words))  # "3 \\text{ m/s}"
        elif content.strip(" .,;"):
            self.tokens.extend(Lexer(content.strip(), self.commas and self.depth == 0, self.level + 1).run())
        return close + 1

    def plain_words(self, words: str, style: str) -> None:
        if words in FUNCTIONS and (style in ("operatorname", "mathop", "mathrm") or words not in ONLY_LATEX):
            self.tokens.append(("func", FUNCTIONS[words]))
        elif style in ("operatorname", "mathop"):
            self.tokens.append(("func", words))
        elif words.isupper() and len(words) <= 3 and style.startswith("math"):
            self.tokens.extend(("sym", letter) for letter in words)
        else:
            self.words_between(words)

    def words_between(self, content: str) -> None:
        """Words of a ``\\text{...}``: "and" and "or" separate, numbers count, the rest is words."""
        for piece in re.findall(r"\d[\d,.]*|[A-Za-z][\w'-]*|[,;]|[^\s\w]", content):
            if piece.lower() in SEPARATORS or piece in ",;":
                self.tokens.append(("op", ","))
            elif piece[0].isdigit():
                self.tokens.append(("num", piece.rstrip(".,").replace(",", "")))
            elif piece in "()$/%:":
                self.tokens.extend([] if piece == "$" else [("op", piece)])
            else:
                self.tokens.append(("text", piece))

    def word(self, at: int) -> int:
        found = _WORD.match(self.text, at)
        assert found is not None
        word = found.group()
        attached = bool(self.tokens) and self.tokens[-1][0] == "num" and self.text[at - 1] != " "
        joint = self.text[found.end() : found.end() + 1]
        tail = _WORD.match(self.text, found.end() + 1) if joint in ("'", "-") and len(word) > 2 else None
        if tail and len(tail.group()) > (joint == "-"):  # "don't", "well-known"
            self.tokens.append(("text", self.text[at : tail.end()]))
            return tail.end()
        if (
            word in ("x", "X")
            and self.tokens
            and self.tokens[-1][0] == "num"
            and _TIMES_TEN.match(self.text, found.end())
        ):
            self.tokens.append(("op", "*"))  # "3 x 10^8"
        elif self.level and word in UNITS and self.tokens and self.tokens[-1][0] == "num":
            self.tokens.append(("text", word))  # within words, "2600 g" is grams
        elif attached and (word.lower() in ATTACHED or word.lower() in ORDINALS):
            self.tokens.append(("text", word))
        elif len(word) in (2, 3) and word.islower() and self.within_product(at, attached) and word not in _JOINED:
            self.tokens.extend(("sym", letter) for letter in word)  # "ax+by", "2so"
        elif attached and len(word) > 3 and _split_run(word) is None and word not in FUNCTIONS:
            self.tokens.extend(("sym", letter) for letter in word)  # "4abcd" is a product; "4 eggs" are eggs
        elif self.differentials and len(word) == 2 and word[0] == "d":
            self.tokens.append(("differential", word[1]))
        else:
            self.word_tokens(word)
        return found.end()

    def within_product(self, at: int, attached: bool) -> bool:
        """Whether a short word stands right after a number or a sign, where "by" is a product."""
        return attached or (
            at > 0 and self.text[at - 1] in "+-*/^=" and self.text[at:].partition(" ")[0][2:3] in "+-*/^="
        )

    def word_tokens(self, word: str) -> None:
        lower = word.lower()
        if lower in SEPARATORS:
            self.tokens.append(("op", ","))
        elif lower in ("union", "u") and len(self.tokens) and self.tokens[-1] in (("op", ")"), ("op", "]")):
            self.tokens.append(("op", "∪"))
        elif word in ("AM", "PM") and self.tokens and self.tokens[-1][0] == "num":
            self.tokens.append(("text", lower))
        elif lower == "mod":
            self.tokens.append(("op", "mod"))
        elif word in ("USD", "EUR", "GBP"):
            self.tokens.append(("text", lower))
        elif word in CONSTANTS:
            self.tokens.append(CONSTANTS[word])
        elif word in FUNCTIONS and word not in ONLY_LATEX:
            self.tokens.append(("func", FUNCTIONS[word]))
        elif word in PLAIN_GREEK or len(word) == 1:
            self.tokens.append(("sym", word))
        else:
            self.tokens.extend(_split_run(word) or [("text", word)])


_SEGMENTS = re.compile(r"(sqrt|arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|log|ln|exp|pi)|([A-Za-z])")
_COMMON_WORDS = frozenset(vocabulary(
        "am pm at by do go he if in is it me my no of on so to up us we yes not the all any are but can "
        "few for had has her him his how its may new now old one our out own per say see she six ten too "
        "two use was way who why you day man men odd even east west bad big boy cat dog red blue cm mm "
        "km kg mg ml hr hrs min sec ft yd lb lbs oz mph sq deg gal cup pts None none yrs ins usd eur gbp "
        "st nd rd th ms cost costs since sine second logs tank tans"
    ))  # fmt: skip


_JOINED = frozenset({*UNITS, *SEPARATORS, *CONSTANTS, *FUNCTIONS, *PLAIN_GREEK, "mod", "usd", "eur", "gbp"})


def _split_run(word: str) -> list[Token] | None:
    """A run of letters as a product of functions and single letters ("xyz", "2sinx"); None where it reads as a word."""
    if word == "DNE" or ((word.lower() in _COMMON_WORDS or (word in UNITS and len(word) > 2)) and not word.isupper()):
        return None
    tokens: list[Token] = []
    letters = 0
    for function, letter in _SEGMENTS.findall(word):
        letters += bool(letter)
        tokens.append(CONSTANTS.get(function) or ("func", function) if function else ("sym", letter))
    return tokens if letters <= 3 and (letters < len(word) or word.islower() or word.isupper()) else None


def tokenize(text: str, commas: bool = True) -> list[Token]:
    """The tokens of a cleaned answer; raises ``Unreadable`` for a character or command outside the grammar."""
    return Lexer(text, commas).run()
