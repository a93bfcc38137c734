"""Reading clips of a flow store at about the speed of the decoder.

The shard's index is parsed once, a clip is one `pread` where its fields lie together, each field is cropped while it is
still integers and made float in the output. Plain zarr-python gives the same bits: tests hold the two together.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.box import Box
from storage.errors import DamagedError
from storage.flow_store.codec import FieldDecoder
from storage.flow_store.spec import FlowSpec, read_spec, shard_key
from storage.shard_grid import ShardGrid
from storage.shard_store import Indices, ShardReader, output
from storage.shards import ShardCache, without_crc32c
from storage.zarr_files import ROWS_PER_SHARD, group_attributes, read_vector


class FlowReader(ShardReader):
    """Clips of the finalised flow store in `folder`."""

    noun = "fields"

    def _open(self, folder: Path) -> ShardGrid:
        self.attributes: dict[str, Any] = group_attributes(folder)
        self.spec: FlowSpec = read_spec(folder)
        count = self.spec.segments
        self.num_fields: npt.NDArray[np.int32] = read_vector(folder, "num_fields", count)
        self._height = read_vector(folder, "height", count)
        self._width = read_vector(folder, "width", count)
        codes = self.spec.codes
        self._radii = ShardCache(ROWS_PER_SHARD, lambda shard: folder / "radius_max" / f"c.{shard}.0")
        self._decode = FieldDecoder(self.spec.block_shape, codes.numpy_dtype, self.spec.coding)
        self._scale = np.float32(1 / codes.steps_per_px)
        return self.spec.grid

    def _path(self, shard: int) -> Path:
        return self._folder / shard_key(shard)

    def _count(self, segment: int) -> int:
        return self.valid(segment)[0]

    def close(self) -> None:
        """Close all files; the next read opens them again."""
        super().close()
        self._radii.close()

    def valid(self, segment: int) -> tuple[int, int, int]:
        """(number of fields, height, width) of `segment`; zeros where it has no flow."""
        self._grid.place_of(segment)
        return int(self.num_fields[segment]), int(self._height[segment]), int(self._width[segment])

    def clip(
        self,
        segment: int,
        indices: Indices,
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
        picked = self._picked(segment, indices)
        _, height, width = self.valid(segment)
        crop = (box or Box(0, 0, height, width)).inside(height, width, where=f"segment {segment}")
        out = output(out, (len(picked), crop.height, crop.width, 2), np.float32)
        shard, stored = self._read(segment, picked)
        for position, data in enumerate(stored):
            try:
                self._decode.pixels(data, crop, self._scale, out[position])
            except DamagedError as error:
                raise DamagedError(f"{shard.path}: field {picked[position]} of segment {segment}: {error}") from error
        return out

    def radius_max(self, segment: int, indices: Indices) -> npt.NDArray[np.float32]:
        """Largest |(u, v)| in px of each of the fields over their whole valid area, (n,): the scale of METHOD 1.4.1."""
        picked = self._picked(segment, indices)
        shard = self._radii.get(segment // ROWS_PER_SHARD)
        data = shard.read_chunks([segment % ROWS_PER_SHARD], self._scratch)[0]
        row = np.frombuffer(without_crc32c(data, where=f"{shard.path}, segment {segment}"), "<f4")
        return row[picked].astype(np.float32)
