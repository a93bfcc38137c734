"""What a flow store is made of: sizes, quantisers, and their description in Zarr metadata."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.errors import DamagedError, StorageError
from storage.flow_codec import CODINGS, LEVEL, PACKED, PLAIN
from storage.shards import crc32c
from storage.zarr_files import (
    BYTES,
    BYTES_8BIT,
    PACKED_DIFFERENCES,
    JsonObject,
    array_metadata,
    group_attributes,
    json_bytes,
    sharding,
    zstd_codec,
)

ARRAY = "flow"


@dataclass(frozen=True)
class Quantiser:
    """Flow as integers: code = round(flow_px * steps_per_px), clipped to +-limit_code; `fill` is no code."""

    name: str
    dtype: str
    steps_per_px: int
    limit_code: int
    fill: int

    @property
    def limit_px(self) -> float:
        """Largest component that can be stored; larger ones are clipped and counted."""
        return self.limit_code / self.steps_per_px

    @property
    def max_epe_px(self) -> float:
        """Largest end-point error of a vector that is not clipped: half a step in both components."""
        return float(np.sqrt(0.5)) / self.steps_per_px

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        return np.dtype(self.dtype)


QUANTISERS: Mapping[str, Quantiser] = {
    "int16_16": Quantiser("int16_16", "int16", 16, 32767, -32768),
    "int8_8": Quantiser("int8_8", "int8", 8, 127, -128),
    "int8_4": Quantiser("int8_4", "int8", 4, 127, -128),
}


@dataclass(frozen=True)
class FlowSpec:
    """A flow store: `segments` segments of at most `max_fields` fields of at most `height` x `width` px."""

    segments: int
    max_fields: int
    height: int
    width: int
    segments_per_shard: int = 32
    quantiser: str = "int16_16"
    coding: str = PACKED
    """`packed`: a third smaller and read faster, see storage/packing.py. `plain`: any Zarr reader reads it."""
    attributes: dict[str, Any] = field(default_factory=dict)
    """Method, parameters, versions, source digests ...: plain JSON, kept in the group's attributes."""

    def __post_init__(self) -> None:
        for name in ("segments", "max_fields", "height", "width", "segments_per_shard"):
            value = getattr(self, name)
            if value < (0 if name == "segments" else 1):
                raise StorageError(f"{name} of a flow store is {value}, must be positive")
        if self.quantiser not in QUANTISERS:
            raise StorageError(f"quantiser {self.quantiser!r} is unknown; choose one of {', '.join(QUANTISERS)}")
        if self.coding not in CODINGS:
            raise StorageError(f"coding {self.coding!r} is unknown; choose one of {', '.join(CODINGS)}")

    @property
    def num_shards(self) -> int:
        return -(-self.segments // self.segments_per_shard)

    def shard_segments(self, shard: int) -> range:
        """Segments that lie in `shard`."""
        if not 0 <= shard < self.num_shards:
            raise StorageError(f"shard {shard} does not exist: the store has {self.num_shards}")
        first = shard * self.segments_per_shard
        return range(first, min(first + self.segments_per_shard, self.segments))

    @property
    def codes(self) -> Quantiser:
        return QUANTISERS[self.quantiser]

    @property
    def num_chunks(self) -> int:
        """Inner chunks (fields) of one shard, stored or not."""
        return self.segments_per_shard * self.max_fields

    @property
    def block_shape(self) -> tuple[int, int, int]:
        """Shape of one stored field: (2, H, W), planar."""
        return 2, self.height, self.width


def shard_key(shard: int) -> str:
    """Path of a shard's file relative to the store's folder."""
    return f"{ARRAY}/c.{shard}.0.0.0.0"


def flow_metadata(spec: FlowSpec) -> JsonObject:
    """`zarr.json` of the array `flow` (segment, field, component, row, column)."""
    codes = spec.codes
    to_bytes = BYTES if codes.numpy_dtype.itemsize > 1 else BYTES_8BIT
    if spec.coding == PACKED:
        to_bytes = PACKED_DIFFERENCES
    inner = [1, 1, *spec.block_shape]
    return array_metadata(
        [spec.segments, spec.max_fields, *spec.block_shape],
        chunk_shape=[spec.segments_per_shard, spec.max_fields, *spec.block_shape],
        dtype=codes.dtype,
        fill=codes.fill,
        codecs=[sharding(inner, [to_bytes, zstd_codec(LEVEL)])],
        dimensions=["segment", "field", "component", "row", "column"],
        attributes={"unit": "px of the stored grid", "scale": 1 / codes.steps_per_px, "components": ["u", "v"]},
    )


def group_metadata(spec: FlowSpec, measured: Mapping[str, Any]) -> JsonObject:
    """Attributes of the group: the caller's, the layout, and the error of the quantiser as far as `measured`."""
    codes = spec.codes
    layout = {key: value for key, value in asdict(spec).items() if key != "attributes"}
    quantisation = {
        "steps_per_px": codes.steps_per_px,
        "limit_px": codes.limit_px,
        "bound_epe_px": codes.max_epe_px,
        **measured,
    }
    return {
        **spec.attributes,
        "layout": {**layout, "crc32c": _checksum(layout)},
        "quantisation": quantisation,
    }


def _checksum(layout: Mapping[str, Any]) -> str:
    """A changed width would not fail to decode: it would shift pixels. So the layout is checked when it is read."""
    return f"{crc32c(json_bytes(layout)):08x}"


def read_spec(folder: Path) -> FlowSpec:
    """Spec of the flow store in `folder`.

    Raises:
        DamagedError: no flow store, or its metadata does not fit together.
    """
    attributes = group_attributes(folder)
    try:
        layout = dict(attributes["layout"])
        if layout.pop("crc32c") != _checksum(layout):
            raise DamagedError(f"{folder / 'zarr.json'}: the layout does not fit its checksum: {layout}")
        own = {key: value for key, value in attributes.items() if key not in ("layout", "quantisation")}
        return FlowSpec(**{"coding": PLAIN, **layout}, attributes=own)  # before there was a choice, all were plain
    except DamagedError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"{folder / 'zarr.json'} does not describe a flow store: {error}") from error


