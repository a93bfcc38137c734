"""DIS and Farneback through OpenCV: known shifts, sizes that end OpenCV's process, threads."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from moving_frames import shifted_pair

from kernels.dense import dis_flow, farneback_flow
from kernels.errors import KernelInputError
from kernels.flow import to_grey


def _grey(height: int, width: int, right_px: int, down_px: int = 0) -> tuple[np.ndarray, np.ndarray]:
    first, second = shifted_pair(height, width, right_px=right_px, down_px=down_px)
    return to_grey(first), to_grey(second)


@pytest.mark.parametrize("finder", [dis_flow, farneback_flow])
@pytest.mark.parametrize(("right_px", "down_px"), [(3, 0), (0, 2), (-2, -3)])
def test_a_shift_is_found_with_its_sign(finder, right_px: int, down_px: int) -> None:
    flow = finder(*_grey(96, 120, right_px, down_px))
    assert flow.shape == (1, 96, 120, 2) and flow.dtype == np.float32
    np.testing.assert_allclose(np.median(flow[0, 16:-16, 16:-16], axis=(0, 1)), (right_px, down_px), atol=0.15)


def test_large_frames_are_opencvs_own() -> None:
    first, second = _grey(128, 171, 4)
    expected = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(first[0], second[0], None)
    np.testing.assert_array_equal(dis_flow(first, second)[0], expected)


_STRIPS = """
import itertools, numpy as np
from kernels.dense import dis_flow, farneback_flow
rng = np.random.default_rng(0)
for height, width in itertools.product((1, 7, 8, 11, 12, 16, 31, 32, 45, 91, 300, 1100), repeat=2):
    first, second = rng.integers(0, 255, (2, 1, height, width), dtype=np.uint8)
    for preset in ("ultrafast", "fast", "medium"):
        assert dis_flow(first, second, preset=preset).shape == (1, height, width, 2)
    if height * width < 1e5:
        assert farneback_flow(first, second).shape == (1, height, width, 2)
"""


def test_no_size_ends_the_process() -> None:
    """OpenCV 5.0's DIS alone dies of a segmentation fault at 12 x 64 and at 16 x 300 (preset fast)."""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", _STRIPS], cwd=root, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("side", [16, 24, 48, 64])
def test_small_frames_are_found_too(side: int) -> None:
    flow = dis_flow(*_grey(side, side + 8, 1))
    np.testing.assert_allclose(np.median(flow[0], axis=(0, 1)), (1, 0), atol=0.15)


@pytest.mark.parametrize("finder", [dis_flow, farneback_flow])
def test_batches_threads_torch_and_views_give_the_same(finder) -> None:
    pairs = [_grey(40, 56, shift) for shift in (-2, 0, 1, 3)]
    first, second = (np.concatenate(frames) for frames in zip(*pairs, strict=True))
    together = finder(first, second)
    with ThreadPoolExecutor(4) as pool:
        apart = list(pool.map(lambda pair: finder(*pair), pairs * 4))
    for index, flow in enumerate(apart):
        np.testing.assert_array_equal(flow[0], together[index % 4])
    as_torch = finder(torch.from_numpy(first), torch.from_numpy(second))
    np.testing.assert_array_equal(as_torch.numpy(), together)
    wide = np.zeros((4, 40, 112), np.uint8)
    wide[..., ::2] = first
    np.testing.assert_array_equal(finder(wide[..., ::2], second), together)
    assert finder(first[:0], second[:0]).shape == (0, 40, 56, 2)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (np.zeros((1, 20, 20), np.uint8), np.zeros((1, 20, 21), np.uint8), r"\(1, 20, 20\).*\(1, 20, 21\)"),
        (np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8), "grey"),
        (np.zeros((1, 0, 20), np.uint8), np.zeros((1, 0, 20), np.uint8), "grey"),
        (np.zeros((1, 20, 20), np.float32), np.zeros((1, 20, 20), np.float32), "float32"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(first: np.ndarray, second: np.ndarray, message: str) -> None:
    for finder in (dis_flow, farneback_flow):
        with pytest.raises(KernelInputError, match=message):
            finder(first, second)


def test_unknown_presets_are_refused() -> None:
    with pytest.raises(KernelInputError, match=r"slow.*ultrafast, fast, medium"):
        dis_flow(np.zeros((1, 20, 20), np.uint8), np.zeros((1, 20, 20), np.uint8), preset="slow")
