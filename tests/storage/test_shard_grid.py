"""Which segment lies in which shard."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import StorageError
from storage.shard_grid import ShardGrid


@given(segments=st.integers(0, 50), per_shard=st.integers(1, 9), places=st.integers(1, 5))
def test_every_segment_has_places_of_its_own(segments: int, per_shard: int, places: int) -> None:
    grid = ShardGrid(segments, per_shard, places)
    assert [s for shard in range(grid.num_shards) for s in grid.segments_of(shard)] == list(range(segments))
    taken = [(shard, first + place) for shard, first in map(grid.place_of, range(segments)) for place in range(places)]
    assert len(set(taken)) == segments * places
    assert all(place < grid.num_chunks for _, place in taken)


def test_what_is_not_there_is_refused() -> None:
    grid = ShardGrid(5, 2, 3)
    for call, says in (
        (lambda: grid.segments_of(3), "shard 3 does not exist: the store has 3"),
        (lambda: grid.place_of(5), "segment 5 does not exist: the store has 5"),
        (lambda: grid.place_of(-1), "segment -1"),
        (lambda: ShardGrid(5, 0, 3), "5 segments, 0 a shard"),
    ):
        with pytest.raises(StorageError, match=says):
            call()
