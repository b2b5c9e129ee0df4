"""The vocabulary: functions, words that are numbers or separators, and the units with their sizes."""

from fractions import Fraction


def vocabulary(words: str) -> tuple[str, ...]:
    """The words of a text; keeps long lists readable."""
    return tuple(words.split())


FUNCTIONS = {
    "sqrt": "sqrt", "cbrt": "cbrt", "exp": "exp", "ln": "ln", "log": "log", "lg": "lg", "abs": "abs",
    "sin": "sin", "cos": "cos", "tan": "tan", "cot": "cot", "sec": "sec", "csc": "csc", "tg": "tan", "ctg": "cot",
    "cosec": "csc", "arcsin": "arcsin", "arccos": "arccos", "arctan": "arctan", "arctg": "arctan", "arccot": "arccot",
    "arcsec": "arcsec", "arccsc": "arccsc", "asin": "arcsin", "acos": "arccos", "atan": "arctan",
    "sinh": "sinh", "cosh": "cosh", "tanh": "tanh", "coth": "coth", "sech": "sech", "csch": "csch",
    "arcsinh": "arcsinh", "arsinh": "arcsinh", "asinh": "arcsinh", "arccosh": "arccosh", "arcosh": "arccosh",
    "acosh": "arccosh", "arctanh": "arctanh", "artanh": "arctanh", "atanh": "arctanh",
    "gcd": "gcd", "lcm": "lcm", "min": "min", "max": "max", "det": "det", "floor": "floor", "ceil": "ceil",
    "Re": "Re", "Im": "Im", "arg": "arg", "sgn": "sgn", "sign": "sgn", "deg": "deg", "dim": "dim", "ker": "ker",
    "sup": "sup", "inf": "inf", "Pr": "Pr", "cis": "cis",
}  # fmt: skip
ONLY_LATEX = {"tg", "inf", "min", "deg", "dim", "ker", "sup", "Pr", "Re", "Im", "arg", "sec"}

INVERSES = {
    "sin": "arcsin", "cos": "arccos", "tan": "arctan", "cot": "arccot", "sec": "arcsec", "csc": "arccsc",
    "sinh": "arcsinh", "cosh": "arccosh", "tanh": "arctanh",
}  # fmt: skip

GREEK = frozenset(
    vocabulary(
        "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi "
        "rho varrho sigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi "
        "Psi Omega ell hbar nabla partial aleph ast star circledast angle triangle square top bot Box "
        "varnothing"
    )
)
PLAIN_GREEK = frozenset(vocabulary("alpha beta gamma delta epsilon theta lambda mu sigma phi psi omega rho tau"))

SEPARATORS = frozenset({"and", "or"})
FILLERS = frozenset(
    vocabulary(
        "approximately about roughly exactly around the answer is are equal equals to so thus therefore "
        "hence we get final only just value of a an point points line curve equation"
    )
)
ORDINALS = frozenset({"st", "nd", "rd", "th"})

OPPOSITES = tuple(
    frozenset(pair.split("/"))
    for pair in vocabulary(
        "increase/decrease left/right up/down north/south east/west above/below profit/loss gain/loss more/less "
        "more/fewer before/after faster/slower clockwise/counterclockwise taller/shorter older/younger inside/outside "
        "upward/downward increased/decreased square/cubic noon/midnight clockwise/anticlockwise"
    )
)

NO_SOLUTION = frozenset({"no solution", "no solutions", "no real solution", "no real solutions", "empty set", "none"})

SYNONYMS = (
    NO_SOLUTION,
    frozenset({"dne", "does not exist", "limit does not exist"}),
    frozenset({"infinitely many", "infinitely many solutions", "infinite number of solutions"}),
)

REALS = frozenset(
    {"all real numbers", "all reals", "any real number", "set of all real numbers", "set of real numbers"}
)

MULTIPLIERS = {
    "dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12,
    "hundreds": 100, "thousands": 10**3, "millions": 10**6, "billions": 10**9,
}  # fmt: skip

# unit -> (dimension, size in that dimension's base unit)
_SIZES: dict[str, dict[str, tuple[int | Fraction | str, str]]] = {
    "length": {
        "m": (1, "meter meters metre metres"),
        "cm": (Fraction(1, 100), "centimeter centimeters centimetre centimetres"),
        "mm": (Fraction(1, 1000), "millimeter millimeters millimetre millimetres"),
        "km": (1000, "kilometer kilometers kilometre kilometres"), "in": (Fraction("0.0254"), "inch inches"),
        "ft": (Fraction("0.3048"), "foot feet"), "yd": (Fraction("0.9144"), "yard yards yds"),
        "mi": (Fraction("1609.344"), "mile miles"),
    },
    "mass": {
        "kg": (1, "kilogram kilograms kgs"), "g": (Fraction(1, 1000), "gram grams"),
        "mg": (Fraction(1, 10**6), "milligram milligrams"), "lb": (Fraction("0.45359237"), "lbs pound pounds"),
        "oz": (Fraction("0.028349523125"), "ounce ounces"), "ton": (1000, "tons tonne tonnes"),
    },
    "time": {
        "s": (1, "sec secs second seconds"), "ms": (Fraction(1, 1000), "millisecond milliseconds"),
        "min": (60, "mins minute minutes"), "h": (3600, "hr hrs hour hours"), "day": (86400, "days"),
        "week": (604800, "weeks"), "month": ("month", "months"), "year": ("year", "years yr yrs"),
    },
    "volume": {
        "L": (1, "l liter liters litre litres"),
        "mL": (Fraction(1, 1000), "ml milliliter milliliters millilitre millilitres"),
        "gallon": ("gallon", "gallons gal"), "cup": ("cup", "cups"),
    },
    "money": {
        "dollar": (1, "dollars usd bucks"), "cent": (Fraction(1, 100), "cents"), "euro": ("euro", "euros eur"),
        "pound sterling": ("gbp", "pounds sterling gbp"), "yen": ("yen", "jpy"), "rupee": ("rupee", "rupees rs"),
    },
    "angle": {"rad": ("rad", "radian radians")},
    "half of the day": {"am": ("am", "a.m."), "pm": ("pm", "p.m.")},
    "temperature": {"°c": ("c", "celsius"), "°f": ("f", "fahrenheit"), "°k": ("k", "kelvin kelvins")},
}  # fmt: skip


def _table() -> dict[str, tuple[str, Fraction]]:
    table: dict[str, tuple[str, Fraction]] = {}
    for dimension, units in _SIZES.items():
        for unit, (size, names) in units.items():
            named = isinstance(size, str)
            kind, scale = (f"{dimension} {size}", Fraction(1)) if named else (dimension, Fraction(size))
            for name in (unit, *names.split()):
                table.setdefault(name, (kind, scale))
    return table


UNITS = _table()
# Units that may stand right after a number without a space; single letters there are variables ("5m" is 5 m's).
ATTACHED = frozenset(
    vocabulary("cm mm km kg mg ml mL hr hrs ft yd lb lbs oz mph kph cents sec secs mins hours days miles")
)
ATTACHED |= frozenset({"inches", "feet", "meters", "dollars", "degrees", "degree", "deg", "percent", "pm", "am"})
