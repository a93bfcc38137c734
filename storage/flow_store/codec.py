"""One stored field as bytes, packed or plain, in a zstd frame with checksum, read and written fast.

Both zstd contexts are used again: numcodecs makes a fresh one per field, 12 us each, a tenth of decoding it.
What the settings below cost and save on TV-L1 flow of UCF101 is measured by benchmarks/reader.py.
"""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import zstandard

from storage.box import Box
from storage.errors import DamagedError
from storage.flow_store.packing import MAX_BYTES_PER_PIXEL, library, line_of, pack, unpack, unpack_pixels

LEVEL = 6
"""What the store's metadata names: any level is read alike, a Zarr writer that adds fields uses this one."""

PLAIN, PACKED = "plain", "packed"

_SETTINGS = {
    # Long matches are rare in flow and worth a search, the short ones that low levels take cost the decoder more than
    # they save: 9-14 % smaller than level 1, decoded 26-36 % faster, for .5 ms more CPU per field, once.
    PLAIN: {"strategy": zstandard.STRATEGY_LAZY, "min_match": 6, "search_log": 4},
    # Packing leaves little to match: searching longer is 1-2 % smaller and takes three times as long.
    PACKED: {"strategy": zstandard.STRATEGY_DFAST, "min_match": 6, "search_log": 1},
}
CODINGS = tuple(_SETTINGS)

CACHE_LINE_BYTES = 64


class FieldEncoder:
    """Compresses fields of `block_shape`. One thread at a time."""

    def __init__(self, block_shape: tuple[int, int, int], dtype: np.dtype[Any], coding: str) -> None:
        self._coding = coding
        nbytes = int(np.prod(block_shape)) * dtype.itemsize if coding == PLAIN else block_shape[1] * block_shape[2]
        parameters = zstandard.ZstdCompressionParameters.from_level(
            LEVEL, source_size=nbytes, write_checksum=True, write_content_size=True, **_SETTINGS[coding]
        )
        self._compressor = zstandard.ZstdCompressor(compression_params=parameters)

    def __call__(self, block_2HW: npt.NDArray[Any]) -> bytes:
        """The frame of a C-contiguous block."""
        if self._coding == PACKED:
            return self._compressor.compress(pack(block_2HW.astype(np.int16, copy=False)).data)
        return self._compressor.compress(block_2HW.data)


class FieldDecoder:
    """Decompresses fields of one shape. One thread at a time; each process makes its own."""

    def __init__(self, block_shape: tuple[int, int, int], dtype: np.dtype[Any], coding: str) -> None:
        self._shape = block_shape
        self._dtype = dtype
        self._coding = coding
        _, self._height, self._width = block_shape
        nbytes = self._height * self._width
        self._nbytes = range(nbytes, MAX_BYTES_PER_PIXEL * nbytes + 1, 2)
        if coding == PLAIN:
            nbytes *= 2 * dtype.itemsize
            self._nbytes = range(nbytes, nbytes + 1)
        self._decompressor = zstandard.ZstdDecompressor()
        self._line = line_of(self._width)
        # One code off alignment: into an aligned array cv2.merge writes past the caches, and what reads it next waits
        # for memory: 29 instead of 11 us a field.
        self._crop = _aligned_empty(1 + 2 * self._height * self._width, dtype)[1:]

    def codes(self, frame: memoryview) -> npt.NDArray[Any]:
        """The block (2, H, W), read-only.

        Raises:
            DamagedError: not one whole frame of such a block; so in `pixels`.
        """
        data = self._decompress(frame)
        if self._coding == PACKED:
            return unpack(data, self._height, self._width).astype(self._dtype, copy=False)
        return np.frombuffer(data, self._dtype).reshape(self._shape)

    def pixels(self, frame: memoryview, box: Box, scale: np.float32, out_hw2: npt.NDArray[np.float32]) -> None:
        """Write the codes inside `box` times `scale` to the contiguous `out_hw2`."""
        if self._coding == PACKED and library() is not None:
            unpack_pixels(self._decompress(frame), self._height, self._width, box, float(scale), self._line, out_hw2)
            return
        codes_2HW = self.codes(frame)
        top, left, rows, columns = box
        crop_hw2 = self._crop[: 2 * rows * columns].reshape(rows, columns, 2)
        inside = slice(top, top + rows), slice(left, left + columns)
        cv2.merge([codes_2HW[0][inside], codes_2HW[1][inside]], dst=crop_hw2)
        # Converting, then scaling in place: one mixed-type multiplication would go through NumPy's cast buffer.
        np.copyto(out_hw2, crop_hw2)
        np.multiply(out_hw2, scale, out=out_hw2)

    def _decompress(self, frame: memoryview) -> bytes:
        """The one call of the library that refuses a frame cut short, with bytes after it, or whose checksum fails is
        the one that returns bytes; malloc gives it the block that the field before has just left.
        """
        try:
            # Before decoding: a flipped bit in the size would ask for gigabytes. -1: a writer that did not state it.
            nbytes = zstandard.frame_content_size(frame)
            if nbytes != -1:
                self._check(nbytes)
            data = self._decompressor.decompress(frame, max_output_size=self._nbytes[-1], allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise DamagedError(str(error)) from error
        self._check(len(data))
        return data

    def _check(self, nbytes: int) -> None:
        if nbytes not in self._nbytes:
            raise DamagedError(f"a field of {nbytes} bytes, expected {_told(self._nbytes)}")


def _told(sizes: range) -> str:
    return str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"


def _aligned_empty(size: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Uninitialised array that starts on a cache line."""
    raw = np.empty(size * dtype.itemsize + CACHE_LINE_BYTES, np.uint8)
    start = -raw.ctypes.data % CACHE_LINE_BYTES
    return raw[start : start + size * dtype.itemsize].view(dtype)
