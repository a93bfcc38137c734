"""Stores of marked segments, shared by the tests of this folder."""

from collections.abc import Callable

import pytest
from marked_stores import Stores, marked_field, marked_frame, write_stores


@pytest.fixture(scope="session")
def make_stores(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[int]], Stores]:
    """Stores of marked segments with the given numbers of fields."""

    def make(num_fields: list[int]) -> Stores:
        return write_stores(
            tmp_path_factory.mktemp("stores"),
            [[marked_field(index) for index in range(count)] for count in num_fields],
            [[marked_frame(segment, index) for index in range(count)] for segment, count in enumerate(num_fields)],
        )

    return make


@pytest.fixture(scope="session")
def stores(make_stores: Callable[[list[int]], Stores]) -> Stores:
    """Eleven segments of 12 to 32 fields; a clip spans 15, so the shortest are looped."""
    return make_stores([12 + 2 * segment for segment in range(11)])
