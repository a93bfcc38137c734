"""Every random decision of the augmentation, as a pure function of the uniform numbers of a batch (METHOD 1.4).

The numbers are drawn with the sample, from (seed, epoch, segment), and travel with it. So a sample looks the same
whatever rank, worker or micro-batch it lands in, and a resumed run repeats it exactly.
"""

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mscl.array_types import Doubles
from mscl.errors import DataError
from mscl.pretrain.config import AugmentConfig

JITTER = (0.4, 0.4, 0.4, 0.1)
"""Strength of brightness, contrast, saturation and hue (METHOD 1.4.7)."""
BLUR_SIGMA_PX = (0.1, 2.0)
RELEASED_ANGLES_RAD: Doubles = np.array([0.2 * math.pi * step for step in range(1, 9)])
"""D11: the released set, 0.2 pi .. 1.6 pi; 1.8 pi never occurs there."""

_SHARED = 2  # flip, angle
_LAST = 1  # the key view's own flip (D25); at the end, so that the other decisions stayed when it came
_CLIP = 4  # jitter, grey, blur, sigma
_OPS = len(JITTER)


def num_draws(length: int) -> int:
    """D: uniform numbers per sample for clips of `length` frames, the same for every configuration."""
    return _SHARED + 2 * (_CLIP + _OPS + _OPS * length) + _LAST


@dataclass(frozen=True, eq=False)
class ColourDraws:
    """Colour decisions for B clips; `T` is 1 where a strength holds for the whole clip (D13)."""

    jitter_B: NDArray[np.bool_]
    grey_B: NDArray[np.bool_]
    blur_B: NDArray[np.bool_]
    sigma_px_B: Doubles
    order_B4: NDArray[np.int64]
    """Order in which brightness 0, contrast 1, saturation 2 and hue 3 are adjusted."""
    factors_B4T: Doubles
    """Factors of brightness, contrast and saturation around 1; shift of hue, in turns, around 0."""

    def select(self, index: slice | NDArray[Any]) -> Self:
        """The decisions for some of the clips."""
        return type(self)(
            self.jitter_B[index],
            self.grey_B[index],
            self.blur_B[index],
            self.sigma_px_B[index],
            self.order_B4[index],
            self.factors_B4T[index],
        )


@dataclass(frozen=True, eq=False)
class SampleDraws:
    """Decisions for B samples: both views turn by one angle, colours are each view's own."""

    flip_q_B: NDArray[np.bool_]
    flip_k_B: NDArray[np.bool_]
    """The same as `flip_q_B`, unless `flip_draw` is `per_view` (D25)."""
    angle_rad_B: Doubles
    q: ColourDraws
    k: ColourDraws


def sample_draws(uniform_BD: NDArray[np.floating[Any]], config: AugmentConfig, *, length: int) -> SampleDraws:
    """Decisions from U[0, 1) numbers, `num_draws(length)` per sample.

    Raises:
        DataError: another number of draws per sample.
    """
    if uniform_BD.ndim != 2 or uniform_BD.shape[1] != num_draws(length):
        raise DataError(
            f"clips of {length} frames take draws (B, {num_draws(length)}), got {uniform_BD.shape}; "
            "load with the clip length that is augmented"
        )
    uniform = uniform_BD.astype(np.float64)
    angle = uniform[:, 1]
    flip = uniform[:, 0] < config.flip
    end = uniform.shape[1] - _LAST
    middle = (end + _SHARED) // 2
    return SampleDraws(
        flip_q_B=flip,
        flip_k_B=flip if config.flip_draw == "per_sample" else uniform[:, end] < config.flip,
        angle_rad_B=(
            RELEASED_ANGLES_RAD[(angle * len(RELEASED_ANGLES_RAD)).astype(np.int64)]
            if config.angles == "released"
            else (0.2 + 1.6 * angle) * math.pi
        ),
        q=_colour_draws(uniform[:, _SHARED:middle], config, length),
        k=_colour_draws(uniform[:, middle:end], config, length),
    )


def _colour_draws(uniform: Doubles, config: AugmentConfig, length: int) -> ColourDraws:
    strengths = uniform[:, _CLIP + _OPS :].reshape(-1, _OPS, length)
    if config.jitter_draw == "per_clip":
        strengths = strengths[:, :, :1]
    around = np.array([1.0, 1.0, 1.0, 0.0]) - JITTER
    low, high = BLUR_SIGMA_PX
    return ColourDraws(
        jitter_B=uniform[:, 0] < config.jitter,
        grey_B=uniform[:, 1] < config.grey,
        blur_B=uniform[:, 2] < config.blur,
        sigma_px_B=low + (high - low) * uniform[:, 3],
        order_B4=np.argsort(uniform[:, _CLIP : _CLIP + _OPS], axis=1, kind="stable"),
        factors_B4T=around[:, None] + 2 * np.array(JITTER)[:, None] * strengths,
    )
