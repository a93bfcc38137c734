"""One entry for every method, sequences of frames, and the change to another grid."""

import math
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from moving_frames import shifted_pair

from kernels.errors import KernelInputError
from kernels.fields import num_fields
from kernels.flow import _area_weights, compute_flow, resize_flow, to_grey
from kernels.tvl1 import resolve_backend


def test_grey_is_opencvs_to_the_last_bit_in_numpy_and_torch() -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (3, 100, 200, 3), dtype=np.uint8)
    frames[0, 0, :8] = list(np.ndindex(2, 2, 2))
    frames[0, 0, :8] *= 255
    expected = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])
    np.testing.assert_array_equal(to_grey(frames), expected)
    np.testing.assert_array_equal(to_grey(frames[:, ::-1, ::2]), expected[:, ::-1, ::2])
    np.testing.assert_array_equal(to_grey(torch.from_numpy(frames)).numpy(), expected)
    assert to_grey(frames[:0]).shape == (0, 100, 200)


@pytest.mark.parametrize("method", ["tvl1", "dis", "farneback"])
def test_colour_and_grey_frames_give_one_flow(method: str) -> None:
    first, second = shifted_pair(64, 80, right_px=2)
    flow = compute_flow(first, second, method=method)
    np.testing.assert_allclose(np.median(flow[0, 12:-12, 12:-12], axis=(0, 1)), (2, 0), atol=0.15)
    np.testing.assert_array_equal(compute_flow(to_grey(first), to_grey(second), method=method), flow)
    as_torch = compute_flow(torch.from_numpy(first), torch.from_numpy(second), method=method)
    np.testing.assert_array_equal(as_torch.numpy(), flow)


@given(st.integers(0, 60), st.integers(1, 5), st.integers(1, 12))
def test_fields_are_as_many_as_starts_whose_end_exists(num_frames: int, gap: int, span: int) -> None:
    starts = [j for j in range(num_frames) if gap * j + span < num_frames]
    assert num_fields(num_frames, gap_frames=gap, span_frames=span) == len(starts)
    assert len(starts) == max(0, math.ceil((num_frames - span) / gap))


@given(*[st.integers(1, 40)] * 4)
def test_translation_keeps_its_speed_on_any_grid(height: int, width: int, new_height: int, new_width: int) -> None:
    flow = np.full((2, height, width, 2), (3.0, -1.5), np.float32)
    resized = resize_flow(flow, new_height, new_width)
    assert resized.shape == (2, new_height, new_width, 2)
    expected = (3.0 * new_width / width, -1.5 * new_height / height)
    np.testing.assert_allclose(resized, np.broadcast_to(expected, resized.shape), rtol=1e-5)


def test_each_new_pixel_is_the_mean_of_what_it_covers() -> None:
    flow = np.random.default_rng(0).normal(size=(1, 6, 9, 2)).astype(np.float32)
    expected = flow.reshape(1, 3, 2, 3, 3, 2).mean(axis=(2, 4)) * (1 / 3, 1 / 2)
    np.testing.assert_allclose(resize_flow(flow, 3, 3), expected, rtol=1e-5, atol=1e-6)


@given(*[st.integers(1, 30)] * 2, st.data())
def test_area_weights_are_opencvs(height: int, width: int, data: st.DataObject) -> None:
    """The weights that other devices use give what cv2.INTER_AREA gives on the CPU."""
    new_height, new_width = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    field = np.random.default_rng(height).normal(size=(height, width)).astype(np.float32)
    cpu = torch.device("cpu")
    rows, columns = _area_weights(height, new_height, cpu).numpy(), _area_weights(width, new_width, cpu).numpy()
    np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=1e-6)
    expected = cv2.resize(field, (new_width, new_height), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(rows @ field @ columns.T, expected.reshape(new_height, new_width), atol=1e-4)


@pytest.mark.parametrize(
    ("shapes", "dtype", "settings", "message"),
    [
        (((1, 20, 20, 3), (1, 20, 24, 3)), np.uint8, {"method": "dis"}, r"\(1, 20, 20, 3\).*\(1, 20, 24, 3\)"),
        (((20, 20), (20, 20)), np.uint8, {"method": "dis"}, "grey"),
        # Two pictures: there came the flow of 20 grey ones, each a row, 3 px wide.
        (((20, 24, 3), (20, 24, 3)), np.uint8, {"method": "dis"}, r"one RGB frame or .*frame\[None\]"),
        (((1, 20, 20, 4), (1, 20, 20, 4)), np.uint8, {"method": "dis"}, "RGB"),
        (((1, 20, 20), (1, 20, 20)), np.float32, {"method": "dis"}, "float32"),
        (((1, 20, 20), (1, 20, 20)), np.uint8, {"method": "raft"}, "raft_small"),
        (((1, 20, 20), (1, 20, 20)), np.uint8, {"method": "tvl1", "preset": "best"}, "balanced"),
    ],
)
def test_what_does_not_fit_is_refused(shapes: tuple, dtype: type, settings: dict, message: str) -> None:
    with pytest.raises(KernelInputError, match=message):
        compute_flow(np.zeros(shapes[0], dtype), np.zeros(shapes[1], dtype), **settings)


def test_bad_grids_and_strides_are_refused() -> None:
    with pytest.raises(KernelInputError, match="0 x 4"):
        resize_flow(np.zeros((1, 4, 4, 2), np.float32), 0, 4)
    with pytest.raises(KernelInputError, match="gap_frames is 0"):
        num_fields(20, gap_frames=0)


def test_flow_of_numpy_frames_on_the_cpu_needs_no_torch() -> None:
    """Every process that extracts would import it, for three seconds."""
    code = (
        "import sys, numpy as np; from kernels.flow import compute_flow, resize_flow\n"
        "frames = np.random.default_rng(0).integers(0, 256, (2, 1, 24, 32, 3), dtype=np.uint8)\n"
        "for method in ('dis', 'farneback', *sys.argv[1:]):\n"
        "    assert resize_flow(compute_flow(*frames, method=method), 12, 16).shape == (1, 12, 16, 2)\n"
        "print('torch' in sys.modules)"
    )
    methods = ["tvl1"] if resolve_backend() == "cpp" else []  # the others are slow, or torch's
    done = subprocess.run([sys.executable, "-c", code, *methods], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
