"""Which segments lie in which shard, and where in it: said once for all stores."""

from dataclasses import dataclass

from storage.errors import StorageError


@dataclass(frozen=True)
class ShardGrid:
    """`segments` segments, `per_shard` of them in a shard, each with `places` places for a chunk (a field, a frame)."""

    segments: int
    per_shard: int
    places: int

    def __post_init__(self) -> None:
        if self.segments < 0 or self.per_shard < 1 or self.places < 1:
            raise StorageError(
                f"a store of {self.segments} segments, {self.per_shard} a shard, of {self.places} chunks each, "
                "cannot be; a shard has at least one segment, a segment one place"
            )

    @property
    def num_shards(self) -> int:
        return -(-self.segments // self.per_shard)

    @property
    def num_chunks(self) -> int:
        """Places of one shard, taken or not; those of a last shard with fewer segments, too."""
        return self.per_shard * self.places

    def segments_of(self, shard: int) -> range:
        """Segments that lie in `shard`."""
        if not 0 <= shard < self.num_shards:
            raise StorageError(f"shard {shard} does not exist: the store has {self.num_shards}")
        first = shard * self.per_shard
        return range(first, min(first + self.per_shard, self.segments))

    def place_of(self, segment: int) -> tuple[int, int]:
        """(shard, the first of the segment's places in it)."""
        if not 0 <= segment < self.segments:
            raise StorageError(f"segment {segment} does not exist: the store has {self.segments}")
        shard, local = divmod(segment, self.per_shard)
        return shard, local * self.places
