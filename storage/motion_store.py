"""Motion statistics of every field (METHOD 1.2): written a shard at a time, read as one Zarr group."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.atomic import write_atomic
from storage.blocks import pack_arrays, unpack_arrays
from storage.commits import WrittenShard
from storage.errors import DamagedError, StorageError
from storage.shard_grid import ShardGrid
from storage.zarr_files import open_group, write_group

_NAMES = ("differences", "magnitude_mean", "magnitude_p99", "moving_share", "camera_mean", "object_mean")
_ROWS_PER_CHUNK = 1024
_PARTS = "parts"


@dataclass(frozen=True)
class MotionStats:
    """Statistics of the M fields of one segment, float32 (M,) each."""

    differences: npt.NDArray[np.float32]
    """d_j of METHOD 1.2."""
    magnitude_mean: npt.NDArray[np.float32]
    """Mean of |(u, v)| over the valid area, px of the stored grid."""
    magnitude_p99: npt.NDArray[np.float32]
    """99th percentile of |(u, v)|, px of the stored grid."""
    moving_share: npt.NDArray[np.float32] | None = None
    """Share of the pixels that move, 0..1; None, as of those below: not measured, NaN in the store."""
    camera_mean: npt.NDArray[np.float32] | None = None
    """Mean magnitude of the affine motion that most of the field follows, px of the stored grid."""
    object_mean: npt.NDArray[np.float32] | None = None
    """Mean magnitude of what is left without that, px of the stored grid."""


class MotionWriter:
    """Writes parts, one file a shard of segments, and in the end the group that `MotionReader` opens."""

    def __init__(
        self,
        folder: Path,
        *,
        segments: int,
        max_fields: int,
        segments_per_shard: int = 32,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        self._folder = folder
        self.grid = ShardGrid(segments, segments_per_shard, max_fields)
        self._attributes = dict(attributes or {})

    def write(self, shard: int, stats: Sequence[MotionStats | None]) -> WrittenShard:
        """Write the part of `shard`: one entry a segment, None where it has no fields."""
        segments, width = self.grid.segments_of(shard), self.grid.places
        if len(stats) != len(segments):
            raise StorageError(f"shard {shard} has {len(segments)} segments, got statistics of {len(stats)}")
        counts = np.zeros(len(segments), np.int32)
        rows = {name: np.full((len(segments), width), np.nan, np.float32) for name in _NAMES}
        for local, entry in enumerate(stats):
            if entry is None:
                continue
            measured = [name for name in _NAMES if getattr(entry, name) is not None]
            lengths = {name: np.shape(getattr(entry, name)) for name in measured}
            if len(set(lengths.values())) != 1 or len(lengths["differences"]) != 1:
                raise StorageError(f"segment {segments[local]}: statistics of different shapes: {lengths}")
            count = lengths["differences"][0]
            if count > width:
                raise StorageError(f"segment {segments[local]} has {count} fields, the store {width}")
            counts[local] = count
            for name in measured:
                rows[name][local, :count] = getattr(entry, name)
        (self._folder / _PARTS).mkdir(parents=True, exist_ok=True)
        digest = write_atomic(self._part(shard), pack_arrays({"num_fields": counts, **rows}))
        return WrittenShard({f"{self._folder.name}/{_PARTS}/{shard:08d}": digest}, {"num_fields": int(counts.sum())})

    def finalise(self) -> dict[str, str]:
        """Gather all parts into the Zarr group; doing it again gives the same files. Returns digests by path.

        Raises:
            DamagedError: a part is missing or damaged.
        """
        grid = self.grid
        counts = np.zeros(grid.segments, np.int32)
        rows = {name: np.full((grid.segments, grid.places), np.nan, np.float32) for name in _NAMES}
        for shard in range(grid.num_shards):
            segments = grid.segments_of(shard)
            part = _read_part(self._part(shard))
            counts[segments.start : segments.stop] = part["num_fields"]
            for name in _NAMES:
                rows[name][segments.start : segments.stop] = part[name]
        table = ("segment", "field")
        return write_group(
            self._folder,
            {"num_fields": counts, **rows},
            chunk_rows=_ROWS_PER_CHUNK,
            dimensions={"num_fields": ("segment",), **dict.fromkeys(_NAMES, table)},
            attributes=self._attributes,
        )

    def _part(self, shard: int) -> Path:
        return self._folder / _PARTS / f"{shard:08d}"


class MotionReader:
    """Statistics by segment. Keeps the last chunk of segments in memory: read them in order where you can."""

    def __init__(self, folder: Path) -> None:
        self._group = open_group(Path(folder))
        self._folder = Path(folder)
        self.attributes: dict[str, Any] = dict(self._group.attrs)
        self._counts: npt.NDArray[np.int32] = self._load("num_fields", slice(None))
        self._chunks: dict[str, tuple[int, npt.NDArray[np.float32]]] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def num_fields(self, segment: int) -> int:
        """How many fields `segment` has."""
        if not 0 <= segment < len(self):
            raise StorageError(f"segment {segment} does not exist: the store has {len(self)}")
        return int(self._counts[segment])

    def differences(self, segment: int) -> npt.NDArray[np.float32]:
        """d_j of the segment's fields, (M,)."""
        return self._row("differences", segment)

    def magnitude_mean(self, segment: int) -> npt.NDArray[np.float32]:
        """Mean flow magnitude of the segment's fields in px of the stored grid, (M,)."""
        return self._row("magnitude_mean", segment)

    def magnitude_p99(self, segment: int) -> npt.NDArray[np.float32]:
        """99th percentile of the flow magnitude of the segment's fields in px of the stored grid, (M,)."""
        return self._row("magnitude_p99", segment)

    def moving_share(self, segment: int) -> npt.NDArray[np.float32]:
        """Share of the pixels that move in the segment's fields, (M,)."""
        return self._row("moving_share", segment)

    def camera_mean(self, segment: int) -> npt.NDArray[np.float32]:
        """Mean magnitude of the camera's motion in the segment's fields in px of the stored grid, (M,)."""
        return self._row("camera_mean", segment)

    def object_mean(self, segment: int) -> npt.NDArray[np.float32]:
        """Mean flow magnitude without the camera's motion in px of the stored grid, (M,)."""
        return self._row("object_mean", segment)

    def _row(self, name: str, segment: int) -> npt.NDArray[np.float32]:
        count = self.num_fields(segment)
        number = segment // _ROWS_PER_CHUNK
        if name not in self._chunks or self._chunks[name][0] != number:
            start = number * _ROWS_PER_CHUNK
            self._chunks[name] = number, self._load(name, slice(start, start + _ROWS_PER_CHUNK))
        return self._chunks[name][1][segment % _ROWS_PER_CHUNK, :count]

    def _load(self, name: str, rows: slice) -> npt.NDArray[Any]:
        try:
            values: npt.NDArray[Any] = self._group[name][rows]
        except (KeyError, RuntimeError, ValueError, OSError) as error:
            raise DamagedError(f"cannot read {self._folder / name}: {error}") from error
        return values


def _read_part(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        return unpack_arrays(path.read_bytes(), where=str(path))
    except OSError as error:
        raise DamagedError(f"cannot read {path}: {error.strerror or error}") from error
