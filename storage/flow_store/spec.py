"""What a flow store is made of: sizes, quantiser, coding, and their description in Zarr metadata."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from storage.errors import DamagedError, StorageError
from storage.flow_store.codec import CODINGS, LEVEL, PACKED, PLAIN
from storage.flow_store.packing import PACKED_DIFFERENCES
from storage.flow_store.quantiser import QUANTISERS, Quantiser
from storage.json_files import JsonObject, json_bytes
from storage.shard_grid import ShardGrid
from storage.shards import crc32c
from storage.zarr_files import (
    BYTES,
    BYTES_8BIT,
    array_metadata,
    group_attributes,
    sharding,
    zstd_codec,
)

ARRAY = "flow"


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
    """`packed`: a third smaller and read faster, see packing.py. `plain`: any Zarr reader reads it."""
    attributes: dict[str, Any] = field(default_factory=dict)
    """Method, parameters, versions, source digests ...: plain JSON, kept in the group's attributes."""

    def __post_init__(self) -> None:
        if self.grid.places and min(self.height, self.width) < 1:  # a grid checks its own numbers
            raise StorageError(f"a field of {self.height}x{self.width} px holds nothing; both must be at least 1")
        if self.quantiser not in QUANTISERS:
            raise StorageError(f"quantiser {self.quantiser!r} is unknown; choose one of {', '.join(QUANTISERS)}")
        if self.coding not in CODINGS:
            raise StorageError(f"coding {self.coding!r} is unknown; choose one of {', '.join(CODINGS)}")

    @property
    def grid(self) -> ShardGrid:
        return ShardGrid(self.segments, self.segments_per_shard, self.max_fields)

    @property
    def codes(self) -> Quantiser:
        return QUANTISERS[self.quantiser]

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
