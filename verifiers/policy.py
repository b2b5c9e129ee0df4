"""What counts as equal where usage differs; every switch is documented with an example in docs/verifier.md."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Policy:
    """The defaults follow the published graders where they agree and the stricter reading where they do not."""

    percent_is_fraction: bool = True  # 50% equals 1/2: it is its value
    percent_sign_optional: bool = True  # 50% equals 50: questions ask "what percentage"
    units_optional: bool = True  # 5 cm equals 5 (but never 5 m): questions name the unit
    degrees_optional: bool = True  # 45° equals 45
    names_optional: bool = True  # x = 5 equals 5
    ordered_lists: bool = False  # True: 1, 2 differs from 2, 1; by default a bare list is a set of solutions
    rounding_digits: int | None = 8  # a decimal of this many significant digits equals what it rounds; None: never


DEFAULT_POLICY = Policy()
