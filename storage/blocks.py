"""A few named arrays in one checksummed block of bytes: what a shard says about itself.

magic (8 bytes) | u64 length of all that follows | u32 length of the JSON header | header | arrays | crc32c
"""

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.errors import DamagedError
from storage.shards import with_crc32c, without_crc32c

_MAGIC = b"MSCLBLK1"
PREFIX_NBYTES = 16


def pack_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """One block holding `arrays` (numeric, any shape)."""
    header = json.dumps({name: [values.dtype.str, list(values.shape)] for name, values in arrays.items()}).encode()
    body = struct.pack("<I", len(header)) + header + b"".join(values.tobytes() for values in arrays.values())
    sealed = with_crc32c(body)
    return _MAGIC + struct.pack("<Q", len(sealed)) + sealed


def block_nbytes(prefix: bytes, *, where: str) -> int:
    """Size of the whole block that starts with the PREFIX_NBYTES bytes `prefix`."""
    if len(prefix) < PREFIX_NBYTES or prefix[:8] != _MAGIC:
        raise DamagedError(f"{where}: starts with {prefix[:8]!r}, expected {_MAGIC!r}")
    return PREFIX_NBYTES + int(struct.unpack("<Q", prefix[8:16])[0])


def unpack_arrays(block: bytes, *, where: str) -> dict[str, npt.NDArray[Any]]:
    """Arrays of a block of `pack_arrays`, read-only.

    Raises:
        DamagedError: not such a block, cut short, or its checksum differs; `where` names the place.
    """
    if block_nbytes(block[:PREFIX_NBYTES], where=where) != len(block):
        raise DamagedError(
            f"{where}: {len(block)} bytes, but its header promises {block_nbytes(block[:16], where=where)}"
        )
    body = without_crc32c(memoryview(block)[PREFIX_NBYTES:], where=where)
    (header_nbytes,) = struct.unpack("<I", body[:4])
    position = 4 + header_nbytes
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, (dtype, shape) in json.loads(bytes(body[4:position])).items():
        count = int(np.prod(shape, dtype=np.int64))
        arrays[name] = np.frombuffer(body, dtype=dtype, count=count, offset=position).reshape(shape)
        position += arrays[name].nbytes
    return arrays
