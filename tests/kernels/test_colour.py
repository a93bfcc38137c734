"""Flow as colour: the wheel's primary directions, the golden pictures, and what may not be painted."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels.colour import colour_wheel, flow_to_rgb, flow_to_rgb_unit
from kernels.errors import KernelInputError
from kernels.rotation import normalise_flow


def _golden(shared_dir: Path) -> dict[str, np.ndarray]:
    with np.load(shared_dir / "golden" / "motion.npz") as golden:
        return {key: golden[key] for key in ("flows", "colour_wheel", "flow_to_image")}


def test_wheel_and_pictures_equal_the_golden_ones(shared_dir: Path) -> None:
    golden = _golden(shared_dir)
    np.testing.assert_array_equal(colour_wheel().numpy(), golden["colour_wheel"])
    np.testing.assert_array_equal(flow_to_rgb(golden["flows"][:4]), golden["flow_to_image"])


def test_training_colours_equal_the_golden_pictures(shared_dir: Path) -> None:
    golden = _golden(shared_dir)
    flow_B2HW = torch.from_numpy(normalise_flow(golden["flows"][:4])).movedim(-1, 1)
    unit_BHW3 = flow_to_rgb_unit(flow_B2HW).movedim(1, -1).numpy()
    assert unit_BHW3.dtype == np.float32
    np.testing.assert_array_equal(np.rint(unit_BHW3 * 255), golden["flow_to_image"])


def test_directions_have_the_colours_of_the_middlebury_chart() -> None:
    """To the right red, down yellow, to the left cyan-blue (the wheel is not symmetric), up violet."""
    right, down, left, up, still = flow_to_rgb(np.array([[[1, 0], [0, 1], [-1, 0], [0, -1], [0, 0]]], np.float32))[0]
    assert right[0] == 255 and right[1:].max() < 1  # position 0 and 54 meet in red
    assert down[0] > 200 and down[1] > 200 and down[2] < 5
    assert left[0] < 5 and left[1] > 150 and left[2] == 255
    assert up[0] > 60 and up[1] < 5 and up[2] == 255
    assert still.tolist() == [255, 255, 255]


def test_saturation_is_the_speed_and_faster_than_the_scale_is_dark() -> None:
    flow_2HW = torch.tensor([[[0.0, 0.5, 1.0, 2.0]], [[0.0, 0.0, 0.0, 0.0]]])
    red, green, _ = flow_to_rgb_unit(flow_2HW)[:, 0]
    assert green.tolist() == pytest.approx([1, 127 / 255, 0, 0])
    assert red.tolist() == pytest.approx([1, 1, 1, 191 / 255])  # .75 * 255 = 191.25


def test_a_still_field_is_white() -> None:
    assert (flow_to_rgb(np.zeros((2, 3, 5, 2), np.float32)) == 255).all()


def test_fast_fields_have_no_dark_pixel_where_the_largest_radius_rounds_above_one() -> None:
    angle = np.linspace(0, 2 * np.pi, 4001, dtype=np.float32)
    flow = 5000 * np.stack((np.cos(angle), np.sin(angle)), axis=-1)[None]
    assert flow_to_rgb(flow).max(axis=-1).min() >= 250


@given(st.lists(st.integers(1, 3), max_size=2), st.integers(1, 6), st.integers(1, 6), st.booleans())
def test_any_batch_equals_the_loop(lead: list[int], height: int, width: int, transposed: bool) -> None:
    rng = np.random.default_rng(height * 7 + width)
    if transposed:
        flow = np.swapaxes(rng.normal(size=(*lead, width, height, 2)), -3, -2).astype(np.float32)[..., ::-1]
    else:
        flow = rng.normal(size=(*lead, height, width, 2)).astype(np.float32)
    pictures = flow_to_rgb(flow)
    assert pictures.shape == (*lead, height, width, 3) and pictures.dtype == np.uint8
    for picture, field in zip(pictures.reshape(-1, height, width, 3), flow.reshape(-1, height, width, 2), strict=True):
        np.testing.assert_array_equal(picture, flow_to_rgb(np.ascontiguousarray(field)))
    np.testing.assert_array_equal(flow_to_rgb(torch.from_numpy(flow.copy())).numpy(), pictures)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_vectors_without_a_value_are_refused(bad: float) -> None:
    flow = np.zeros((4, 4, 2), np.float32)
    flow[1, 2, 0] = bad
    with pytest.raises(KernelInputError, match="NaN or infinite"):
        flow_to_rgb(flow)


@pytest.mark.parametrize("shape", [(4, 4, 3), (4, 2), (0, 4, 2)])
def test_shapes_that_are_no_flow_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(KernelInputError, match=r"shape \("):
        flow_to_rgb(np.zeros(shape, np.float32))


def test_integers_are_refused() -> None:
    with pytest.raises(KernelInputError, match="int16"):
        flow_to_rgb(np.zeros((4, 4, 2), np.int16))


def test_training_colours_refuse_channels_last() -> None:
    with pytest.raises(KernelInputError, match=r"\(4, 4, 2\)"):
        flow_to_rgb_unit(torch.zeros(4, 4, 2))
