"""Frames of fields: any zstd reads them, and nothing but one whole frame of the right size is taken."""

import numpy as np
import pytest
import zstandard
from numcodecs import zstd

from storage.errors import DamagedError
from storage.flow_codec import FieldDecoder, FieldEncoder

SHAPE = 2, 24, 31


def field(seed: int = 0, shape: tuple[int, int, int] = SHAPE, dtype: str = "int16") -> np.ndarray:
    return np.cumsum(np.random.default_rng(seed).integers(-2, 3, shape), axis=-1).astype(dtype)


@pytest.mark.parametrize("dtype", ["int16", "int8"])
@pytest.mark.parametrize("shape", [(2, 1, 1), SHAPE, (2, 300, 400)])
def test_fields_come_back_and_numcodecs_reads_them(shape: tuple[int, int, int], dtype: str) -> None:
    encode, decode = FieldEncoder(int(np.prod(shape)) * np.dtype(dtype).itemsize), FieldDecoder(shape, np.dtype(dtype))
    for seed in range(3):
        frame = encode(field(seed, shape, dtype))
        np.testing.assert_array_equal(decode(memoryview(frame)), field(seed, shape, dtype))
        assert zstandard.get_frame_parameters(frame).has_checksum
        plain = np.empty(shape, dtype)
        zstd.decompress(frame, plain)
        np.testing.assert_array_equal(plain, field(seed, shape, dtype))


def test_frames_of_other_writers_are_read() -> None:
    """Level 1 as earlier stores have it, and a streaming writer that does not know the size beforehand."""
    decode = FieldDecoder(SHAPE, np.dtype("int16"))
    sizeless = zstandard.ZstdCompressor(write_content_size=False, write_checksum=True).compress(field().tobytes())
    for frame in (zstd.compress(field(), 1, True), sizeless):
        np.testing.assert_array_equal(decode(memoryview(frame)), field())


def test_every_flipped_bit_is_an_error_or_changes_nothing() -> None:
    """zstd has a few bits that mean nothing; the digest of the shard covers those."""
    decode = FieldDecoder(SHAPE, np.dtype("int16"))
    frame = FieldEncoder(field().nbytes)(field())
    unnoticed = 0
    for bit in range(8 * len(frame)):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            np.testing.assert_array_equal(decode(memoryview(damaged)), field())
            unnoticed += 1
        except DamagedError:
            pass
    assert unnoticed < 0.01 * 8 * len(frame)


def test_only_one_whole_frame_of_the_right_size_is_taken() -> None:
    decode = FieldDecoder(SHAPE, np.dtype("int16"))
    encode = FieldEncoder(field().nbytes)
    frame = encode(field())
    for cut in range(len(frame)):
        with pytest.raises(DamagedError):
            decode(memoryview(frame)[:cut])
    with pytest.raises(DamagedError, match="unused"):
        decode(memoryview(frame + frame))
    with pytest.raises(DamagedError, match=f"{field().nbytes // 2} bytes, expected {field().nbytes}"):
        decode(memoryview(encode(field(dtype="int8"))))
    sizeless = zstandard.ZstdCompressor(write_content_size=False)
    with pytest.raises(DamagedError, match=f"expected {field().nbytes}"):
        decode(memoryview(sizeless.compress(bytes(10))))
    with pytest.raises(DamagedError):
        decode(memoryview(sizeless.compress(bytes(10 * field().nbytes))))
    np.testing.assert_array_equal(decode(memoryview(frame)), field())
