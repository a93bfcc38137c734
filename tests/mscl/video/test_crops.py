"""Crops and resizes (METHOD 1.4.3, 1.4.4)."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mscl.errors import DataError
from mscl.video.geometry import centre_box, crops_into, random_box, resize_into
from storage.box import Box

sides = st.integers(1, 400)


@given(sides, sides, st.integers(0, 2**32))
def test_random_box_is_inside_and_as_asked(height: int, width: int, seed: int) -> None:
    box = random_box(height, width, area=(0.2, 1.0), aspect=(3 / 4, 4 / 3), rng=np.random.default_rng(seed))
    assert box.top >= 0 and box.top + box.height <= height and box.height >= 1
    assert box.left >= 0 and box.left + box.width <= width and box.width >= 1
    if box == centre_box(height, width, side=min(height, width)):
        return
    # Sides are rounded: each by half a pixel at most.
    slack = 0.5 / box.height + 0.5 / box.width + 0.01
    assert 0.2 * (1 - 2 * slack) <= box.height * box.width / (height * width) <= 1
    assert 3 / 4 * (1 - 2 * slack) <= box.width / box.height <= 4 / 3 * (1 + 2 * slack)


def test_random_box_reaches_every_corner_alike() -> None:
    rng = np.random.default_rng(0)
    boxes = [random_box(40, 60, area=(0.2, 0.5), aspect=(3 / 4, 4 / 3), rng=rng) for _ in range(2000)]
    assert min(b.top for b in boxes) == 0 and max(b.top + b.height for b in boxes) == 40
    assert min(b.left for b in boxes) == 0 and max(b.left + b.width for b in boxes) == 60
    middle = np.mean([b.top + b.height / 2 for b in boxes]), np.mean([b.left + b.width / 2 for b in boxes])
    assert middle == pytest.approx((20, 30), abs=0.7)


def test_box_that_cannot_fit_falls_back_to_the_centre_square() -> None:
    box = random_box(10, 1000, area=(0.9, 1.0), aspect=(3 / 4, 4 / 3), rng=np.random.default_rng(0))
    assert box == Box(0, 495, 10, 10)


def test_randomness_is_consumed_alike_on_every_path() -> None:
    after = []
    for width in (10, 1000):
        rng = np.random.default_rng(3)
        random_box(10, width, area=(0.9, 1.0), aspect=(3 / 4, 4 / 3), rng=rng)
        after.append(rng.random())
    assert after[0] == after[1]


@given(sides, sides, sides, sides, st.integers(0, 2**32))
def test_box_on_another_grid_is_the_same_part(height: int, width: int, high: int, wide: int, seed: int) -> None:
    box = random_box(height, width, area=(0.2, 1.0), aspect=(3 / 4, 4 / 3), rng=np.random.default_rng(seed))
    other = box.on_grid((height, width), (high, wide))
    assert other.top >= 0 and other.top + other.height <= high and other.height >= 1
    assert other.left >= 0 and other.left + other.width <= wide and other.width >= 1
    rounding = 1e-9  # a box one pixel off, for it may not be empty, is off by exactly 1 / wide
    assert abs(other.top / high - box.top / height) <= 1 / high + rounding
    assert abs((other.left + other.width) / wide - (box.left + box.width) / width) <= 1 / wide + rounding
    assert box.on_grid((height, width), (height, width)) == box


def test_resize_writes_into_the_given_memory_and_equals_opencv() -> None:
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 256, (3, 50, 70, 3), dtype=np.uint8)
    out = np.empty((3, 40, 40, 3), dtype=np.uint8)
    resize_into([image[5:45, 10:61] for image in whole], out)
    for image, got in zip(whole, out, strict=True):
        np.testing.assert_array_equal(got, cv2.resize(image[5:45, 10:61], (40, 40), interpolation=cv2.INTER_LINEAR))


def test_resize_of_a_ramp_is_the_ramp_and_keeps_vector_values() -> None:
    # Bilinear interpolation with half-pixel centres reproduces a linear function away from the border.
    x = np.arange(60, dtype=np.float32)
    flow = np.stack([np.broadcast_to(x, (30, 60)), np.full((30, 60), -2.5)], axis=-1).astype(np.float32)
    out = np.empty((1, 20, 40, 2), dtype=np.float32)
    resize_into([flow], out)
    expected = (np.arange(40) + 0.5) * 1.5 - 0.5
    np.testing.assert_allclose(out[0, :, 1:-1, 0], np.broadcast_to(expected[1:-1], (20, 38)), rtol=1e-5)
    np.testing.assert_array_equal(out[..., 1], np.float32(-2.5))


def test_centre_crop_of_the_stored_size_only_crops() -> None:
    image = np.random.default_rng(0).integers(0, 256, (128, 171, 3), dtype=np.uint8)
    out = np.empty((1, 112, 112, 3), dtype=np.uint8)
    crops_into([image], out[None], short_side_px=128)
    np.testing.assert_array_equal(out[0], image[8:120, 29:141])


@pytest.mark.parametrize("shape", [(30, 90), (90, 30), (57, 57), (1, 5)])
def test_centre_crop_enlarges_small_videos(shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 77, dtype=np.uint8)
    out = np.empty((1, 40, 40, 3), dtype=np.uint8)
    crops_into([image], out[None], short_side_px=46)
    assert (out == 77).all()


def test_centre_crop_larger_than_the_short_side_is_an_error() -> None:
    with pytest.raises(DataError, match=r"50 px does not fit into 40x53"):
        crops_into([np.zeros((30, 40, 3), np.uint8)], np.empty((1, 1, 50, 50, 3), np.uint8), short_side_px=40)


@pytest.mark.parametrize(("height", "width"), [(32, 56), (56, 32), (32, 32)])
def test_three_crops_go_from_end_to_end_of_the_longer_side(height: int, width: int) -> None:
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows, columns, np.zeros_like(rows)], axis=-1).astype(np.uint8)
    out = np.empty((3, 2, 24, 24, 3), np.uint8)
    crops_into([image, image], out, short_side_px=32)
    corners = [tuple(out[view, 0, 0, 0, :2].tolist()) for view in range(3)]
    ends = [round((max(height, width) - 24) * share) for share in (0, 0.5, 1)]
    expected = [(4, end) if width >= height else (end, 4) for end in ends]
    assert corners == expected
    np.testing.assert_array_equal(out[:, 0], out[:, 1])
    one = np.empty((1, 24, 24, 3), np.uint8)
    crops_into([image], one[None], short_side_px=32)
    np.testing.assert_array_equal(one[0], out[1, 0])
