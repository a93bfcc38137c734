"""What the flow store and the frame store have in common: a folder of shard files, written once, read in clips.

A store says its own form (`FlowSpec`, `FrameSpec`); what a chunk holds is its own business, too.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from storage.atomic import write_atomic
from storage.commits import WrittenShard
from storage.errors import StorageError
from storage.shard_grid import ShardGrid
from storage.shards import Scratch, ShardCache, ShardFile, as_indices, pack_shard

Content = TypeVar("Content")
Indices = Sequence[int] | npt.NDArray[np.integer[Any]]


class ShardWriter(ABC, Generic[Content]):
    """Writes one shard: `add` its segments in order, then `commit`. Nothing is on disk before `commit`.

    Args:
        folder: of the store.
        key: path of the shard's file below it.
        grid: of the store.
        shard: number of this one.
        noun: what a chunk is, in messages: "fields".
    """

    def __init__(self, folder: Path, key: str, grid: ShardGrid, shard: int, *, noun: str) -> None:
        self._folder = folder
        self._key = key
        self._grid = grid
        self._shard = shard
        self._noun = noun
        self._segments = grid.segments_of(shard)
        self._added = 0
        self._chunks: list[bytes | None] = [None] * grid.num_chunks

    def add(self, content: Content | None) -> None:
        """Add the next segment; None: it has nothing.

        Raises:
            StorageError: one segment too many, or content that does not fit the store.
        """
        if self._added >= len(self._segments):
            raise StorageError(f"shard {self._shard} has {len(self._segments)} segments, got one more")
        local = self._added
        self._added += 1
        if content is not None:
            self._add(local, content)

    def commit(self) -> WrittenShard:
        """Write the shard so that it appears whole or not at all; append the result to the commit log afterwards.

        Raises:
            StorageError: segments are missing, or the disk refuses.
        """
        if self._added != len(self._segments):
            raise StorageError(f"shard {self._shard} has {len(self._segments)} segments, only {self._added} were added")
        digest = write_atomic(self._folder / self._key, pack_shard(self._chunks, preamble=self._preamble()))
        return WrittenShard({f"{self._folder.name}/{self._key}": digest}, self._info())

    def write(self, segments: Iterable[Content | None]) -> WrittenShard:
        """`add` all segments of the shard, in order, and `commit`."""
        for content in segments:
            self.add(content)
        return self.commit()

    def _put(self, local: int, index: int, chunk: bytes) -> None:
        """Chunk `index` of the shard's segment `local`."""
        self._check_place(local, index)
        self._chunks[local * self._grid.places + index] = chunk

    def _check_place(self, local: int, index: int) -> None:
        if index >= self._grid.places:
            raise StorageError(
                f"segment {self._segments[local]} has more than the {self._grid.places} {self._noun} "
                "the store was made for"
            )

    @property
    def _stored_nbytes(self) -> list[int]:
        return [len(chunk) for chunk in self._chunks if chunk is not None]

    @abstractmethod
    def _add(self, local: int, content: Content) -> None:
        """`_put` the chunks of the shard's segment `local`."""

    def _preamble(self) -> bytes:
        """What the shard says about itself."""
        return b""

    @abstractmethod
    def _info(self) -> dict[str, int | float]:
        """What the commit log is to remember."""


class ShardReader(ABC):
    """Reads chunks of a store in `folder`.

    Cheap to pickle and safe across fork and spawn: every process opens its own files when it first reads.
    Not for two threads at once: give each its own reader.
    """

    noun: str
    """What a chunk is, in messages: "fields"."""

    def __init__(self, folder: Path) -> None:
        self._folder = Path(folder)
        self._grid = self._open(self._folder)
        self._shards = ShardCache(self._grid.num_chunks, self._path)
        self._scratch = Scratch()

    def __reduce__(self) -> tuple[type, tuple[Path]]:
        return type(self), (self._folder,)

    def close(self) -> None:
        """Close all files; the next read opens them again."""
        self._shards.close()

    @abstractmethod
    def _open(self, folder: Path) -> ShardGrid:
        """Read what the store says about itself."""

    @abstractmethod
    def _path(self, shard: int) -> Path:
        """The file of a shard."""

    @abstractmethod
    def _count(self, segment: int) -> int:
        """How many chunks a segment has."""

    def _shard(self, segment: int) -> tuple[ShardFile, int]:
        """(shard of a segment, the first of the segment's places in it)."""
        shard, first = self._grid.place_of(segment)
        return self._shards.get(shard), first

    def _picked(self, segment: int, indices: Indices) -> list[int]:
        """`indices` as a list; StorageError where the segment has no such chunk."""
        picked = as_indices(indices, where=f"indices of {self.noun}, segment {segment}")
        count = self._count(segment)
        if min(picked) < 0 or max(picked) >= count:
            raise StorageError(
                f"segment {segment} has {self.noun} 0..{count - 1}, asked for {min(picked)}..{max(picked)}"
            )
        return picked

    def _read(self, segment: int, picked: Sequence[int]) -> tuple[ShardFile, list[memoryview]]:
        """(shard, stored bytes of the chunks); they look into a buffer that the next read overwrites."""
        shard, first = self._shard(segment)
        return shard, shard.read_chunks([first + index for index in picked], self._scratch)


def output(out: npt.NDArray[Any] | None, shape: tuple[int, ...], dtype: type) -> npt.NDArray[Any]:
    """`out`, where it is a C-contiguous array of that shape and dtype; a new one where it is None."""
    if out is None:
        return np.empty(shape, dtype)
    if out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous:
        raise StorageError(f"out is {out.dtype} {out.shape}, expected C-contiguous {np.dtype(dtype)} {shape}")
    return out
