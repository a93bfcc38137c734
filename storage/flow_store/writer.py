"""Writing a flow store: metadata first, then whole shards by any number of writers, then the side tables.

A shard is one Zarr shard file. Its preamble says what Zarr's array cannot: the valid size and the largest radius of
every field, and what quantising cost. `finalise_flow_store` gathers the preambles into arrays beside `flow`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.blocks import PREFIX_NBYTES, block_nbytes, pack_arrays, unpack_arrays
from storage.errors import DamagedError, StorageError
from storage.flow_store.codec import FieldEncoder
from storage.flow_store.quantiser import quantise
from storage.flow_store.spec import ARRAY, FlowSpec, flow_metadata, group_metadata, read_spec, shard_key
from storage.json_files import write_json
from storage.shard_store import ShardWriter
from storage.shards import ShardFile
from storage.zarr_files import write_group_metadata, write_rows, write_vector

Fields = npt.NDArray[np.float32] | Iterable[npt.NDArray[np.float32]]
Tables = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class StoredSegment:
    """Flow of a segment that another store has, encoded for this one (`read_stored_segment`)."""

    chunks: list[bytes]
    height: int
    width: int
    radius_max: npt.NDArray[np.float32]
    """Of each field, (M,), px."""
    error_px: npt.NDArray[np.float64]
    """(2,): sum and largest of the end-point errors that quantising cost."""
    counts: npt.NDArray[np.int64]
    """(2,): vectors, clipped components."""


def create_flow_store(folder: Path, spec: FlowSpec) -> dict[str, str]:
    """Write the metadata of an empty store; shards that lie there already stay.

    Returns:
        sha256 by path relative to `folder.parent`, here and in all functions of the stores.
    """
    (folder / ARRAY).mkdir(parents=True, exist_ok=True)
    return {
        f"{folder.name}/{ARRAY}/zarr.json": write_json(folder / ARRAY / "zarr.json", flow_metadata(spec)),
        f"{folder.name}/zarr.json": write_group_metadata(folder, group_metadata(spec, {})),
    }


class FlowShardWriter(ShardWriter[Fields | StoredSegment]):
    """Writes one shard of flow; a segment is (M, H, W, 2) px, any iterable of (H, W, 2), all of one size, or stored.

    Fields are quantised and compressed as they come, so that a shard never lies in memory uncompressed.
    """

    def __init__(self, folder: Path, shard: int) -> None:
        self._spec = spec = read_spec(folder)
        super().__init__(folder, shard_key(shard), spec.grid, shard, noun="fields")
        self._block_2HW = np.empty(spec.block_shape, spec.codes.numpy_dtype)
        self._encode = FieldEncoder(spec.block_shape, spec.codes.numpy_dtype, spec.coding)
        self._block_size: tuple[int, int] | None = None
        count = spec.segments_per_shard
        self._sizes = {name: np.zeros(count, np.int32) for name in ("num_fields", "height", "width")}
        self._radius_max = np.full((count, spec.max_fields), np.nan, np.float32)
        self._error_px = np.zeros((count, 2))
        self._counts = np.zeros((count, 2), np.int64)

    def _add(self, local: int, content: Fields | StoredSegment) -> None:
        if isinstance(content, StoredSegment):
            self._add_stored(local, content)
            return
        for index, field_HW2 in enumerate(content):
            self._add_field(local, index, np.asarray(field_HW2, np.float32))

    def _add_stored(self, local: int, stored: StoredSegment) -> None:
        for index, chunk in enumerate(stored.chunks):
            self._put(local, index, chunk)
        self._sizes["num_fields"][local] = len(stored.chunks)
        self._sizes["height"][local] = stored.height
        self._sizes["width"][local] = stored.width
        self._radius_max[local, : len(stored.chunks)] = stored.radius_max
        self._error_px[local] = stored.error_px
        self._counts[local] = stored.counts

    def _add_field(self, local: int, index: int, field_HW2: npt.NDArray[np.float32]) -> None:
        spec = self._spec
        segment = self._segments[local]
        if field_HW2.ndim != 3 or field_HW2.shape[2] != 2 or 0 in field_HW2.shape:
            raise StorageError(f"segment {segment}: a flow field has shape {field_HW2.shape}, expected (H, W, 2)")
        height, width, _ = field_HW2.shape
        self._check_place(local, index)
        if height > spec.height or width > spec.width:
            raise StorageError(
                f"segment {segment}: field of {height}x{width} px does not fit the grid of {spec.height}x{spec.width}"
            )
        known = int(self._sizes["height"][local]), int(self._sizes["width"][local])
        if index > 0 and known != (height, width):
            raise StorageError(f"segment {segment}: field {index} has {height}x{width} px, those before {known}")
        if self._block_size != (height, width):
            self._block_2HW.fill(spec.codes.fill)
            self._block_size = height, width
        try:
            found = quantise(field_HW2, spec.codes, self._block_2HW)
        except StorageError as error:
            raise StorageError(f"segment {segment}, field {index}: {error}") from error
        self._put(local, index, self._encode(self._block_2HW))
        self._sizes["num_fields"][local] = index + 1
        self._sizes["height"][local] = height
        self._sizes["width"][local] = width
        self._radius_max[local, index] = found.radius_max
        self._error_px[local, 0] += found.error_sum
        self._error_px[local, 1] = max(self._error_px[local, 1], found.error_max)
        self._counts[local] += height * width, found.num_clipped

    def _preamble(self) -> bytes:
        return pack_arrays(
            {
                **self._sizes,
                "radius_max": self._radius_max,
                "error_px": self._error_px,
                "counts": self._counts,
            }
        )

    def _info(self) -> dict[str, int | float]:
        return {
            "num_fields": int(self._sizes["num_fields"].sum()),
            "num_clipped": int(self._counts[:, 1].sum()),
            "num_bytes": sum(self._stored_nbytes),
        }


def read_preamble(shard_file: ShardFile) -> Tables:
    """What the shard says about itself; DamagedError where it does not say it."""
    where = f"{shard_file.path}, preamble"
    nbytes = block_nbytes(shard_file.read_range(0, PREFIX_NBYTES), where=where)
    if nbytes > shard_file.data_nbytes:
        raise DamagedError(f"{where}: {nbytes} bytes promised, {shard_file.data_nbytes} there")
    return unpack_arrays(shard_file.read_range(0, nbytes), where=where)


def finalise_flow_store(folder: Path) -> dict[str, str]:
    """Write `num_fields`, `height`, `width` (segment), `radius_max` (segment, field), the measured quantisation error.

    Readers open a store that is finalised. Doing it again gives the same files.

    Raises:
        DamagedError: a shard is missing or damaged.
    """
    spec = read_spec(folder)
    vectors = {name: np.zeros(spec.segments, np.int32) for name in ("num_fields", "height", "width")}
    radius_max = np.full((spec.segments, spec.max_fields), np.nan, np.float32)
    error_sum_px, error_max_px, num_vectors, num_clipped = 0.0, 0.0, 0, 0
    for shard in range(spec.grid.num_shards):
        segments = spec.grid.segments_of(shard)
        place = slice(segments.start, segments.stop)
        shard_file = ShardFile(folder / shard_key(shard), spec.grid.num_chunks)
        try:
            tables = read_preamble(shard_file)
        finally:
            shard_file.close()
        for name, vector in vectors.items():
            vector[place] = tables[name][: len(segments)]
        radius_max[place] = tables["radius_max"][: len(segments)]
        errors, counts = (tables[name].reshape(-1, 2) for name in ("error_px", "counts"))  # once a row for a shard
        error_sum_px += float(errors[:, 0].sum())
        error_max_px = max(error_max_px, float(errors[:, 1].max()))
        num_vectors += int(counts[:, 0].sum())
        num_clipped += int(counts[:, 1].sum())
    digests: dict[str, str] = {}
    for name, vector in vectors.items():
        digests |= write_vector(folder, name, vector)
    digests |= write_rows(folder, "radius_max", radius_max)
    measured = {
        "mean_epe_px": error_sum_px / max(num_vectors, 1),
        "max_epe_px": error_max_px,
        "num_vectors": num_vectors,
        "num_clipped": num_clipped,
    }
    digests[f"{ARRAY}/zarr.json"] = write_json(folder / ARRAY / "zarr.json", flow_metadata(spec))
    digests["zarr.json"] = write_group_metadata(folder, group_metadata(spec, measured))
    return {f"{folder.name}/{key}": digest for key, digest in digests.items()}