@dataclass(frozen=True)
class Quantised:
    """What quantising one field found, in px."""

    num_clipped: int
    """Components that were too large to be stored."""
    error_sum: float
    error_max: float
    """Of the end-point errors."""
    radius_max: float
    """Largest |(u, v)| as stored."""


def quantise(field_HW2: npt.NDArray[np.float32], codes: Quantiser, out_2HW: npt.NDArray[Any]) -> Quantised:
    """Write the codes of one field into the top left corner of `out_2HW`.

    Raises:
        StorageError: NaN or infinite values.
    """
    height, width, _ = field_HW2.shape
    scaled_2HW = np.empty((2, height, width), np.float32)
    np.multiply(field_HW2.transpose(2, 0, 1), np.float32(codes.steps_per_px), out=scaled_2HW)
    rounded_2HW = np.rint(scaled_2HW)
    largest = float(np.abs(rounded_2HW).max())
    if not np.isfinite(largest):
        raise StorageError(
            f"the flow field has {int((~np.isfinite(field_HW2)).sum())} values that are NaN or infinite; "
            "no flow method should make them: check its input"
        )
    num_clipped = 0
    if largest > codes.limit_code:
        num_clipped = int((np.abs(rounded_2HW) > codes.limit_code).sum())
        np.clip(rounded_2HW, -codes.limit_code, codes.limit_code, out=rounded_2HW)
    out_2HW[:, :height, :width] = rounded_2HW
    scaled_2HW -= rounded_2HW
    error_HW = np.sqrt(_squared_lengths(scaled_2HW))
    return Quantised(
        num_clipped,
        error_sum=float(error_HW.sum()) / codes.steps_per_px,
        error_max=float(error_HW.max()) / codes.steps_per_px,
        radius_max=float(np.sqrt(_squared_lengths(rounded_2HW).max())) / codes.steps_per_px,
    )


def _squared_lengths(vectors_2HW: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Overwrites its input: a fresh array costs more than the arithmetic."""
    np.multiply(vectors_2HW, vectors_2HW, out=vectors_2HW)
    squared_HW: npt.NDArray[np.float32] = vectors_2HW[0]
    squared_HW += vectors_2HW[1]
    return squared_HW
