"""Where a patch is in every frame of a video, drawn so that no single frame tells what it does.

All that moves goes round: the place on a torus (who leaves at the right comes in at the left), the angle of the disc,
and the phase of a texture that looks the same after it has grown by a whole period. Every video draws its start
uniformly from all poses, and a motion adds the same to whatever the start is: so in every frame, first, middle or last,
the pose is uniform again, whatever the class. Still stretches before and after a motion are drawn alike, and so are
both ways of a motion: played backwards, the videos of a class are those of its opposite. Frames in random order, and
their mean, therefore show that something moved along an axis, turned or changed its size, and not which way.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mscl.array_types import Doubles

PERIOD_LOG = float(np.log(3.0))
"""The texture looks the same after it has grown by this factor (its logarithm)."""

_SPEED = (1.1 / 64, 2.4 / 64)
"""Of the side, a frame."""
_TURN_RAD = (0.12, 0.25)
_ZOOM_LOG = (0.08, 0.13)
_DIRECTION_JITTER_RAD = np.deg2rad(25.0)

Motion = Callable[[np.random.Generator], Doubles]
"""Draws what one frame adds to a pose: (x, y, angle, growth)."""


@dataclass(frozen=True)
class Poses:
    """Pose of the patch in every frame, and when it moves."""

    pose_T4: Doubles
    """Centre x and y in 0..1 of the side, angle in rad, growth (logarithm of the size of the texture): not yet taken
    modulo 1, 1, 2 pi and `PERIOD_LOG`."""
    first_moving: int
    """Frame from which on a frame differs from the one before: frames [0, first_moving) are equal."""
    moving_frames: int

    @property
    def round_T8(self) -> Doubles:
        """The pose as it looks: cosine and sine of every coordinate on its circle."""
        circle_T4 = self.pose_T4 * (2 * np.pi / np.array([1, 1, 2 * np.pi, PERIOD_LOG]))
        return np.concatenate([np.cos(circle_T4), np.sin(circle_T4)], axis=1)


def move(direction_rad: float | None = None) -> Motion:
    """A move to about that side (0: right, pi/2: down); None: to any."""

    def draw(rng: np.random.Generator) -> Doubles:
        turned = rng.uniform(-_DIRECTION_JITTER_RAD, _DIRECTION_JITTER_RAD)
        angle = rng.uniform(0, 2 * np.pi) if direction_rad is None else direction_rad + turned
        return rng.uniform(*_SPEED) * np.array([np.cos(angle), np.sin(angle), 0, 0])

    return draw


def turn(sign: int | None = None) -> Motion:
    """A turn on the spot, 1: clockwise (the picture's y points down); None: either way."""
    return lambda rng: rng.uniform(*_TURN_RAD) * (sign or rng.choice([-1, 1])) * np.array([0.0, 0, 1, 0])


def zoom(sign: int | None = None) -> Motion:
    """A texture that grows (1) or shrinks (-1) inside its disc; None: either."""
    return lambda rng: rng.uniform(*_ZOOM_LOG) * (sign or rng.choice([-1, 1])) * np.array([0.0, 0, 0, 1])


def draw_poses(
    motions: tuple[Motion, ...],
    rng: np.random.Generator,
    *,
    num_frames: int,
    moving_frames: tuple[int, int],
    least_still: int,
    speed: float = 1.0,
    slower: int = 1,
) -> Poses:
    """Poses of a video in which one motion follows the other.

    Args:
        motions: what happens, in order; each takes the same share of the moving frames, drawn on its own.
        num_frames: of the video before it is slowed down.
        moving_frames: fewest and most frames that each motion takes.
        least_still: frames that stand still before and after, at least.
        speed: factor of what a motion adds in a frame.
        slower: so many times as many frames show the same.
    """
    lengths = [slower * int(rng.integers(*moving_frames, endpoint=True)) for _ in motions]
    # The last frame begins no flow field and is not stored: both ends are alike among those before it.
    still = slower * num_frames - 2 - sum(lengths)
    first = int(rng.integers(slower * least_still, still - slower * least_still, endpoint=True)) + 1
    step_T4 = np.zeros((slower * num_frames, 4))
    at = first
    for motion, length in zip(motions, lengths, strict=True):
        step_T4[at : at + length] = motion(rng) * speed / slower
        at += length
    start_4 = rng.random(4) * np.array([1, 1, 2 * np.pi, PERIOD_LOG])
    return Poses(start_4 + step_T4.cumsum(axis=0), first, sum(lengths))
