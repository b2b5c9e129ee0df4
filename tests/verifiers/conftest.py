"""The verifier's tests are timed by the CPU seconds that its own work takes."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="package", autouse=True)
def _a_heap_of_its_own() -> Iterator[None]:
    """A sweep of all that a test session has loaded takes half a second, which is not the verifier's time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
