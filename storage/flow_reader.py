"""Reading clips of a flow store at about the speed of the decoder.

The shard's index is parsed once, a clip is one `pread` where its fields lie together, each field is cropped while it is
still integers and made float in the output. Plain zarr-python gives the same bits: tests hold the two together.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.errors import DamagedError, StorageError
from storage.flow_codec import Box, FieldDecoder
from storage.flow_spec import FlowSpec, read_spec, shard_key
from storage.shards import Scratch, ShardCache, as_indices, without_crc32c
from storage.zarr_files import ROWS_PER_SHARD, group_attributes, read_vector


class FlowReader:
    """Clips of the finalised flow store in `folder`.

    Cheap to pickle and safe across fork and spawn: every process opens its own files when it first reads.
    Not for two threads at once: give each its own reader.
    """

    def __init__(self, folder: Path) -> None:
        self._open(Path(folder))

    def _open(self, folder: Path) -> None:
        self._folder = folder
        self.attributes: dict[str, Any] = group_attributes(self._folder)
        self.spec: FlowSpec = read_spec(self._folder)
        count = self.spec.segments
        self.num_fields: npt.NDArray[np.int32] = read_vector(self._folder, "num_fields", count)
        self._height = read_vector(self._folder, "height", count)
        self._width = read_vector(self._folder, "width", count)
        codes = self.spec.codes
        self._shards = ShardCache(self.spec.num_chunks, lambda shard: folder / shard_key(shard))
        self._radii = ShardCache(ROWS_PER_SHARD, lambda shard: folder / "radius_max" / f"c.{shard}.0")
        self._scratch = Scratch()
        self._decode = FieldDecoder(self.spec.block_shape, codes.numpy_dtype, self.spec.coding)
        self._scale = np.float32(1 / codes.steps_per_px)

    def __getstate__(self) -> Path:
        return self._folder

    def __setstate__(self, folder: Path) -> None:
        self._open(folder)

    def close(self) -> None:
        """Close all files; the next read opens them again."""
        self._shards.close()
        self._radii.close()

    def valid(self, segment: int) -> tuple[int, int, int]:
        """(number of fields, height, width) of `segment`; zeros where it has no flow."""
        self._check_segment(segment)
        return int(self.num_fields[segment]), int(self._height[segment]), int(self._width[segment])

    def clip(
        self,
        segment: int,
        indices: Sequence[int] | npt.NDArray[np.integer[Any]],
        *,
        box: Box | None = None,
        out: npt.NDArray[np.float32] | None = None,
    ) -> npt.NDArray[np.float32]:
        """Fields `indices` of `segment`, cropped to `box` (default: the whole valid area).

        Args:
            out: C-contiguous float32 (n, h, w, 2) to fill and return. A fresh array costs page faults: reuse one.

        Returns:
            (n, h, w, 2) float32, px of the stored grid.

        Raises:
            StorageError: a segment, index, box or `out` that does not fit.
            DamagedError: the file is missing, short, or fails a checksum; the message names it.
        """
        picked = self._check_indices(segment, indices)
        _, height, width = self.valid(segment)
        top, left, rows, columns = (0, 0, height, width) if box is None else box
        if top < 0 or left < 0 or rows < 1 or columns < 1 or top + rows > height or left + columns > width:
            raise StorageError(f"box {box} leaves the {height}x{width} px of segment {segment}")
        shape = len(picked), rows, columns, 2
        if out is None:
            out = np.empty(shape, np.float32)
        elif out.shape != shape or out.dtype != np.float32 or not out.flags.c_contiguous:
            raise StorageError(f"out is {out.dtype} {out.shape}, expected C-contiguous float32 {shape}")
        shard = self._shards.get(segment // self.spec.segments_per_shard)
        first = (segment % self.spec.segments_per_shard) * self.spec.max_fields
        for position, data in enumerate(shard.read_chunks([first + index for index in picked], self._scratch)):
            try:
                self._decode.pixels(data, (top, left, rows, columns), self._scale, out[position])
            except DamagedError as error:
                raise DamagedError(f"{shard.path}: field {picked[position]} of segment {segment}: {error}") from error
        return out

    def radius_max(
        self, segment: int, indices: Sequence[int] | npt.NDArray[np.integer[Any]]
    ) -> npt.NDArray[np.float32]:
        """Largest |(u, v)| in px of each of the fields over their whole valid area, (n,): the scale of METHOD 1.4.1."""
        picked = self._check_indices(segment, indices)
        shard = self._radii.get(segment // ROWS_PER_SHARD)
        data = shard.read_chunks([segment % ROWS_PER_SHARD], self._scratch)[0]
        row = np.frombuffer(without_crc32c(data, where=f"{shard.path}, segment {segment}"), "<f4")
        return row[picked].astype(np.float32)

    def _check_segment(self, segment: int) -> None:
        if not 0 <= segment < self.spec.segments:
            raise StorageError(f"segment {segment} does not exist: the store has {self.spec.segments}")

    def _check_indices(self, segment: int, indices: Sequence[int] | npt.NDArray[np.integer[Any]]) -> list[int]:
        self._check_segment(segment)
        picked = as_indices(indices, where=f"field indices of segment {segment}")
        count = int(self.num_fields[segment])
        if min(picked) < 0 or max(picked) >= count:
            raise StorageError(f"segment {segment} has fields 0..{count - 1}, asked for {min(picked)}..{max(picked)}")
        return picked
