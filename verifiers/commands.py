"""What LaTeX commands are to the lexer: nothing, a style around text, an accent, or a token."""

from verifiers.words import vocabulary

Token = tuple[str, str]

SKIPPED = frozenset(
    vocabulary(
        "displaystyle textstyle scriptstyle limits nolimits left right big Big bigg Bigg bigl bigr Bigl "
        "Bigr biggl biggr Biggl Biggr middle quad qquad hspace vspace phantom hphantom vphantom "
        "mathstrut strut nonumber noindent centering small large hline rm it bf sf cal tt hfill null "
        "protect allowbreak color textcolor therefore because"
    )
)
WITH_ARGUMENT = frozenset(vocabulary("hspace vspace phantom hphantom color textcolor"))  # skipped with it
TEXTUAL = frozenset(
    vocabulary(
        "text mbox textbf textit textrm textnormal textsf texttt textup mathrm mathbf mathit mathsf "
        "mathtt mathcal mathfrak operatorname hbox emph boldsymbol bm pmb mathnormal mathop underline"
    )
)
ACCENTS = frozenset(
    vocabulary(
        "overline bar vec hat tilde widehat widetilde overrightarrow dot ddot overleftrightarrow overarc wideparen"
    )
)
RENAMED: dict[str, Token] = {
    "cdot": ("op", "*"), "times": ("op", "*"), "ast": ("op", "*"), "div": ("op", "/"), "bullet": ("op", "*"),
    "le": ("op", "≤"), "leq": ("op", "≤"), "leqslant": ("op", "≤"), "ge": ("op", "≥"), "geq": ("op", "≥"),
    "geqslant": ("op", "≥"), "lt": ("op", "<"), "gt": ("op", ">"), "ne": ("op", "≠"), "neq": ("op", "≠"),
    "approx": ("op", "≈"), "simeq": ("op", "≈"), "cong": ("op", "≈"), "sim": ("op", "∼"), "equiv": ("op", "≡"),
    "in": ("op", "∈"), "notin": ("op", "∉"), "to": ("op", "→"), "rightarrow": ("op", "→"),
    "longrightarrow": ("op", "→"),
    "Rightarrow": ("op", "⇒"), "Longrightarrow": ("op", "⇒"),
    "longleftrightarrow": ("op", "⇔"), "implies": ("op", "⇒"), "iff": ("op", "⇔"),
    "mapsto": ("op", "→"), "pm": ("op", "±"), "mp": ("op", "∓"), "cup": ("op", "∪"), "cap": ("op", "∩"),
    "bigcup": ("op", "∪"), "setminus": ("op", "∖"), "backslash": ("op", "∖"), "lbrace": ("op", "\\{"),
    "rbrace": ("op", "\\}"), "lbrack": ("op", "["), "rbrack": ("op", "]"), "lparen": ("op", "("), "rparen": ("op", ")"),
    "langle": ("op", "⟨"), "rangle": ("op", "⟩"), "lfloor": ("op", "⌊"), "rfloor": ("op", "⌋"), "lceil": ("op", "⌈"),
    "rceil": ("op", "⌉"), "lvert": ("op", "|"), "rvert": ("op", "|"), "vert": ("op", "|"), "mid": ("op", "|"),
    "Vert": ("op", "‖"), "lVert": ("op", "‖"), "rVert": ("op", "‖"), "colon": ("op", ":"), "prime": ("op", "'"),
    "ldots": ("sym", "…"), "dots": ("sym", "…"), "cdots": ("sym", "…"), "dotsc": ("sym", "…"), "dotsb": ("sym", "…"),
    "circ": ("op", "°"), "degree": ("op", "°"), "deg": ("op", "°"), "pi": ("const", "pi"), "infty": ("const", "inf"),
    "infin": ("const", "inf"), "imath": ("const", "i"), "emptyset": ("sym", "∅"), "varnothing": ("sym", "∅"),
    "land": ("op", ","), "wedge": ("op", ","), "lor": ("op", ","), "vee": ("op", ","), "euro": ("text", "euro"),
    "pounds": ("text", "gbp"), "yen": ("text", "yen"), "rupee": ("text", "rupee"), "cents": ("text", "cents"),
    "And": ("op", ","), "tfrac": ("func", "frac"), "dfrac": ("func", "frac"), "cfrac": ("func", "frac"),
    "frac": ("func", "frac"), "binom": ("func", "binom"), "dbinom": ("func", "binom"), "tbinom": ("func", "binom"),
    "choose": ("op", "choose"), "over": ("op", "over"), "mod": ("op", "mod"), "bmod": ("op", "mod"),
    "pmod": ("op", "pmod"), "int": ("big", "int"), "sum": ("big", "sum"),
    "prod": ("big", "prod"), "lim": ("big", "lim"),
    "iint": ("big", "int"), "oint": ("big", "int"), "cr": ("op", "\\\\"), "newline": ("op", "\\\\"),
    "permille": ("op", "‰"), "textdegree": ("op", "°"), "textdollar": ("text", "dollar"), "not": ("op", "not"),
}  # fmt: skip
ESCAPED = {"{": "\\{", "}": "\\}", "|": "‖", "%": "%", "\\": "\\\\", "_": "_", "&": "&"}
SPACING = frozenset(",;:!> ~/-@\n")
CONSTANTS = {"pi": ("const", "pi"), "Pi": ("sym", "Pi"), "infinity": ("const", "inf"), "oo": ("const", "inf")}
