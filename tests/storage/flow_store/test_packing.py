"""Packed differences: nothing is lost, and C++ and NumPy write and read the same bytes."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from storage.errors import DamagedError, StorageError
from storage.flow_store import packing
from storage.flow_store.packing import MAX_BYTES_PER_PIXEL, library, pack, pack_reference, unpack, unpack_reference

Codes = npt.NDArray[np.int16]

SIDES = st.tuples(st.just(2), st.integers(1, 20), st.integers(1, 40))
ANY = arrays(np.int16, SIDES)
"""Few values that fit a half byte."""
SMOOTH = arrays(np.int16, SIDES, elements=st.integers(-9, 9))
"""Their double sums have differences at the edge of a half byte."""


def test_the_library_is_there() -> None:
    """Where a compiler is, and the machines that run these tests have one; else the tests below compare nothing."""
    assert library() is not None


def test_a_library_of_other_sources_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_FILE", "../../kernels/_differences.so")
    with pytest.raises(StorageError, match=r"_differences\.so was built from other sources"):
        library.__wrapped__()


@settings(max_examples=150, deadline=None)
@given(codes=ANY | SMOOTH.map(lambda steps: steps.cumsum(1).cumsum(2).astype(np.int16)))
def test_both_write_the_same_and_read_it_back(codes: Codes) -> None:
    packed = pack(codes)
    np.testing.assert_array_equal(packed, pack_reference(codes))
    assert len(packed) <= MAX_BYTES_PER_PIXEL * codes[0].size
    for read in (unpack, unpack_reference):
        np.testing.assert_array_equal(read(packed.tobytes(), *codes.shape[1:]), codes)


def test_the_bytes_are_as_described() -> None:
    """By hand: 3x2 px, v zero but for its last pixel, u with a jump of 300 from the first to the second column."""
    codes = np.zeros((2, 3, 2), np.int16)
    codes[0] = [[1, 301], [2, 302], [2, 295]]
    codes[1, 2, 1] = -5
    differences_u = [[1, 300], [1, 0], [0, -7]]
    halves = [[8 + d if abs(d) < 8 else 0 for d in row] for row in differences_u]
    pixels = [u | 8 << 4 for row in halves for u in row]
    pixels[-1] = halves[2][1] | (8 - 5) << 4
    assert pack(codes).tolist() == [*pixels, (300 + 128) & 255, (300 + 128) >> 8]


@pytest.mark.parametrize("read", [unpack, unpack_reference])
def test_bytes_that_are_no_field_are_refused(read: object) -> None:
    assert callable(read)
    good = pack(np.array([[[0, 500]], [[0, -500]]], np.int16)).tobytes()
    assert len(good) == 2 + 4
    for bad in (b"", good[:1], good[:2], good[:-1], good[:-2], good + bytes(1), good + bytes(2)):
        with pytest.raises(DamagedError, match=f"{len(bad)} bytes are no packed field of 1x2 px"):
            read(bad, 1, 2)


def test_smooth_flow_takes_a_byte_a_pixel() -> None:
    y, x = np.mgrid[:128, :171]
    codes = np.stack([40 * np.sin(x / 30) + y / 2, 60 * np.cos(y / 25)]).round().astype(np.int16)
    assert len(pack(codes)) < 1.05 * 128 * 171
