"""Packed differences: flow codes as one byte a pixel, which zstd makes a third smaller and decodes twice as fast.

Flow is smooth, so what a code differs by from the plane through its neighbours above, to the left, and above to the
left is mostly within +-7 steps (Lorenzo's predictor):

    d[c, y, x] = code[c, y, x] - code[c, y - 1, x] - code[c, y, x - 1] + code[c, y - 1, x - 1]

with 0 outside of the field and arithmetic modulo 2^16. A half byte holds d + 8 for -7 <= d <= 7, else 0. The packed
field is

    H * W bytes, row by row: the half byte of u in the low bits, that of v in the high bits
    E bytes, E bytes: the low, then the high bytes of d + 128 for the E components whose half byte is 0,
                      pixel by pixel, u before v

Ibarria et al. 2003 (Eurographics) describe the predictor. `packing.cpp` does the same 15 times faster; the NumPy code
here is its oracle, and the fallback where no compiler was there at install time.
"""

import ctypes
import functools
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.box import Box
from storage.errors import DamagedError, StorageError

PACKED_DIFFERENCES: dict[str, Any] = {"name": "mscl.packed_differences", "configuration": {}}
"""The codec as `zarr.json` names it; zarr_codec.py teaches it to zarr-python."""

_FILE = "_packing.so"
_BIAS = 8
_ESCAPE_BIAS = 128
MAX_BYTES_PER_PIXEL = 5
"""Both components escaped."""


def pack(codes_2HW: npt.NDArray[np.int16]) -> npt.NDArray[np.uint8]:
    """Packed bytes of int16 codes (2, H, W), H and W at least 1."""
    found = library()
    if found is None:
        return pack_reference(codes_2HW)
    codes = np.ascontiguousarray(codes_2HW)
    _, height, width = codes.shape
    packed = np.empty(MAX_BYTES_PER_PIXEL * height * width, np.uint8)
    nbytes = found.packing_pack(codes.ctypes.data, height, width, packed.ctypes.data)
    if not nbytes:
        raise MemoryError(f"no memory to pack a field of {height}x{width} px")
    return packed[:nbytes]


def unpack(packed: bytes, height: int, width: int) -> npt.NDArray[np.int16]:
    """Codes (2, H, W) that `pack` packed; DamagedError where the bytes are none such."""
    if library() is None:
        return unpack_reference(packed, height, width)
    pixels_HW2 = np.empty((height, width, 2), np.float32)
    unpack_pixels(packed, height, width, Box(0, 0, height, width), 1.0, line_of(width), pixels_HW2)
    return np.ascontiguousarray(pixels_HW2.transpose(2, 0, 1)).astype(np.int16)


def line_of(width: int) -> npt.NDArray[np.uint16]:
    """Scratch for `unpack_pixels`."""
    return np.empty(2 * width, np.uint16)


def unpack_pixels(
    packed: bytes,
    height: int,
    width: int,
    box: Box,
    scale: float,
    line: npt.NDArray[np.uint16],
    out_hw2: npt.NDArray[np.float32],
) -> None:
    """Write the codes inside `box` times `scale` to the contiguous `out_hw2`.

    Rows below the box are not looked at. Needs the library.

    Raises:
        DamagedError: the list of escaped differences is too short, or too long.
    """
    found = library()
    assert found is not None
    failed = found.packing_unpack(
        packed, len(packed), height, width, *box, scale, line.ctypes.data, out_hw2.ctypes.data
    )
    if failed:
        raise DamagedError(f"{len(packed)} bytes are no packed field of {height}x{width} px")


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled code beside this file; None where it was not built, or not for this machine.

    Raises StorageError for one of other sources.
    """
    path = Path(__file__).parent / _FILE
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError:
        return None
    # As kernels/compiled.py does: after an update, an older library would read and write as it did before.
    told = getattr(loaded, "packing_sources", None)
    if told is not None:
        told.restype = ctypes.c_char_p
    digest = hashlib.sha256(Path(__file__).with_name("packing.cpp").read_bytes()).hexdigest()
    if told is None or told() != digest.encode():
        raise StorageError(f"{path} was built from other sources than these: run `pip install -e .` again")
    pointer, integer, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
    loaded.packing_pack.argtypes = [pointer, integer, integer, pointer]
    loaded.packing_pack.restype = size
    loaded.packing_unpack.argtypes = [ctypes.c_char_p, size, *[integer] * 6, ctypes.c_float, pointer, pointer]
    return loaded


def pack_reference(codes_2HW: npt.NDArray[np.int16]) -> npt.NDArray[np.uint8]:
    """`pack` in NumPy."""
    codes = codes_2HW.astype(np.uint16)
    down = np.diff(codes, axis=1, prepend=np.uint16(0))
    difference_HW2 = np.diff(down, axis=2, prepend=np.uint16(0)).view(np.int16).transpose(1, 2, 0)
    small = (difference_HW2 > -_BIAS) & (difference_HW2 < _BIAS)
    halves = np.where(small, difference_HW2 + np.int16(_BIAS), 0).astype(np.uint8)
    escapes = difference_HW2[~small].view(np.uint16) + np.uint16(_ESCAPE_BIAS)
    parts: list[npt.NDArray[Any]] = [halves[..., 0] | halves[..., 1] << 4, escapes & np.uint16(255), escapes >> 8]
    return np.concatenate([part.astype(np.uint8).ravel() for part in parts])


def unpack_reference(packed: bytes, height: int, width: int) -> npt.NDArray[np.int16]:
    """`unpack` in NumPy."""
    pixels = height * width
    content = np.frombuffer(packed, np.uint8)
    halves_HW2 = np.stack([content[:pixels] & 15, content[:pixels] >> 4], axis=-1)
    count = int((halves_HW2 == 0).sum())
    if len(content) < pixels or len(content) != pixels + 2 * count:
        raise DamagedError(f"{len(packed)} bytes are no packed field of {height}x{width} px")
    difference = halves_HW2.astype(np.uint16) - np.uint16(_BIAS)
    low, high = content[pixels:].astype(np.uint16).reshape(2, count)
    difference[halves_HW2 == 0] = (low | high << np.uint16(8)) - np.uint16(_ESCAPE_BIAS)
    rows = np.cumsum(difference.reshape(height, width, 2), axis=1, dtype=np.uint16)
    codes_HW2 = np.cumsum(rows, axis=0, dtype=np.uint16).view(np.int16)
    return np.ascontiguousarray(codes_HW2.transpose(2, 0, 1))
