"""Colour work equals torchvision's, clip by clip (METHOD 1.4.7)."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as tv
from torch import Tensor

from mscl.pretrain.colour_jitter import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    blur_kernel_px,
    colour_jitter_,
    gaussian_blur_,
    to_grey_,
)
from mscl.pretrain.draws import ColourDraws
from mscl.video.normalise import normalise_rgb, planar

Adjust = Callable[[Tensor, Tensor], Tensor]
PAIRS: list[tuple[Adjust, Callable[[Tensor, float], Tensor], list[float]]] = [
    (adjust_brightness, tv.adjust_brightness, [0.6, 1.0, 1.4]),
    (adjust_contrast, tv.adjust_contrast, [0.6, 1.0, 1.4]),
    (adjust_saturation, tv.adjust_saturation, [0.6, 1.0, 1.4]),
    (adjust_hue, tv.adjust_hue, [-0.1, 0.0, 0.1, 0.5, -0.5]),
]


def clips(batch: int, seed: int = 0) -> Tensor:
    """(B, 3, T, H, W): noise, greys, and saturated colours where two channels tie."""
    values = torch.rand((batch, 3, 2, 24, 20), generator=torch.Generator().manual_seed(seed))
    values[0, :, :, :6] = values[0, :1, :, :6]
    values[:, :, :, 6:9] = values[:, :, :, 6:9].round()
    return values


def by_frame(function: Callable[[Tensor], Tensor], clip_3THW: Tensor) -> Tensor:
    return function(clip_3THW.transpose(0, 1)).transpose(0, 1)


@pytest.mark.parametrize(("ours", "theirs", "factors"), PAIRS)
def test_adjust_equals_torchvision(
    ours: Adjust, theirs: Callable[[Tensor, float], Tensor], factors: list[float]
) -> None:
    batch = clips(len(factors))
    got = ours(batch, torch.tensor(factors)[:, None, None, None, None])
    for clip, factor, result in zip(batch, factors, got, strict=True):
        expected = by_frame(lambda frames, f=factor: theirs(frames, f), clip)  # type: ignore[misc]
        torch.testing.assert_close(result, expected, atol=2e-6, rtol=0)


def draws(batch: int, frames: int = 1, seed: int = 0) -> ColourDraws:
    rng = np.random.default_rng(seed)
    factors = np.concatenate(
        [rng.uniform(0.6, 1.4, (batch, 3, frames)), rng.uniform(-0.1, 0.1, (batch, 1, frames))], axis=1
    )
    order = np.stack([rng.permutation(4) for _ in range(batch)])
    on = np.arange(batch) % 3 > 0
    return ColourDraws(on, ~on, on, rng.uniform(0.1, 2, batch), order, factors)


@pytest.mark.parametrize("frames", [1, 2])
def test_jitter_applies_each_clips_own_factors_in_its_own_order(frames: int) -> None:
    batch, chosen = clips(12), draws(12, frames)
    got = batch.clone()
    colour_jitter_(got, chosen)
    for row in range(12):
        expected = batch[row].clone()
        for operation in chosen.order_B4[row] if chosen.jitter_B[row] else ():
            for frame in range(2):
                factor = float(chosen.factors_B4T[row, operation, frame % frames])
                expected[:, frame] = PAIRS[operation][1](expected[:, frame], factor)
        torch.testing.assert_close(got[row], expected, atol=1e-5, rtol=0)


def test_grey_equals_torchvision_and_leaves_the_rest() -> None:
    batch = clips(4)
    got = batch.clone()
    to_grey_(got, np.array([1, 3]))
    for row in (1, 3):
        expected = by_frame(lambda frames: tv.rgb_to_grayscale(frames, 3), batch[row])
        torch.testing.assert_close(got[row], expected, atol=1e-6, rtol=0)
    assert torch.equal(got[::2], batch[::2])


@pytest.mark.parametrize(("size_px", "kernel_px"), [(112, 11), (224, 23), (40, 5), (64, 7), (19, 1)])
def test_blur_kernel(size_px: int, kernel_px: int) -> None:
    assert blur_kernel_px(size_px) == kernel_px


def test_blur_equals_torchvision_and_leaves_the_rest() -> None:
    batch = torch.rand((3, 3, 2, 40, 40), generator=torch.Generator().manual_seed(0))
    got = batch.clone()
    gaussian_blur_(got, np.array([0, 2]), np.array([0.1, 1.7]))
    for row, sigma in ((0, 0.1), (2, 1.7)):
        expected = by_frame(lambda frames, s=sigma: tv.gaussian_blur(frames, [5, 5], [s, s]), batch[row])  # type: ignore[misc]
        torch.testing.assert_close(got[row], expected, atol=1e-6, rtol=0)
    assert torch.equal(got[1], batch[1])


def test_blur_keeps_a_constant_clip() -> None:
    clip = torch.full((1, 3, 2, 112, 112), 0.3)
    gaussian_blur_(clip, np.array([0]), np.array([1.0]))
    torch.testing.assert_close(clip, torch.full_like(clip, 0.3))


def test_normalise_rgb_equals_torchvision() -> None:
    raw = torch.randint(0, 256, (2, 3, 9, 7, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    frames = tv.to_dtype(raw.permute(0, 1, 4, 2, 3), torch.float32, scale=True)
    expected = tv.normalize(frames, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]).transpose(1, 2)
    got = normalise_rgb(raw)
    torch.testing.assert_close(got, expected)
    assert got.is_contiguous() and planar(raw).max() <= 1
