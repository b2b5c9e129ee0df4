"""What stands around an answer taken off, and unicode mathematics turned into the LaTeX that the lexer knows."""

import re
import unicodedata

from verifiers.boxes import matching_brace
from verifiers.nodes import Unreadable
from verifiers.shorthand import spelt_out, whole_numbers_named
from verifiers.words import vocabulary

MAX_ANSWER = 4_000  # characters: far beyond any final answer

_SIGNS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "‒": "-", "×": "*", "⋅": "*", "·": "*", "∙": "*", "•": "*",
    "∗": "*", "÷": "/", "∕": "/", "⁄": "/", "≤": "\\le ", "⩽": "\\le ", "≦": "\\le ", "≥": "\\ge ", "⩾": "\\ge ",
    "≧": "\\ge ", "≠": "\\ne ", "≈": "\\approx ", "≃": "\\approx ", "≅": "\\approx ", "≡": "\\equiv ", "∪": "\\cup ",
    "∩": "\\cap ", "∅": "\\emptyset ", "⌀": "\\emptyset ", "∈": "\\in ", "∉": "\\notin ", "∖": "\\setminus ",
    "±": "\\pm ", "∓": "\\mp ", "∞": "\\infty ", "√": "\\sqrt ", "∛": "\\sqrt[3] ", "∜": "\\sqrt[4] ",
    "°": "^\\circ ", "º": "^\\circ ", "˚": "^\\circ ", "′": "'", "’": "'", "‘": "'", "“": '"', "”": '"',
    "∫": "\\int ", "∑": "\\sum ", "∏": "\\prod ", "→": "\\to ", "⇒": "\\Rightarrow ", "…": "\\ldots ", "⋯": "\\ldots ",
    "⌊": "\\lfloor ", "⌋": "\\rfloor ", "⌈": "\\lceil ", "⌉": "\\rceil ", "⟨": "\\langle ", "⟩": "\\rangle ",
    "∴": "", "∣": "|", "∶": ":", "ℝ": "\\mathbb{R}", "ℚ": "\\mathbb{Q}", "ℤ": "\\mathbb{Z}", "ℕ": "\\mathbb{N}",
    "ℂ": "\\mathbb{C}", "€": "\\euro ", "£": "\\pounds ", "¥": "\\yen ", "₹": "\\rupee ", "¢": "\\cents ",
    "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u2061": "", "\u2062": "*", "\u200b": "", "\u2060": "", "\ufeff": "",
    "µ": "\\mu ", "‰": "\\permille ", "、": ",", "，": ",", "；": ";", "：": ":", "（": "(", "）": ")",
}  # fmt: skip
_GREEK = dict(
    zip(
        "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΦΨΩϕϵ",
        vocabulary(
            "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau "
            "upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega phi epsilon"
        ),
        strict=True,
    )
)
_UP = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱˣ", "0123456789+-=()nix", strict=True))
_DOWN = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₙₖₓ", "0123456789+-=()nkx", strict=True))
_TABLE = str.maketrans(_SIGNS | {letter: f"\\{name} " for letter, name in _GREEK.items()})
_UP_RUN = re.compile(f"[{''.join(_UP)}]+")
_DOWN_RUN = re.compile(f"[{''.join(_DOWN)}]+")
_ROOT = re.compile(r"(√|∛|∜)\s*(\d+(?:\.\d+)?)")
_DOUBLED = re.compile(r"\\\\(?=[A-Za-z]{2}|[{}!,;%$()\[\]])")
_WRAPPERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**"), ("`", "`"), ('"', '"'))
_STYLE = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox|textit|rm|bf)\s*\{([^{}]*)\}")
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")


# Combining marks, which stand after their letter: a line above, an arrow, a dot.
_MARKED = tuple(
    (re.compile(rf"((?:\w{mark})+)"), mark, command)
    for mark, command in (("\u0305", "overline"), ("\u0304", "bar"), ("\u20d7", "vec"), ("\u0307", "dot"))
)


def _ascii(text: str) -> str:
    for pattern, mark, command in _MARKED:
        if mark in text:
            text = pattern.sub(lambda m, mark=mark, command=command: f"\\{command}{{{m[1].replace(mark, '')}}}", text)  # type: ignore[misc]
    text = _UP_RUN.sub(lambda m: "^{" + "".join(_UP[c] for c in m.group()) + "}", text)
    text = _DOWN_RUN.sub(lambda m: "_{" + "".join(_DOWN[c] for c in m.group()) + "}", text)
    text = _ROOT.sub(lambda m: f"{m.group(1)}{{{m.group(2)}}}", text)
    out = []
    for character in text.translate(_TABLE):
        if character.isascii():
            out.append(character)
            continue
        plain = unicodedata.normalize("NFKC", character)
        if len(plain) > 1 and "⁄" in plain:  # "½" becomes "1⁄2"
            over, under = plain.split("⁄")
            plain = f"\\frac{{{over}}}{{{under or 1}}}"
        elif character.isdecimal():
            plain = str(unicodedata.decimal(character))  # "٣" is 3
        plain = plain.translate(_TABLE)
        out.append(plain if plain.isascii() else character)
    return "".join(out)


def _unwrap(text: str) -> str:
    """One pair of delimiters or one box less; the same text where there is none."""
    for left, right in _WRAPPERS:
        size = len(left)
        if len(text) >= 2 * size and text.startswith(left) and text.endswith(right):
            inner = text[size : len(text) - size]
            if left not in inner and right not in inner:
                return inner
    box = _BOX.match(text)
    if box and text.endswith("}") and matching_brace(text, box.end() - 1) == len(text) - 1:
        return text[box.end() : -1]
    return text


def clean(text: str) -> str:
    """``text`` without its delimiters and closing punctuation, in ASCII as far as mathematics goes.

    Raises ``Unreadable`` for text of more than ``MAX_ANSWER`` characters or with NUL or other control characters.
    """
    if len(text) > MAX_ANSWER:
        raise Unreadable(f"longer than {MAX_ANSWER} characters")
    if not text.isascii():
        text = _ascii(text)
    text = text.replace("\n", " ").replace("\t", " ").replace("\r", " ").replace("{:}", ":").strip()
    if not text.isprintable() and any(ord(c) < 32 for c in text):
        raise Unreadable("control characters")
    text = spelt_out(text)
    if "\\\\" in text and "\\begin" not in text.replace("\\\\begin", ""):
        text = _DOUBLED.sub(r"\\", text)
    while True:
        stripped = text.strip()
        if not stripped.endswith(("..", "\\ldots")):
            stripped = stripped.rstrip(" .,;:")
        if stripped.endswith("\\") and not stripped.endswith("\\\\"):
            stripped = stripped[:-1].rstrip()  # what is left of a closing "\\," or "\\ "
        unwrapped = _unwrap(stripped)
        if unwrapped == text:
            return whole_numbers_named(text)
        text = unwrapped


def unstyled(text: str) -> str:
    """``text`` with what stands in ``\\text{...}`` and its kin bare."""
    return _STYLE.sub(r"\1", text)
