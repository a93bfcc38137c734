"""The sharding format of Zarr v3 (`sharding_indexed`, index at the end), written and read without zarr-python.

A shard file is

    [preamble][chunk][chunk]...[index: per chunk u64 offset, u64 nbytes, little-endian][crc32c of the index, u32]

where a chunk that is not stored has offset = nbytes = 2^64 - 1. Chunks carry their own checksum (zstd's, or the
crc32c codec's), so no flipped bit between two of them can go unseen. The preamble is ours: no offset points there,
so other Zarr readers do not notice it.

Source: https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/index.html
"""

import operator
import os
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

from storage.errors import DamagedError, StorageError, UnreadableError

ABSENT = 2**64 - 1
COALESCE_GAP_BYTES = 64 * 1024  # reading over a gap of this size is cheaper than a second system call or disk seek
MAX_OPEN_SHARDS = 256
MAX_INDEX_BYTES = 64 * 2**20  # over all open shards of one reader


def crc32c(data: bytes | memoryview) -> int:
    """CRC-32C (Castagnoli) of `data`."""
    return int(google_crc32c.value(bytes(data)))


def with_crc32c(data: bytes) -> bytes:
    """`data` followed by its checksum: what Zarr's `crc32c` codec makes."""
    return data + struct.pack("<I", crc32c(data))


def without_crc32c(data: memoryview, *, where: str) -> memoryview:
    """Content of `data` without the trailing checksum, which must match.

    Raises:
        DamagedError: too short, or the checksum differs; `where` names the place.
    """
    if len(data) < 4:
        raise DamagedError(f"{where}: {len(data)} bytes are too few to hold a checksum")
    (stored,) = struct.unpack("<I", data[-4:])
    computed = crc32c(data[:-4])
    if stored != computed:
        raise DamagedError(f"{where}: stored checksum {stored:08x}, computed {computed:08x}")
    return data[:-4]


def index_nbytes(num_chunks: int) -> int:
    """Size of the index of a shard with `num_chunks` chunks, checksum included."""
    return 16 * num_chunks + 4


def pack_shard(chunks: Sequence[bytes | None], *, preamble: bytes = b"") -> Iterator[bytes]:
    """Pieces of a shard file, in order; `chunks` in C order of the chunk grid, None where nothing is stored."""
    index = np.full((len(chunks), 2), ABSENT, dtype="<u8")
    offset = len(preamble)
    yield preamble
    for ordinal, chunk in enumerate(chunks):
        if chunk is not None:
            index[ordinal] = offset, len(chunk)
            offset += len(chunk)
            yield chunk
    yield with_crc32c(index.tobytes())


