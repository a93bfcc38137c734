"""Camera motion against motions that were put in."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from kernels.errors import KernelInputError
from kernels.global_motion import global_motion

H, W = 48, 64
Y, X = np.mgrid[:H, :W].astype(np.float32)


def test_an_affine_motion_is_all_camera() -> None:
    zoom_and_pan = np.stack([0.02 * X + 0.01 * Y + 1, 0.03 * Y - 2], axis=-1)
    still = np.zeros_like(zoom_and_pan)
    camera, beside = global_motion(np.stack([zoom_and_pan, still]))
    assert_allclose(camera, [np.hypot(zoom_and_pan[..., 0], zoom_and_pan[..., 1]).mean(), 0], rtol=1e-4, atol=1e-6)
    assert_allclose(beside, [0, 0], atol=1e-4)


def test_an_object_over_a_pan_is_what_is_left() -> None:
    """A fifth of the picture moves by 5 px against a pan of 3 px; noise as flow has it."""
    flow = np.random.default_rng(0).normal(0, 0.05, (1, H, W, 2)).astype(np.float32)
    flow[..., 0] += 3
    flow[0, 10:30, 10:40, 1] += 5
    camera, beside = global_motion(flow)
    assert_allclose(camera, [3], rtol=0.03)
    assert_allclose(beside, [5 * 20 * 30 / (H * W)], rtol=0.15)


def test_a_fast_camera_costs_no_precision() -> None:
    """Of single precision: what is left is found to a thousandth px under a pan of 1000."""
    flow = np.full((2, H, W, 2), (1000, -500), np.float32)
    flow[1, :12, :16] += (0.75, 1)
    camera, beside = global_motion(flow)
    assert_allclose(camera, np.hypot(1000, 500), rtol=1e-6)
    assert_allclose(beside, [0, 1.25 * 12 * 16 / (H * W)], atol=1e-3)


def test_an_object_of_nearly_half_the_picture_does_not_bend_the_camera() -> None:
    """Fast or slow, in a corner, over a camera that stands still, pans, zooms or turns."""
    still, pan, turn = np.zeros((H, W, 2)), np.full((H, W, 2), 2.0), np.stack([24 - Y, X - 32], axis=-1) / 12
    camera_N = np.repeat([still, pan, (turn + pan)[..., ::-1], turn], 2, axis=0)
    flow = camera_N + np.random.default_rng(0).normal(0, 0.03, camera_N.shape)
    flow[:, 14:, :40] += np.where(np.arange(len(flow)) % 2, 2, 10)[:, None, None, None]
    assert 34 * 40 / (H * W) > 0.44
    camera, beside = global_motion(flow.astype(np.float32))
    assert_allclose(camera, np.hypot(*np.moveaxis(camera_N, -1, 0)).mean(axis=(1, 2)), rtol=0.01, atol=0.01)
    assert_allclose(beside / np.where(np.arange(len(flow)) % 2, 2, 10), 34 * 40 / (H * W) * np.sqrt(2), rtol=0.04)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_vectors_that_are_not_finite_are_refused() -> None:
    for value in (np.nan, np.inf):
        flow = np.zeros((3, H, W, 2), np.float32)
        flow[1, 3, 4, 0] = value
        with pytest.raises(KernelInputError, match="holds NaN or infinite vectors in field 1"):
            global_motion(flow)


def test_nothing_and_pictures_of_one_row() -> None:
    camera, beside = global_motion(np.zeros((0, H, W, 2), np.float32))
    assert camera.shape == beside.shape == (0,)
    camera, beside = global_motion(np.full((1, 1, 5, 2), 2, np.float32))
    assert_allclose(camera, [np.sqrt(8)], rtol=1e-4)
    assert_allclose(beside, [0], atol=1e-3)
