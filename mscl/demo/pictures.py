"""Pictures of a pose: a textured disc on a textured still background that goes on at the opposite side."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mscl.demo.poses import PERIOD_LOG, Poses

_RADIUS = (0.4, 0.65)
"""Of half the side."""
_ROUNDNESS = (0.45, 0.7)
"""A disc whose texture turns is told from its mirror only by fine detail; an oval shows it."""
_SPOTS = (4, 7, 12)
"""Of the background, along a side: coarse and fine."""
_TEXTURE_PX = 64
_CENTRE_PX = 2.5
"""Below this radius a texture that has the same spots at every size is finer than the pixels: one colour there."""


@dataclass(frozen=True)
class Background:
    """Brightness and saturation of the still background; the disc is brighter."""

    brightness: float = 0.4
    saturation: tuple[float, float] = (0.0, 0.3)


STANDARD = Background()


def render(
    poses: Poses, rng: np.random.Generator, *, side_px: int, background: Background = STANDARD
) -> Iterator[NDArray[np.uint8]]:
    """Frames (side, side, 3) uint8 RGB of one video; what it looks like is drawn from `rng`."""
    ground = background.brightness * _noise((side_px, side_px), [(n, n) for n in _SPOTS], rng)[..., None]
    ground = (ground * _hue(rng, *background.saturation)).astype(np.float32) * 255
    colour = _hue(rng, 0.6, 1.0) * 255
    disc = ((0.25 + 0.75 * _disc_texture(rng)[..., None]) * colour).astype(np.float32)
    plain = disc.mean(axis=(0, 1))
    radius_px, roundness = rng.uniform(*_RADIUS) * side_px / 2, rng.uniform(*_ROUNDNESS)
    still = np.rint(ground).astype(np.uint8)
    frame: NDArray[np.uint8] | None = None
    last = poses.first_moving + poses.moving_frames - 1
    for t, (x, y, angle_rad, growth) in enumerate(poses.pose_T4.tolist()):
        if frame is None or poses.first_moving <= t <= last:
            right_px, columns = _about(x * side_px, radius_px, side_px)
            down_px, rows = _about(y * side_px, radius_px, side_px)
            cos, sin = np.float32(np.cos(angle_rad)), np.float32(np.sin(angle_rad))
            along = cos * right_px + sin * down_px[:, None]
            across = (cos * down_px[:, None] - sin * right_px) / np.float32(roundness)
            distance_px = np.hypot(along, across)
            turns = np.arctan2(across, along) / np.float32(2 * np.pi)
            periods = (np.log(np.maximum(distance_px * (64 / side_px), 1e-3)) - growth) / PERIOD_LOG
            shown = cv2.remap(
                disc, _around(turns), _around(periods), interpolation=cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
            )
            detail = np.clip(distance_px / (_CENTRE_PX * side_px / 64) - 0.5, 0, 1)[..., None]
            shown = plain + detail * (shown - plain)
            cover = np.clip(np.float32(radius_px) + 0.5 - distance_px, 0, 1)[..., None]
            box = np.ix_(rows, columns)
            frame = still.copy()
            frame[box] = np.rint(ground[box] + cover * (shown - ground[box])).astype(np.uint8)
        yield frame


def _disc_texture(rng: np.random.Generator) -> NDArray[np.float32]:
    """Columns: once around; rows: one period of growth. A ring shows growth, a bright side turning, spots both."""
    turn = 2 * np.pi * np.arange(_TEXTURE_PX) / _TEXTURE_PX
    ring, side = (0.5 + 0.5 * np.sin(turn + rng.uniform(0, 2 * np.pi)) for _ in range(2))
    spots = _noise((_TEXTURE_PX, _TEXTURE_PX), [(1, 2), (2, 4), (3, 8)], rng)
    return np.asarray(0.4 * ring[:, None] + 0.35 * side + 0.25 * spots, dtype=np.float32)


def _about(centre_px: float, radius_px: float, side_px: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Pixels within the radius of a place on the circle of a picture's side: how far from it, and which they are."""
    first, last = int(np.floor(centre_px - radius_px)) - 1, int(np.ceil(centre_px + radius_px)) + 1
    pixels = np.arange(first, last + 1)
    return (pixels + 0.5 - centre_px).astype(np.float32), pixels % side_px


def _around(cycles: NDArray[np.floating]) -> NDArray[np.float32]:
    """Texels of a coordinate that goes round once a cycle."""
    return ((cycles % 1.0) * _TEXTURE_PX).astype(np.float32)


def _noise(shape: tuple[int, int], spots: list[tuple[int, int]], rng: np.random.Generator) -> NDArray[np.float32]:
    """Texture in 0..1 with so many coarse and fine spots down and across, the same at opposite edges."""
    mixed = np.zeros(shape, np.float32)
    for cells in spots:
        grid = np.pad(rng.random(cells, dtype=np.float32), ((2, 2), (2, 2)), mode="wrap")
        # Cells are (n) to the shape; two more on each side are cut off, so that both edges meet.
        size = [round(length * (n + 4) / n) for length, n in zip(shape, cells, strict=True)]
        large = cv2.resize(grid, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
        top, left = ((whole - length) // 2 for whole, length in zip(size, shape, strict=True))
        mixed += large[top : top + shape[0], left : left + shape[1]]
    # Four standard deviations fill the range: less contrast, and turning could not be seen at this size.
    return np.asarray(np.clip(0.5 + (mixed - mixed.mean()) / (4 * mixed.std()), 0, 1), dtype=np.float32)


def _hue(rng: np.random.Generator, least_saturation: float, most_saturation: float) -> NDArray[np.float32]:
    """A random colour (3,) whose brightest channel is 1."""
    saturation = rng.uniform(least_saturation, most_saturation)
    wheel = rng.uniform(0, 6) + np.array([0, 4, 2])
    ramp = np.clip(np.abs(wheel % 6 - 3) - 1, 0, 1)
    return np.asarray(1 - saturation * (1 - ramp), dtype=np.float32)
