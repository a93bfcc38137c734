"""One segment of a flow store, as it goes into another store: its codes are copied, nothing is rounded again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from storage.errors import DamagedError
from storage.flow_store.codec import FieldDecoder, FieldEncoder
from storage.flow_store.spec import FlowSpec, read_spec, shard_key
from storage.flow_store.writer import StoredSegment, read_preamble
from storage.shards import Scratch, ShardFile


def read_stored_segment(folder: Path, segment: int, *, to: FlowSpec) -> StoredSegment | None:
    """Segment number `segment` of the store in `folder`, whose shard is committed, encoded for the store `to`.

    Returns:
        None where the store was written by a version that did not note what is to be noted of each segment.

    Raises:
        DamagedError: the shard is missing or damaged.
        StorageError: the store has no such segment.
    """
    spec = read_spec(folder)
    if spec.quantiser != to.quantiser:
        return None
    shard, first = spec.grid.place_of(segment)
    local = first // spec.grid.places
    file = ShardFile(folder / shard_key(shard), spec.grid.num_chunks)
    try:
        tables = read_preamble(file)
        if tables["error_px"].ndim == 1:
            return None
        height, width, count = (int(tables[name][local]) for name in ("height", "width", "num_fields"))
        if height > to.height or width > to.width:
            raise DamagedError(
                f"{file.path}: segment {segment} has fields of {height}x{width} px, larger than its video"
            )
        recode = _Recoder(spec, to, height, width)
        scratch = Scratch()
        chunks = [recode(file.read_chunks([first + index], scratch)[0]) for index in range(count)]
    finally:
        file.close()
    return StoredSegment(
        chunks, height, width, tables["radius_max"][local, :count], tables["error_px"][local], tables["counts"][local]
    )


class _Recoder:
    """Bytes of a field in the blocks of another store; they are decoded in any case, which checks them."""

    def __init__(self, spec: FlowSpec, to: FlowSpec, height: int, width: int) -> None:
        self._decode = FieldDecoder(spec.block_shape, spec.codes.numpy_dtype, spec.coding)
        self._is_same = (spec.block_shape, spec.coding) == (to.block_shape, to.coding)
        self._encode = FieldEncoder(to.block_shape, to.codes.numpy_dtype, to.coding)
        self._block_2HW: npt.NDArray[np.integer] = np.full(to.block_shape, to.codes.fill, to.codes.numpy_dtype)
        self._inside = (slice(None), slice(height), slice(width))

    def __call__(self, chunk: memoryview) -> bytes:
        codes_2HW = self._decode.codes(chunk)
        if self._is_same:
            return bytes(chunk)
        self._block_2HW[self._inside] = codes_2HW[self._inside]
        return self._encode(self._block_2HW)
