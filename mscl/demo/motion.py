"""Pictures of the demo set: a textured patch on a textured still background, classes told apart by motion only.

Every class moves the same kind of patch: place, angle or size changes in time, from still to still. All poses are
drawn for the *middle frame*, alike for all classes, and the motion leads there and on: so the middle frame tells
nothing about the class, exactly, and a clip that repeats it is a control whose expectation is chance. Other frames
say a little: who moves right was more often at the left before.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE_PX = 64
NUM_FRAMES = 32
MIDDLE_FRAME = (NUM_FRAMES - 1) // 2
FPS = 25
CLASSES = (
    "MoveRight", "MoveDown", "MoveLeft", "MoveUp",
    "TurnClockwise", "TurnCounterclockwise", "ZoomIn", "ZoomOut",
)  # fmt: skip
"""In label order. Directions are those of the picture: x to the right, y down."""

_MOVING_FRAMES = (14, 18)
_SHARE_BEFORE_MIDDLE = (0.35, 0.65)
"""How much of the motion has happened at the middle frame; so 3 or more still frames lie on either side."""
_PLACE_SPREAD_PX = 12.0
_RADIUS = (0.3, 0.55)
"""Of half the width."""
_SPEED_PX = (1.1, 2.4)
_TURN_RAD = (0.12, 0.25)
_ZOOM_LOG = (0.04, 0.065)
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
    path_T, first_moving, moving_frames = _draw_path(rng)
    # The pose at the middle frame: drawn first and alike for every class.
    centre_2 = SIDE_PX / 2 + rng.uniform(-_PLACE_SPREAD_PX, _PLACE_SPREAD_PX, size=2)
    angle_rad = rng.uniform(0, 2 * np.pi)
    radius_px = rng.uniform(*_RADIUS) * SIDE_PX / 2

    velocity_px_2, turn_rad, zoom_log = np.zeros(2), 0.0, 0.0
    if label < 4:
        direction_rad = label * np.pi / 2 + rng.uniform(-_DIRECTION_JITTER_RAD, _DIRECTION_JITTER_RAD)
        velocity_px_2 = rng.uniform(*_SPEED_PX) * np.array([np.cos(direction_rad), np.sin(direction_rad)])
    elif label < 6:
        # In a picture whose y points down a growing angle is a clockwise turn.
        turn_rad = rng.uniform(*_TURN_RAD) * (1 if label == 4 else -1)
    else:
        zoom_log = rng.uniform(*_ZOOM_LOG) * (1 if label == 6 else -1)
    return Motion(
        centre_T2=centre_2 + path_T[:, None] * velocity_px_2,
        angle_rad_T=angle_rad + path_T * turn_rad,
        radius_px_T=radius_px * np.exp(path_T * zoom_log),
        first_moving=first_moving,
        moving_frames=moving_frames,
    )


def render(motion: Motion, rng: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    """Frames (64, 64, 3) uint8 RGB of one video; the appearance is drawn from `rng`."""
    patch = (0.3 + 0.7 * (0.35 + 0.65 * _noise(_TEXTURE_PX, (3, 5, 8), rng)))[..., None] * _hue(rng, 0.6, 1.0)
    background = 0.4 * _noise(SIDE_PX, (5, 9, 16), rng)[..., None] * _hue(rng, 0.0, 0.3)
    patch, background = patch.astype(np.float32) * 255, background.astype(np.float32) * 255
    # A disc whose texture turns is told from its mirror only by fine detail; an oval shows it.
    roundness = rng.uniform(0.5, 0.8)
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
            cos, sin = np.cos(motion.angle_rad_T[t]), np.sin(motion.angle_rad_T[t])
            along, across = cos * (x_1W - x) + sin * (y_H1 - y), cos * (y_H1 - y) - sin * (x_1W - x)
            cover = np.clip(radius + 0.5 - np.hypot(along, across / roundness), 0, 1).astype(np.float32)[..., None]
            frame = np.rint(background + cover * (moved - background)).astype(np.uint8)
        yield frame


def _draw_path(rng: np.random.Generator) -> tuple[NDArray[np.float64], int, int]:
    """Frames moved so far, counted from the middle frame of the video; first moving frame; moving frames."""
    moving = int(rng.integers(_MOVING_FRAMES[0], _MOVING_FRAMES[1] + 1))
    first = MIDDLE_FRAME + 1 - round(moving * rng.uniform(*_SHARE_BEFORE_MIDDLE))
    moved_T = np.clip(np.arange(NUM_FRAMES, dtype=np.float64) - (first - 1), 0, moving)
    return moved_T - moved_T[MIDDLE_FRAME], first, moving


def _texture_to_picture(x: float, y: float, angle_rad: float, radius_px: float) -> NDArray[np.float64]:
    """2x3 matrix that maps the texture's inscribed circle onto the patch."""
    scale = radius_px / (_TEXTURE_PX / 2)
    cos, sin = scale * np.cos(angle_rad), scale * np.sin(angle_rad)
    middle = (_TEXTURE_PX - 1) / 2
    return np.array([
        [cos, -sin, x - cos * middle + sin * middle],
        [sin, cos, y - sin * middle - cos * middle],
    ])  # fmt: skip


def _noise(side: int, spots: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Texture (side, side) in 0..1: so many coarse and fine spots along a side."""
    octaves = [cv2.resize(rng.random((n, n), dtype=np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
               for n in spots]  # fmt: skip
    mixed = octaves[0] + octaves[1] + octaves[2]
    # Four standard deviations fill the range: less contrast, and turning could not be seen at this size.
    return np.asarray(np.clip(0.5 + (mixed - mixed.mean()) / (4 * mixed.std()), 0, 1), dtype=np.float32)


def _hue(rng: np.random.Generator, least_saturation: float, most_saturation: float) -> NDArray[np.float32]:
    """A random colour (3,) whose brightest channel is 1."""
    saturation = rng.uniform(least_saturation, most_saturation)
    wheel = rng.uniform(0, 6) + np.array([0, 4, 2])
    ramp = np.clip(np.abs(wheel % 6 - 3) - 1, 0, 1)
    return np.asarray(1 - saturation * (1 - ramp), dtype=np.float32)