class Scratch:
    """A buffer that grows and is used again: a fresh one per clip would cost more in page faults than decoding."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def view(self, nbytes: int) -> memoryview:
        """Writable view of the first `nbytes` bytes."""
        if len(self._bytes) < nbytes:
            self._bytes = bytearray(nbytes + nbytes // 4)
        return memoryview(self._bytes)[:nbytes]


class ShardFile:
    """One open shard: its parsed index and an open file descriptor.

    Raises:
        DamagedError: missing, empty, truncated, or an index that fails its checksum; the message names the file.
        UnreadableError: the user may not read it.
    """

    def __init__(self, path: Path, num_chunks: int) -> None:
        self.path = path
        self._descriptor = -1
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            size = os.fstat(self._descriptor).st_size
        except PermissionError as error:
            raise UnreadableError(f"cannot open {path}: {error.strerror}; ask its owner") from error
        except OSError as error:
            raise DamagedError(
                f"cannot open {path}: {error.strerror or error}; verify the result, then repair it"
            ) from error
        tail = index_nbytes(num_chunks)
        if size < tail:
            raise DamagedError(f"{path}: {size} bytes, but its index alone needs {tail}: truncated")
        self.data_nbytes = size - tail
        raw = self.read_range(self.data_nbytes, tail)
        index = np.frombuffer(without_crc32c(memoryview(raw), where=f"{path}, index"), dtype="<u8").reshape(-1, 2)
        self.stored = index[:, 0] != ABSENT
        offsets, sizes = index[self.stored, 0], index[self.stored, 1]
        if np.any(offsets > self.data_nbytes) or np.any(sizes > self.data_nbytes - offsets):
            raise DamagedError(f"{path}: the index points past the end of the data ({self.data_nbytes} bytes)")
        self._offsets = index[:, 0]
        self._nbytes = index[:, 1]

    def read_range(self, offset: int, nbytes: int) -> bytes:
        """`nbytes` bytes from `offset`; DamagedError where the file has fewer, or the disk cannot read them."""
        with self._named(offset):
            data = os.pread(self._descriptor, nbytes, offset)
        if len(data) != nbytes:
            raise DamagedError(f"{self.path}: {len(data)} bytes at offset {offset}, expected {nbytes}: truncated")
        return data

    def read_chunks(self, ordinals: Sequence[int], scratch: Scratch) -> list[memoryview]:
        """Stored bytes of the chunks, in the order asked; one `pread` for chunks that lie near each other.

        The views look into `scratch`: decode them before the next call that uses it.

        Raises:
            DamagedError: a chunk asked for is not stored, the file is shorter than its index says, or the disk cannot
                read it.
        """
        picked = list(ordinals)
        offsets: list[int] = self._offsets[picked].tolist()
        sizes: list[int] = self._nbytes[picked].tolist()
        spans = _coalesce(offsets, sizes)
        total = sum(end - start for start, end in spans)
        if ABSENT in offsets:
            missing = picked[offsets.index(ABSENT)]
            raise DamagedError(f"{self.path}: chunk {missing} was never stored")
        view = scratch.view(total)
        place: list[tuple[int, int, int]] = []
        position = 0
        for start, end in spans:
            with self._named(start):
                count = os.preadv(self._descriptor, [view[position : position + end - start]], start)
            if count != end - start:
                raise DamagedError(f"{self.path}: {count} bytes at offset {start}, expected {end - start}: truncated")
            place.append((start, end, position))
            position += end - start
        if len(place) == 1:
            first = place[0][0]
            return [view[offset - first : offset - first + size] for offset, size in zip(offsets, sizes, strict=True)]
        pieces = []
        for offset, size in zip(offsets, sizes, strict=True):
            start, _, position = next(p for p in place if p[0] <= offset and offset + size <= p[1])
            pieces.append(view[position + offset - start : position + offset - start + size])
        return pieces

    @contextmanager
    def _named(self, offset: int) -> Iterator[None]:
        """What the disk refuses inside has no name of its own: it reads by number."""
        try:
            yield
        except OSError as error:
            raise DamagedError(f"{self.path}: {error.strerror or error} at offset {offset}") from error

    def close(self) -> None:
        """Close the descriptor; the object is of no use afterwards."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self.close()


def _coalesce(offsets: Sequence[int], sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Byte ranges that cover all chunks, joined over gaps of at most COALESCE_GAP_BYTES, ascending."""
    spans: list[tuple[int, int]] = []
    for offset, size in sorted(zip(offsets, sizes, strict=True)):
        if offset == ABSENT:
            continue
        if spans and offset - spans[-1][1] <= COALESCE_GAP_BYTES:
            spans[-1] = (spans[-1][0], max(spans[-1][1], offset + size))
        else:
            spans.append((offset, offset + size))
    return spans


class ShardCache:
    """The shards that one reader has open in this process, least recently used closed first.

    After a fork the child starts with an empty cache of its own; a pickled reader does, too.
    """

    def __init__(self, num_chunks: int, path_of: Callable[[int], Path]) -> None:
        """Shards of `num_chunks` chunks; `path_of` tells the file of a shard's number."""
        self._num_chunks = num_chunks
        self._path_of = path_of
        self._capacity = max(4, min(MAX_OPEN_SHARDS, MAX_INDEX_BYTES // index_nbytes(num_chunks)))
        self._open: OrderedDict[int, ShardFile] = OrderedDict()
        self._process = os.getpid()

    def get(self, number: int) -> ShardFile:
        """Shard `number`, open; DamagedError as ShardFile raises it."""
        if self._process != os.getpid():
            self.close()
            self._process = os.getpid()
        shard = self._open.get(number)
        if shard is None:
            shard = ShardFile(self._path_of(number), self._num_chunks)
            self._open[number] = shard
            if len(self._open) > self._capacity:
                self._open.popitem(last=False)[1].close()
        else:
            self._open.move_to_end(number)
        return shard

    def close(self) -> None:
        """Close every shard."""
        for shard in self._open.values():
            shard.close()
        self._open.clear()


def as_indices(indices: Sequence[int] | npt.NDArray[np.integer[Any]], *, where: str) -> list[int]:
    """Indices as a list of one int or more.

    Raises:
        StorageError: none, or not a flat row of integers.
    """
    values: list[Any] = indices.tolist() if isinstance(indices, np.ndarray) else list(indices)
    if not values:
        raise StorageError(f"{where}: none given, a clip has at least one")
    try:
        return [operator.index(value) for value in values]
    except TypeError as error:
        raise StorageError(f"{where}: expected a row of integers: {error}") from error
