"""The frame store: RGB frames beside the flow fields of the same index, as JPEG, a file a shard.

Shard files have the layout of Zarr shards (storage/shards.py), a chunk being one JPEG followed by its crc32c:
a flipped bit is an error when the frame is read, never a slightly different picture.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg

from storage.atomic import write_atomic
from storage.box import Box
from storage.errors import DamagedError, StorageError
from storage.json_files import json_bytes, read_json_object
from storage.shard_grid import ShardGrid
from storage.shard_store import Indices, ShardReader, ShardWriter, output
from storage.shards import crc32c, with_crc32c, without_crc32c

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
        _ = self.grid  # which checks the numbers

    @property
    def grid(self) -> ShardGrid:
        return ShardGrid(self.segments, self.segments_per_shard, self.max_frames)


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
    content = read_json_object(path)
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


class FrameShardWriter(ShardWriter[Iterable[bytes]]):
    """Writes one shard of frames; a segment is its JPEG frames, in order."""

    def __init__(self, folder: Path, shard: int) -> None:
        super().__init__(folder, frame_shard_key(shard), read_frame_spec(folder).grid, shard, noun="frames")

    def _add(self, local: int, content: Iterable[bytes]) -> None:
        for index, frame in enumerate(content):
            self._put(local, index, with_crc32c(bytes(frame)))

    def _info(self) -> dict[str, int | float]:
        stored = self._stored_nbytes
        return {"num_frames": len(stored), "num_frame_bytes": sum(stored)}


class FrameReader(ShardReader):
    """Frames of the store in `folder`."""

    noun = "frames"

    def _open(self, folder: Path) -> ShardGrid:
        self.spec = read_frame_spec(folder)
        self.attributes = self.spec.attributes
        return self.spec.grid

    def _path(self, shard: int) -> Path:
        return self._folder / frame_shard_key(shard)

    def _count(self, segment: int) -> int:
        shard, first = self._shard(segment)
        return int(shard.stored[first : first + self.spec.max_frames].sum())

    def num_frames(self, segment: int) -> int:
        """How many frames `segment` has."""
        return self._count(segment)

    def jpeg(self, segment: int, index: int) -> bytes:
        """The JPEG of one frame."""
        return bytes(self._jpegs(segment, [index])[1][0])

    def clip(
        self,
        segment: int,
        indices: Indices,
        *,
        box: Box | None = None,
        out: npt.NDArray[np.uint8] | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Frames `indices` of `segment`, cropped to `box` (default: all).

        Args:
            out: C-contiguous uint8 (n, h, w, 3) to fill and return.

        Returns:
            (n, h, w, 3) uint8 RGB.

        Raises:
            StorageError: a segment, index, box or `out` that does not fit.
            DamagedError: the file is missing, short, or fails a checksum; the message names it.
        """
        path, jpegs = self._jpegs(segment, indices)
        height, width = _jpeg_size(jpegs[0], where=f"{path}, segment {segment}")
        crop = (box or Box(0, 0, height, width)).inside(height, width, where=f"segment {segment}")
        out = output(out, (len(jpegs), crop.height, crop.width, 3), np.uint8)
        is_whole = (crop.height, crop.width) == (height, width)
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
                out[position] = crop.of(whole_HW3)
        return out

    def _jpegs(self, segment: int, indices: Indices) -> tuple[Path, list[memoryview]]:
        """(the shard's file, JPEG bytes of the frames, checksums checked); valid until the next read."""
        picked = self._picked(segment, indices)
        shard, stored = self._read(segment, picked)
        where = f"{shard.path}, segment {segment}, frame "
        return shard.path, [
            without_crc32c(chunk, where=f"{where}{index}") for chunk, index in zip(stored, picked, strict=True)
        ]


def _jpeg_size(jpeg: memoryview, *, where: str) -> tuple[int, int]:
    """(height, width) from the header."""
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
    except ValueError as error:
        raise DamagedError(f"{where}: {error}") from error
    if height * width > _MAX_DECODED_PX:
        raise DamagedError(f"{where}: a frame of {height}x{width} px is larger than any that is stored")
    return int(height), int(width)
