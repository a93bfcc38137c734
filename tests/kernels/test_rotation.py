"""Rotation and normalisation of flow: physics, golden vectors, batched angles."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels.errors import KernelInputError
from kernels.rotation import normalise_flow, rotate_flow


def test_golden(shared_dir: Path) -> None:
    with np.load(shared_dir / "golden" / "motion.npz") as golden:
        flows = golden["flows"]
        np.testing.assert_allclose(normalise_flow(flows[:4]), golden["normalised"], rtol=0, atol=3e-7)
        for chunk in range(8):
            rotated = normalise_flow(rotate_flow(flows[:2], (0.2 + 0.2 * chunk) * math.pi))
            np.testing.assert_allclose(rotated, golden[f"rotated_chunk{chunk}"], rtol=0, atol=5e-7)


def test_a_quarter_turn_takes_right_to_down_to_left() -> None:
    right = np.array([[[1.0, 0.0]]], np.float32)
    down = rotate_flow(right, math.pi / 2)
    np.testing.assert_allclose(down, [[[0, 1]]], atol=1e-7)
    np.testing.assert_allclose(rotate_flow(down, math.pi / 2), [[[-1, 0]]], atol=1e-7)


@given(st.floats(-10, 10), st.floats(-10, 10))
def test_turns_add_up_and_keep_lengths(first_rad: float, second_rad: float) -> None:
    flow = np.random.default_rng(0).normal(size=(2, 3, 4, 2))
    both = rotate_flow(rotate_flow(flow, first_rad), second_rad)
    np.testing.assert_allclose(both, rotate_flow(flow, first_rad + second_rad), atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(both, axis=-1), np.linalg.norm(flow, axis=-1), atol=1e-12)


def test_one_angle_per_sample_turns_all_its_fields() -> None:
    flow_BTHW2 = torch.randn(3, 4, 5, 6, 2, generator=torch.Generator().manual_seed(0))
    angle_B = torch.tensor([0.3, -1.0, 2.0])
    rotated = rotate_flow(flow_BTHW2, angle_B)
    for sample, angle_rad, expected in zip(flow_BTHW2, angle_B.tolist(), rotated, strict=True):
        torch.testing.assert_close(rotate_flow(sample, angle_rad), expected)
    with_numpy = rotate_flow(flow_BTHW2.numpy(), angle_B.numpy())
    np.testing.assert_array_equal(with_numpy, rotated.numpy())


def test_angles_of_another_batch_are_refused() -> None:
    with pytest.raises(KernelInputError, match=r"\(2,\).*\(3, 5, 6, 2\)"):
        rotate_flow(np.zeros((3, 5, 6, 2), np.float32), np.zeros(2))


@given(st.integers(1, 5), st.integers(1, 5), st.sampled_from([np.float16, np.float32, np.float64]))
def test_normalised_radii_reach_almost_one(height: int, width: int, dtype: type) -> None:
    flow = np.random.default_rng(height).normal(size=(2, height, width, 2)).astype(dtype)
    normalised = normalise_flow(flow)
    assert normalised.dtype == (np.float64 if dtype is np.float64 else np.float32)
    radius = np.linalg.norm(normalised.astype(np.float64), axis=-1).max(axis=(1, 2))
    expected = np.linalg.norm(flow.astype(np.float64), axis=-1).max(axis=(1, 2))
    np.testing.assert_allclose(radius, expected / (expected + 1e-5), rtol=1e-6)


def test_a_still_field_stays_zero() -> None:
    assert not normalise_flow(np.zeros((1, 1, 2), np.float32)).any()


def test_other_views_of_memory_are_taken() -> None:
    flow = np.random.default_rng(1).normal(size=(6, 5, 2)).astype(np.float32)
    flow.setflags(write=False)
    np.testing.assert_array_equal(rotate_flow(flow[::-1, ::2], 0.5), rotate_flow(flow[::-1, ::2].copy(), 0.5))


def test_lists_are_refused() -> None:
    with pytest.raises(KernelInputError, match="list"):
        normalise_flow([[[1.0, 2.0]]])
