"""What counts as equal where usage differs; every switch is documented with an example in docs/verifier.md."""

from dataclasses import dataclass, field


def _switch(default: bool, reason: str) -> bool:
    """A field and its reason, which `rung verify --help` prints."""
    switch: bool = field(default=default, metadata={"reason": reason})
    return switch


@dataclass(frozen=True)
class Policy:
    """The defaults follow the published graders where they agree and the stricter reading where they do not."""

    percent_is_fraction: bool = _switch(True, "50% equals 1/2: it is its value")
    percent_sign_optional: bool = _switch(True, '50% equals 50: questions ask "what percentage"')
    units_optional: bool = _switch(True, "5 cm equals 5 (but never 5 m): questions name the unit")
    degrees_optional: bool = _switch(True, "45° equals 45")
    names_optional: bool = _switch(True, "x = 5 equals 5")
    ordered_lists: bool = _switch(False, "true: 1, 2 differs from 2, 1; by default a bare list is a set of solutions")
    rounding_digits: int | None = field(
        default=8,
        metadata={"reason": "a decimal of this many significant digits equals what it rounds; null: never", "low": 1},
    )


DEFAULT_POLICY = Policy()
