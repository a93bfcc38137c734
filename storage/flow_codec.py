"""One stored field as bytes: a zstd frame with checksum, as Zarr's `zstd` codec has it, read and written fast.

Both contexts are used again: numcodecs makes a fresh one per field, 12 us each, a tenth of decoding it.
The frames are written with settings between zstd's levels 5 and 6. On TV-L1 flow of UCF101 (benchmarks/reader.py) they
are 9-14 % smaller than level 1 and decode 26-36 % faster, for .65 ms more CPU per field, once: long matches are rare in
flow and worth a search, while the short ones that lower levels take cost the decoder more than they save.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard

from storage.errors import DamagedError

LEVEL = 6
"""What the store's metadata names: any level is read alike, a Zarr writer that adds fields uses this one."""

_MIN_MATCH = 6
_SEARCH_LOG = 4


class FieldEncoder:
    """Compresses fields of `block_nbytes` bytes. One thread at a time."""

    def __init__(self, block_nbytes: int) -> None:
        parameters = zstandard.ZstdCompressionParameters.from_level(
            LEVEL,
            source_size=block_nbytes,
            strategy=zstandard.STRATEGY_LAZY,
            min_match=_MIN_MATCH,
            search_log=_SEARCH_LOG,
            write_checksum=True,
            write_content_size=True,
        )
        self._compressor = zstandard.ZstdCompressor(compression_params=parameters)

    def __call__(self, block: npt.NDArray[Any]) -> bytes:
        """The frame of a C-contiguous block."""
        return self._compressor.compress(block.data)


class FieldDecoder:
    """Decompresses fields of one shape. One thread at a time; each process makes its own."""

    def __init__(self, block_shape: tuple[int, int, int], dtype: np.dtype[Any]) -> None:
        self._shape = block_shape
        self._dtype = dtype
        self._nbytes = int(np.prod(block_shape)) * dtype.itemsize
        self._decompressor = zstandard.ZstdDecompressor()

    def __call__(self, frame: memoryview) -> npt.NDArray[Any]:
        """The block (2, H, W), read-only.

        The one call of the library that refuses a frame cut short, with bytes after it, or whose checksum fails is
        the one that returns bytes; malloc gives it the block that the field before has just left.

        Raises:
            DamagedError: not one whole frame of such a block.
        """
        try:
            # Before decoding: a flipped bit in the size would ask for gigabytes. -1: a writer that did not state it.
            nbytes = zstandard.frame_content_size(frame)
            if nbytes not in (self._nbytes, -1):
                raise DamagedError(f"a field of {nbytes} bytes, expected {self._nbytes}")
            data = self._decompressor.decompress(frame, max_output_size=self._nbytes, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise DamagedError(str(error)) from error
        if len(data) != self._nbytes:
            raise DamagedError(f"a field of {len(data)} bytes, expected {self._nbytes}")
        return np.frombuffer(data, self._dtype).reshape(self._shape)
