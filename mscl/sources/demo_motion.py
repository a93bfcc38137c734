"""Pictures of the demo set: a textured patch on a textured still background, classes told apart by motion only.

Every class moves the same kind of patch; one component of its pose (place, angle or size) changes in time.
The components that do not move stand still at an instant of a motion that they could have made, so that a
single frame tells nothing about which component moves.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE_PX = 64
NUM_FRAMES = 32
FPS = 25
CLASSES = (
    "MoveRight", "MoveDown", "MoveLeft", "MoveUp",
    "TurnClockwise", "TurnCounterclockwise", "ZoomIn", "ZoomOut",
)  # fmt: skip
"""In label order. Directions are those of the picture: x to the right, y down."""

_MOVING_FRAMES = (14, 18)
_SHORTEST_STILL_FRAMES = 3
_PLACE_SPREAD_PX = 12.0
_SPEED_PX = (1.1, 2.4)
_TURN_RAD = (0.08, 0.18)
_ZOOM_LOG = (0.030, 0.055)
_DIRECTION_JITTER_RAD = np.deg2rad(25.0)
_TEXTURE_PX = 96
"""Side of the patch's texture, which the pose maps into the picture."""


@dataclass(frozen=True)
class Motion:
    """Pose of the patch in every frame: centre (x, y) in px, angle in rad, radius in px; and when it moves."""

    centre_T2: NDArray[np.float64]
    angle_rad_T: NDArray[np.float64]
    radius_px_T: NDArray[np.float64]
    first_moving: int
    """Frame from which on a frame differs from the one before: frames [0, first_moving) are equal."""
    moving_frames: int


def draw_motion(label: int, rng: np.random.Generator) -> Motion:
    """A random motion of the class `label` (index into CLASSES)."""
    path, first_moving, moving_frames = _draw_phase(rng)
    still = np.full(NUM_FRAMES, 0.0)

    def frozen() -> NDArray[np.float64]:
        other, _, _ = _draw_phase(rng)
        return still + other[rng.integers(NUM_FRAMES)]

    kind, sign = ("move", 0) if label < 4 else (("turn", 1), ("turn", -1), ("zoom", 1), ("zoom", -1))[label - 4]
    quarter = label if kind == "move" else int(rng.integers(4))
    direction_rad = quarter * np.pi / 2 + rng.uniform(-_DIRECTION_JITTER_RAD, _DIRECTION_JITTER_RAD)
    along_px_T = rng.uniform(*_SPEED_PX) * (path if kind == "move" else frozen())
    middle_2 = SIDE_PX / 2 + rng.uniform(-_PLACE_SPREAD_PX, _PLACE_SPREAD_PX, size=2)
    centre_T2 = middle_2 + along_px_T[:, None] * np.array([np.cos(direction_rad), np.sin(direction_rad)])

    # In a picture whose y points down a growing angle is a clockwise turn.
    turn_rad_T = rng.uniform(*_TURN_RAD) * (sign * path if kind == "turn" else frozen())
    angle_rad_T = rng.uniform(0, 2 * np.pi) + turn_rad_T

    zoom_sign = sign if kind == "zoom" else int(rng.choice((-1, 1)))
    zoom_T = zoom_sign * rng.uniform(*_ZOOM_LOG) * (path if kind == "zoom" else frozen())
    radius_px_T = rng.uniform(0.3, 0.55) * SIDE_PX / 2 * np.exp(zoom_T)
    return Motion(centre_T2, angle_rad_T, radius_px_T, first_moving, moving_frames)


def render(motion: Motion, rng: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    """Frames (64, 64, 3) uint8 RGB of one video; the appearance is drawn from `rng`."""
    patch = (0.3 + 0.7 * (0.35 + 0.65 * _noise(_TEXTURE_PX, rng)))[..., None] * _hue(rng, 0.6, 1.0)
    background = 0.4 * _noise(SIDE_PX, rng)[..., None] * _hue(rng, 0.0, 0.3)
    patch, background = patch.astype(np.float32) * 255, background.astype(np.float32) * 255
    y_H1, x_1W = np.mgrid[:SIDE_PX, :1][0], np.mgrid[:1, :SIDE_PX][1]
    frame: NDArray[np.uint8] | None = None
    last = (motion.first_moving + motion.moving_frames) - 1
    for t in range(NUM_FRAMES):
        if frame is None or motion.first_moving <= t <= last:
            (x, y), radius = motion.centre_T2[t], motion.radius_px_T[t]
            moved = cv2.warpAffine(
                patch, _texture_to_picture(x, y, motion.angle_rad_T[t], radius), (SIDE_PX, SIDE_PX),
                flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT,
            )  # fmt: skip
            cover = np.clip(radius + 0.5 - np.hypot(y_H1 - y, x_1W - x), 0, 1).astype(np.float32)[..., None]
            frame = np.rint(background + cover * (moved - background)).astype(np.uint8)
        yield frame


def _draw_phase(rng: np.random.Generator) -> tuple[NDArray[np.float64], int, int]:
    """Frames moved so far, counted from the middle of the motion; first moving frame; moving frames."""
    moving = int(rng.integers(_MOVING_FRAMES[0], _MOVING_FRAMES[1] + 1))
    first = int(rng.integers(_SHORTEST_STILL_FRAMES, NUM_FRAMES - moving - _SHORTEST_STILL_FRAMES + 1))
    moved = np.clip(np.arange(NUM_FRAMES) - (first - 1), 0, moving)
    return moved - moving / 2, first, moving


def _texture_to_picture(x: float, y: float, angle_rad: float, radius_px: float) -> NDArray[np.float64]:
    """2x3 matrix that maps the texture's inscribed circle onto the patch."""
    scale = radius_px / (_TEXTURE_PX / 2)
    cos, sin = scale * np.cos(angle_rad), scale * np.sin(angle_rad)
    middle = (_TEXTURE_PX - 1) / 2
    return np.array([
        [cos, -sin, x - cos * middle + sin * middle],
        [sin, cos, y - sin * middle - cos * middle],
    ])  # fmt: skip


def _noise(side: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Isotropic texture (side, side) in 0..1: coarse and fine spots."""
    octaves = [cv2.resize(rng.random((n, n), dtype=np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
               for n in (6, 12, 24)]  # fmt: skip
    mixed = 0.4 * octaves[0] + 0.35 * octaves[1] + 0.25 * octaves[2]
    return np.asarray((mixed - mixed.min()) / (mixed.max() - mixed.min()), dtype=np.float32)


def _hue(rng: np.random.Generator, least_saturation: float, most_saturation: float) -> NDArray[np.float32]:
    """A random colour (3,) whose brightest channel is 1."""
    saturation = rng.uniform(least_saturation, most_saturation)
    wheel = rng.uniform(0, 6) + np.array([0, 4, 2])
    ramp = np.clip(np.abs(wheel % 6 - 3) - 1, 0, 1)
    return np.asarray(1 - saturation * (1 - ramp), dtype=np.float32)
