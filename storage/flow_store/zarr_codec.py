"""Packed differences for zarr-python, which finds this codec by itself where our package is installed.

pyproject.toml names it in the entry point group `zarr.codecs`; so `zarr.open_group(".../flow.zarr")` needs no import.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from zarr.abc.codec import ArrayBytesCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer, NDBuffer

from storage.flow_store.packing import PACKED_DIFFERENCES, pack, unpack


@dataclass(frozen=True)
class PackedDifferences(ArrayBytesCodec):
    """Array to bytes: chunks (..., 2, H, W) of int16 or int8 that hold one field, as packing.py has it."""

    is_fixed_size = False

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The codec has no settings."""
        return cls()

    def to_dict(self) -> dict[str, Any]:
        """What stands in `zarr.json`."""
        return dict(PACKED_DIFFERENCES)

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        height, width = chunk_spec.shape[-2:]
        codes = unpack(chunk_data.to_bytes(), height, width)
        codes = codes.astype(chunk_spec.dtype.to_native_dtype(), copy=False)
        return chunk_spec.prototype.nd_buffer.from_numpy_array(codes.reshape(chunk_spec.shape))

    async def _encode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer:
        codes = chunk_data.as_numpy_array().reshape(2, *chunk_spec.shape[-2:])
        return chunk_spec.prototype.buffer.from_array_like(pack(codes.astype(np.int16)))

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Not known beforehand."""
        raise NotImplementedError
