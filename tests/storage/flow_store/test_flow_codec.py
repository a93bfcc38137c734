"""Frames of fields: any zstd reads them, and nothing but one whole frame of the right size is taken."""

import numpy as np
import pytest
import zstandard
from numcodecs import zstd

from storage.errors import DamagedError
from storage.flow_store.codec import CODINGS, PACKED, PLAIN, FieldDecoder, FieldEncoder

SHAPE = 2, 24, 31


def encoder(shape: tuple[int, int, int] = SHAPE, dtype: str = "int16", coding: str = PLAIN) -> FieldEncoder:
    return FieldEncoder(shape, np.dtype(dtype), coding)


def decoder(shape: tuple[int, int, int] = SHAPE, dtype: str = "int16", coding: str = PLAIN) -> FieldDecoder:
    return FieldDecoder(shape, np.dtype(dtype), coding)


def field(seed: int = 0, shape: tuple[int, int, int] = SHAPE, dtype: str = "int16") -> np.ndarray:
    return np.cumsum(np.random.default_rng(seed).integers(-2, 3, shape), axis=-1).astype(dtype)


@pytest.mark.parametrize("dtype", ["int16", "int8"])
@pytest.mark.parametrize("shape", [(2, 1, 1), SHAPE, (2, 300, 400)])
def test_fields_come_back_and_numcodecs_reads_them(shape: tuple[int, int, int], dtype: str) -> None:
    encode, decode = encoder(shape, dtype), decoder(shape, dtype)
    for seed in range(3):
        frame = encode(field(seed, shape, dtype))
        np.testing.assert_array_equal(decode.codes(memoryview(frame)), field(seed, shape, dtype))
        assert zstandard.get_frame_parameters(frame).has_checksum
        plain = np.empty(shape, dtype)
        zstd.decompress(frame, plain)
        np.testing.assert_array_equal(plain, field(seed, shape, dtype))


def test_frames_of_other_writers_are_read() -> None:
    """Level 1 as earlier stores have it, and a streaming writer that does not know the size beforehand."""
    decode = decoder()
    sizeless = zstandard.ZstdCompressor(write_content_size=False, write_checksum=True).compress(field().tobytes())
    for frame in (zstd.compress(field(), 1, True), sizeless):
        np.testing.assert_array_equal(decode.codes(memoryview(frame)), field())


@pytest.mark.parametrize("coding", CODINGS)
def test_every_flipped_bit_is_an_error_or_changes_nothing(coding: str) -> None:
    """zstd has a few bits that mean nothing; the digest of the shard covers those."""
    decode = decoder(coding=coding)
    frame = encoder(coding=coding)(field())
    unnoticed = 0
    for bit in range(8 * len(frame)):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            np.testing.assert_array_equal(decode.codes(memoryview(damaged)), field())
            unnoticed += 1
        except DamagedError:
            pass
    assert unnoticed < 0.01 * 8 * len(frame)


def test_only_one_whole_frame_of_the_right_size_is_taken() -> None:
    decode = decoder()
    encode = encoder()
    frame = encode(field())
    for cut in range(len(frame)):
        with pytest.raises(DamagedError):
            decode.codes(memoryview(frame)[:cut])
    with pytest.raises(DamagedError, match="unused"):
        decode.codes(memoryview(frame + frame))
    with pytest.raises(DamagedError, match=f"{field().nbytes // 2} bytes, expected {field().nbytes}"):
        decode.codes(memoryview(encode(field(dtype="int8"))))
    sizeless = zstandard.ZstdCompressor(write_content_size=False)
    with pytest.raises(DamagedError, match=f"expected {field().nbytes}"):
        decode.codes(memoryview(sizeless.compress(bytes(10))))
    with pytest.raises(DamagedError):
        decode.codes(memoryview(sizeless.compress(bytes(10 * field().nbytes))))
    np.testing.assert_array_equal(decode.codes(memoryview(frame)), field())


@pytest.mark.parametrize("dtype", ["int16", "int8"])
@pytest.mark.parametrize("coding", CODINGS)
def test_pixels_are_the_codes_inside_the_box(coding: str, dtype: str) -> None:
    codes = field(1, dtype=dtype)
    frame = encoder(dtype=dtype, coding=coding)(codes)
    decode = decoder(dtype=dtype, coding=coding)
    for top, left, rows, columns in [(0, 0, 24, 31), (3, 5, 7, 11), (23, 30, 1, 1), (0, 16, 24, 15)]:
        pixels = np.full((rows, columns, 2), np.nan, np.float32)
        decode.pixels(memoryview(frame), (top, left, rows, columns), np.float32(0.125), pixels)
        inside = codes[:, top : top + rows, left : left + columns]
        np.testing.assert_array_equal(pixels, inside.transpose(1, 2, 0).astype(np.float32) / 8)


def test_a_packed_frame_of_the_wrong_size_is_refused() -> None:
    decode = decoder(coding=PACKED)
    compress = zstandard.ZstdCompressor(write_checksum=True).compress
    pixels = SHAPE[1] * SHAPE[2]
    for nbytes in (pixels - 1, pixels + 1, 5 * pixels + 2):
        with pytest.raises(DamagedError, match=f"a field of {nbytes} bytes, expected {pixels} to {5 * pixels}"):
            decode.codes(memoryview(compress(bytes(nbytes))))
    not_listed, not_there = bytes(pixels), bytes([0x88]) * pixels + bytes(2)
    out = np.empty((*SHAPE[1:], 2), np.float32)
    for frame in (memoryview(compress(content)) for content in (not_listed, not_there)):
        with pytest.raises(DamagedError, match="no packed field of 24x31 px"):
            decode.codes(frame)
        with pytest.raises(DamagedError, match="no packed field of 24x31 px"):
            decode.pixels(frame, (0, 0, *SHAPE[1:]), np.float32(1), out)
