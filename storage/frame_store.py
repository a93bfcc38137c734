"""The frame store: RGB frames beside the flow fields of the same index, as JPEG, a file a shard.

Shard files have the layout of Zarr shards (storage/shards.py), a chunk being one JPEG followed by its crc32c:
a flipped bit is an error when the frame is read, never a slightly different picture.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg

from storage.atomic import write_atomic
from storage.commits import WrittenShard
from storage.errors import DamagedError, StorageError
from storage.shards import (
    Scratch,
    ShardCache,
    ShardFile,
    as_indices,
    crc32c,
    pack_shard,
    with_crc32c,
    without_crc32c,
)
from storage.zarr_files import json_bytes, read_json

_SPEC_NAME = "frames.json"
_MAX_DECODED_PX = 2**26


@dataclass(frozen=True)
class FrameSpec:
    """A frame store: `segments` segments of at most `max_frames` frames."""

    segments: int
    max_frames: int
    segments_per_shard: int = 32
    attributes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("segments", "max_frames", "segments_per_shard"):
            value = getattr(self, name)
            if value < (0 if name == "segments" else 1):
                raise StorageError(f"{name} of a frame store is {value}, must be positive")

    @property
    def num_shards(self) -> int:
        return -(-self.segments // self.segments_per_shard)

    @property
    def num_chunks(self) -> int:
        """Places for frames in one shard, taken or not."""
        return self.segments_per_shard * self.max_frames

    def shard_segments(self, shard: int) -> range:
        """Segments that lie in `shard`."""
        if not 0 <= shard < self.num_shards:
            raise StorageError(f"shard {shard} does not exist: the store has {self.num_shards}")
        first = shard * self.segments_per_shard
        return range(first, min(first + self.segments_per_shard, self.segments))


def frame_shard_key(shard: int) -> str:
    """Name of a shard's file in the store's folder."""
    return f"{shard:08d}.jpegs"


def create_frame_store(folder: Path, spec: FrameSpec) -> dict[str, str]:
    """Write the description of an empty store; shards that lie there already stay. Returns digests by path."""
    folder.mkdir(parents=True, exist_ok=True)
    return {f"{folder.name}/{_SPEC_NAME}": write_atomic(folder / _SPEC_NAME, _spec_bytes(spec))}


def read_frame_spec(folder: Path) -> FrameSpec:
    """Spec of the frame store in `folder`; DamagedError where there is none, or a single bit of it has changed."""
    path = folder / _SPEC_NAME
    content = read_json(path)
    try:
        spec = FrameSpec(**{key: value for key, value in content.items() if key != "crc32c"})
    except (TypeError, StorageError) as error:
        raise DamagedError(f"{path} does not describe a frame store: {error}") from error
    if path.read_bytes() != _spec_bytes(spec):
        raise DamagedError(f"{path}: its content does not fit its checksum {content.get('crc32c')}")
    return spec


def _spec_bytes(spec: FrameSpec) -> bytes:
    """The spec as JSON with its own checksum: no other file vouches for it while a store is being written."""
    content = json_bytes(asdict(spec))
    return json_bytes({**asdict(spec), "crc32c": f"{crc32c(content):08x}"})


def encode_jpeg(rgb_HW3: npt.NDArray[np.uint8], *, quality: int = 90) -> bytes:
    """JPEG of an RGB picture, chroma halved both ways (4:2:0) as videos have it."""
    if rgb_HW3.ndim != 3 or rgb_HW3.shape[2] != 3 or rgb_HW3.dtype != np.uint8:
        raise StorageError(f"a frame is {rgb_HW3.dtype} {rgb_HW3.shape}, expected uint8 (H, W, 3)")
    data = simplejpeg.encode_jpeg(
        np.ascontiguousarray(rgb_HW3), quality=quality, colorspace="RGB", colorsubsampling="420"
    )
    return bytes(data)


class FrameShardWriter:
    """Writes one shard: `add` its segments in order, then `commit`. Nothing is on disk before `commit`."""

    def __init__(self, folder: Path, shard: int) -> None:
        self._folder = folder
        self._spec = read_frame_spec(folder)
        self._shard = shard
        self._segments = self._spec.shard_segments(shard)
        self._added = 0
        self._chunks: list[bytes | None] = [None] * self._spec.num_chunks

    def add(self, frames: Iterable[bytes] | None) -> None:
        """Add the JPEG frames of the next segment, in order; None: it has none."""
        if self._added >= len(self._segments):
            raise StorageError(f"shard {self._shard} has {len(self._segments)} segments, got one more")
        first = self._added * self._spec.max_frames
        segment = self._segments[self._added]
        self._added += 1
        for index, frame in enumerate(() if frames is None else frames):
            if index >= self._spec.max_frames:
                raise StorageError(
                    f"segment {segment} has more than the {self._spec.max_frames} frames the store was made for"
                )
            self._chunks[first + index] = with_crc32c(bytes(frame))

    def commit(self) -> WrittenShard:
        """Write the shard so that it appears whole or not at all; append the result to the commit log afterwards."""
        if self._added != len(self._segments):
            raise StorageError(f"shard {self._shard} has {len(self._segments)} segments, only {self._added} were added")
        key = frame_shard_key(self._shard)
        digest = write_atomic(self._folder / key, pack_shard(self._chunks))
        stored = [len(chunk) for chunk in self._chunks if chunk is not None]
        return WrittenShard(
            {f"{self._folder.name}/{key}": digest}, {"num_frames": len(stored), "num_frame_bytes": sum(stored)}
        )


def write_frame_shard(folder: Path, shard: int, frames: Iterable[Iterable[bytes] | None]) -> WrittenShard:
    """Write `shard` from the JPEG frames of its segments, in order."""
    writer = FrameShardWriter(folder, shard)
    for segment_frames in frames:
        writer.add(segment_frames)
    return writer.commit()


class FrameReader:
    """Frames of the store in `folder`.

    Cheap to pickle and safe across fork and spawn: every process opens its own files when it first reads.
    Not for two threads at once: give each its own reader.
    """

    def __init__(self, folder: Path) -> None:
        self._open(Path(folder))

    def _open(self, folder: Path) -> None:
        self._folder = folder
        self.spec = read_frame_spec(folder)
        self.attributes = self.spec.attributes
        self._shards = ShardCache(self.spec.num_chunks, lambda shard: folder / frame_shard_key(shard))
        self._scratch = Scratch()

    def __getstate__(self) -> Path:
        return self._folder

    def __setstate__(self, folder: Path) -> None:
        self._open(folder)

    def close(self) -> None:
        """Close all files; the next read opens them again."""
        self._shards.close()

    def num_frames(self, segment: int) -> int:
        """How many frames `segment` has."""
        shard = self._shard(segment)
        first = (segment % self.spec.segments_per_shard) * self.spec.max_frames
        return int(shard.stored[first : first + self.spec.max_frames].sum())

    def jpeg(self, segment: int, index: int) -> bytes:
        """The JPEG of one frame."""
        return bytes(self._read(segment, [index])[0])

    def clip(
        self,
        segment: int,
        indices: Sequence[int] | npt.NDArray[np.integer[Any]],
        *,
        box: tuple[int, int, int, int] | None = None,
        out: npt.NDArray[np.uint8] | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Frames `indices` of `segment`, cropped to `box` (top, left, height, width; default: all).

        Args:
            out: C-contiguous uint8 (n, h, w, 3) to fill and return.

        Returns:
            (n, h, w, 3) uint8 RGB.

        Raises:
            StorageError: a segment, index, box or `out` that does not fit.
            DamagedError: the file is missing, short, or fails a checksum; the message names it.
        """
        jpegs = self._read(segment, indices)
        path = self._shard(segment).path
        height, width = _jpeg_size(jpegs[0], where=f"{path}, segment {segment}")
        top, left, rows, columns = (0, 0, height, width) if box is None else box
        if top < 0 or left < 0 or rows < 1 or columns < 1 or top + rows > height or left + columns > width:
            raise StorageError(f"box {box} leaves the {height}x{width} px of segment {segment}")
        shape = len(jpegs), rows, columns, 3
        if out is None:
            out = np.empty(shape, np.uint8)
        elif out.shape != shape or out.dtype != np.uint8 or not out.flags.c_contiguous:
            raise StorageError(f"out is {out.dtype} {out.shape}, expected C-contiguous uint8 {shape}")
        is_whole = (rows, columns) == (height, width)
        whole_HW3 = np.empty((height, width, 3), np.uint8)
        for position, jpeg in enumerate(jpegs):
            target = out[position] if is_whole else whole_HW3
            try:
                decoded = simplejpeg.decode_jpeg(jpeg, colorspace="RGB", buffer=target)
            except ValueError as error:
                raise DamagedError(f"{path}, segment {segment}: {error}") from error
            if decoded.shape != whole_HW3.shape:
                raise DamagedError(f"{path}, segment {segment}: frames of {decoded.shape} and {whole_HW3.shape}")
            if not is_whole:
                out[position] = whole_HW3[top : top + rows, left : left + columns]
        return out

    def _shard(self, segment: int) -> ShardFile:
        if not 0 <= segment < self.spec.segments:
            raise StorageError(f"segment {segment} does not exist: the store has {self.spec.segments}")
        return self._shards.get(segment // self.spec.segments_per_shard)

    def _read(self, segment: int, indices: Sequence[int] | npt.NDArray[np.integer[Any]]) -> list[memoryview]:
        """JPEG bytes of the frames, checksums checked; valid until the next read."""
        shard = self._shard(segment)
        picked = as_indices(indices, where=f"frame indices of segment {segment}")
        count = self.num_frames(segment)
        if min(picked) < 0 or max(picked) >= count:
            raise StorageError(f"segment {segment} has frames 0..{count - 1}, asked for {min(picked)}..{max(picked)}")
        first = (segment % self.spec.segments_per_shard) * self.spec.max_frames
        ordinals = [first + index for index in picked]
        chunks = shard.read_chunks(ordinals, self._scratch)
        where = f"{shard.path}, segment {segment}, frame "
        return [without_crc32c(chunk, where=f"{where}{index}") for chunk, index in zip(chunks, picked, strict=True)]


def _jpeg_size(jpeg: memoryview, *, where: str) -> tuple[int, int]:
    """(height, width) from the header."""
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
    except ValueError as error:
        raise DamagedError(f"{where}: {error}") from error
    if height * width > _MAX_DECODED_PX:
        raise DamagedError(f"{where}: a frame of {height}x{width} px is larger than any that is stored")
    return int(height), int(width)
