"""Matrix arithmetic against numpy, and units against their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifiers.clean import clean
from verifiers.matrices import folded
from verifiers.parse import parse
from verifiers.scalar import exact
from verifiers.units import measure

square = st.lists(st.lists(st.integers(-5, 5), min_size=3, max_size=3), min_size=3, max_size=3)


def written(rows: list[list[int]]) -> str:
    return "\\begin{pmatrix}" + "\\\\".join("&".join(map(str, row)) for row in rows) + "\\end{pmatrix}"


@given(square, square)
def test_products_sums_and_determinants(a: list[list[int]], b: list[list[int]]) -> None:
    left, right = np.array(a, dtype=object), np.array(b, dtype=object)
    product = folded(parse(clean(f"2{written(a)}{written(b)}")))
    assert [exact(entry) for entry in product.args] == (2 * left @ right).flatten().tolist()
    total = folded(parse(clean(f"{written(a)}-{written(b)}")))
    assert [exact(entry) for entry in total.args] == (left - right).flatten().tolist()
    determinant = exact(folded(parse(clean(f"\\det {written(a)}"))))
    assert determinant == round(float(np.linalg.det(left.astype(float))))


def test_clashing_shapes_stay_as_they_are() -> None:
    tree = parse(clean(written([[1, 2]]) + written([[1, 2]])))
    assert folded(tree) == tree


@pytest.mark.parametrize(
    ("a", "b"),
    [("cm^2", "square centimeters"), ("mph", "miles per hour"), ("m / s", "meters per second"), ("L", "liters")],
)
def test_one_measure_two_names(a: str, b: str) -> None:
    assert measure(a) == measure(b) is not None


def test_sizes() -> None:
    foot, inch = measure("ft"), measure("inches")
    assert foot is not None
    assert inch is not None
    assert (foot[0], foot[1]) == (inch[0], 12 * inch[1])
    assert measure("eggs") is None
    assert measure("m^2")[0] != measure("m")[0]  # type: ignore[index]
