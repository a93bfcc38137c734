"""Frame pairs with known flow without end: layers of real or drawn texture, each with its own motion, from a seed.

A layer is a picture and an outline that move together by an affine map (the background may also tilt). Both frames are
rendered alike, by sampling the enlarged picture nine times in every pixel, so that neither is a warp of the other.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.tvl1_scenes import Scene

Grey = NDArray[np.uint8]
Plane = NDArray[np.float32]
Matrix = NDArray[np.float64]

SAMPLES = 3
"""Samples of a pixel along each axis."""
ENLARGED = 3
"""Texture is enlarged this much by a cubic kernel, for OpenCV samples at 1/32 of its pixels."""
MOST_PX = 40.0
"""The fastest own motion of a layer; a camera's, up to 25 px, comes on top."""
SPLITS = {
    "tuning": ("ucf101/ApplyEyeMakeup", "ucf101/BabyCrawling", "ucf101/Diving", "surveillance_fight", "hmdb51/climb"),
    "test": ("ucf101/PushUps", "ucf101/Punch", "ucf101/BenchPress", "ucf101/BaseballPitch", "hmdb51/golf",
             "hmdb51/punch", "hmdb51/shoot_bow", "hmdb51/swing_baseball", "kth"),
}  # fmt: skip
"""Folders of videos whose frames are the textures of each split; seeds of the splits differ too."""


def split_scenes(split: str, videos: Path, count: int) -> list[Scene]:
    """The first `count` scenes of a split: frames of the folder `videos`, or drawn textures where it has none."""
    textures = frames_of(sorted(p for folder in SPLITS[split] for p in (videos / folder).rglob("*.*")), most=60)
    return [moving_layers((list(SPLITS).index(split), index), textures) for index in range(count)]


def frames_of(videos: Sequence[Path], *, most: int) -> list[Grey]:
    """A grey frame from the first second of each of at most `most` videos, spread evenly, its border cut off."""
    frames: list[Grey] = []
    for path in videos[:: max(1, len(videos) // most)]:
        capture = cv2.VideoCapture(str(path))
        read = [frame for ok, frame in (capture.read() for _ in range(20)) if ok]
        if read:
            grey = np.asarray(cv2.cvtColor(read[-1], cv2.COLOR_BGR2GRAY), np.uint8)
            y, x = grey.shape[0] // 12, grey.shape[1] // 12
            frames.append(np.ascontiguousarray(grey[y:-y, x:-x]))
    return frames


def moving_layers(
    seed: int | tuple[int, ...], textures: Sequence[Grey] = (), *, height: int = 256, width: int = 340
) -> Scene:
    """One to eight objects before a background, moving by .1 to 40 px; a third of the cameras stand still.

    Three pairs in ten are crowded, like those of FlyingChairs: 6 to 13 objects that all move, by 5 to 20 px, half of
    them pierced, much of their texture flat, before a background that hardly moves, filmed without flaw.

    Textures are `textures` and, for a quarter of the layers (all of them without any), drawn ones. Half the pairs have
    noise, a third blur and a third a change of light. The truth is the motion of the layer seen in the first frame,
    also where it is hidden in the second or leaves it.
    """
    rng = np.random.default_rng(seed)
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    crowded = rng.random() < 0.3
    speed_px = float(np.exp(rng.uniform(np.log(5.0 if crowded else 0.5), np.log(20.0 if crowded else MOST_PX))))
    camera = (
        np.eye(3)
        if not crowded and rng.random() < 0.33
        else _motion(rng, middle, min(speed_px, 3.0 if crowded else 25.0), tilt=True)
    )
    first, second = (np.zeros((SAMPLES * height, SAMPLES * width), np.float32) for _ in range(2))
    motion_HW = np.zeros((height, width), np.int64)
    motions = []
    x, y = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
    fine_x, fine_y = ((np.arange(SAMPLES * n) + 0.5) / SAMPLES - 0.5 for n in (width, height))
    fine = np.stack([*np.meshgrid(fine_x, fine_y), np.ones((SAMPLES * height, SAMPLES * width))])
    objects = int(rng.integers(6, 14) if crowded else rng.integers(1, 9))
    smallest_px, largest_px = (15, 60) if crowded else (8, 90)
    for index in range(1 + objects):
        placed = _placement(rng, middle)
        if index == 0:
            motion, outline = camera, None
        else:
            at = rng.uniform([0, 0], [width, height])
            own = _motion(rng, at, speed_px * float(np.exp(rng.uniform(-1.5, 0))))
            motion = camera @ own if rng.random() < 0.8 or index == 1 or crowded else camera
            outline = _Outline(
                rng,
                at,
                radius_px=float(np.exp(rng.uniform(np.log(smallest_px), np.log(largest_px)))),
                pierced=0.3 if crowded else 0.1,
            )
        texture = _texture(rng, textures, flat=0.6 if crowded else 0.1)
        for frame, move in ((first, np.eye(3)), (second, motion)):
            colour = _sample(texture, move @ placed, height, width)
            if outline is None:
                frame[...] = colour
            else:
                back = np.tensordot(np.linalg.inv(move), fine, 1)
                np.copyto(frame, colour, where=outline.covers(back[0] / back[2], back[1] / back[2]))
        if outline is not None:
            motion_HW[outline.covers(x, y)] = index
        motions.append(motion)
    ahead = np.einsum("hwij,jhw->hwi", np.stack(motions)[motion_HW], np.stack([x, y, np.ones_like(x)]))
    flow = ahead[..., :2] / ahead[..., 2:] - np.stack([x, y], -1)
    frames = [
        np.asarray(cv2.resize(f, (width, height), interpolation=cv2.INTER_AREA), np.float32) for f in (first, second)
    ]
    first_HW, second_HW = (_as_bytes(frame) for frame in frames) if crowded else _filmed(rng, frames)
    return Scene(first_HW, second_HW, flow)


def _motion(rng: np.random.Generator, about: Matrix, shift_px: float, *, tilt: bool = False) -> Matrix:
    """A shift of `shift_px` in any direction, mostly with a little rotation, zoom and shear about a point."""
    angle = rng.uniform(0, 2 * np.pi)
    shift = shift_px * np.array([np.cos(angle), np.sin(angle) * rng.uniform(0.3, 1)])
    strength = float(rng.choice([0.0, 0.3, 1.0])) * min(1.0, shift_px / 8)
    turn, zoom, *shear = strength * rng.normal(0, [0.06, 0.05, 0.03, 0.03])
    matrix = np.eye(3)
    matrix[:2, :2] = (1 + zoom) * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix[0, 1] += shear[0]
    matrix[1, 0] += shear[1]
    if tilt and rng.random() < 0.3:
        matrix[2, :2] = strength * rng.normal(0, 2e-4, 2)
    return _shift(about + shift) @ matrix @ _shift(-about)


def _placement(rng: np.random.Generator, middle: Matrix) -> Matrix:
    """How a texture, its middle at 0, lies in the first frame: turned, and scaled by .45 to 1.3."""
    turn, scale = rng.normal(0, 0.3), float(np.exp(rng.uniform(np.log(0.45), np.log(1.3))))
    matrix = np.eye(3)
    matrix[:2, :2] = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return _shift(middle + rng.normal(0, 60, 2)) @ matrix


def _shift(by: Matrix) -> Matrix:
    matrix = np.eye(3)
    matrix[:2, 2] = by
    return matrix


class _Outline:
    """A closed curve r(angle) about a point, squeezed along one direction, sometimes with a hole or slats."""

    def __init__(self, rng: np.random.Generator, at: Matrix, radius_px: float, pierced: float) -> None:
        self.at, self.radius_px = at, radius_px
        self.turn, self.squeeze = rng.uniform(0, np.pi), float(rng.choice([1.0, 0.6, 0.25]))
        waves = np.arange(2, 7)
        self.waves = list(zip(waves, rng.uniform(0, 2 * np.pi, 5), rng.uniform(0, 0.6, 5) / waves, strict=True))
        self.hole = float(rng.uniform(0.5, 0.85)) if rng.random() < pierced else 0.0
        self.slats_px = float(rng.uniform(8, 30)) if rng.random() < pierced else 0.0

    def covers(self, x: Matrix, y: Matrix) -> NDArray[np.bool_]:
        dx, dy = x - self.at[0], y - self.at[1]
        across = (np.cos(self.turn) * dx + np.sin(self.turn) * dy) / self.squeeze
        along = np.cos(self.turn) * dy - np.sin(self.turn) * dx
        reach = np.hypot(across, along) / self.radius_px
        covered = reach < 2.5
        angle = np.arctan2(along[covered], across[covered])
        limit = 1 + sum(a * np.cos(k * angle + p) for k, p, a in self.waves)
        covered[covered] = (reach[covered] < limit) & (reach[covered] >= self.hole * limit)
        if self.slats_px:
            covered &= (along / self.slats_px) % 1 < 0.4
        return np.asarray(covered)


def _texture(rng: np.random.Generator, textures: Sequence[Grey], *, flat: float) -> Plane:
    """A frame, or noise of every scale in a random proportion; enlarged, of a contrast and brightness of its own."""
    if len(textures) and rng.random() < 0.75:
        grey = textures[int(rng.integers(len(textures)))].astype(np.float32)
    else:
        grey = np.zeros((240, 320), np.float32)
        fall = rng.uniform(0.3, 1.0)
        for octave in range(1, 8):
            coarse = rng.normal(0, 2 ** (fall * octave), (240 // 2**octave + 4, 320 // 2**octave + 4))
            grey += cv2.resize(coarse.astype(np.float32), (320, 240), interpolation=cv2.INTER_CUBIC)
        if rng.random() < 0.5:  # edges
            grey = np.where(grey > np.median(grey), grey + 2 * grey.std(), grey)
        grey = 128 + 45 * (grey - grey.mean()) / grey.std()
    grey = 128 + rng.uniform(0.6, 1.1) * (grey - 128) + rng.normal(0, 12)
    if rng.random() < flat:  # a night sky, a plain wall: what is darker than most is all alike
        grey = np.maximum(grey - np.quantile(grey, rng.uniform(0.3, 0.8)), 0) * rng.uniform(0.8, 2) + rng.uniform(0, 60)
    height, width = grey.shape
    return np.asarray(
        cv2.resize(grey, (ENLARGED * width, ENLARGED * height), interpolation=cv2.INTER_CUBIC), np.float32
    )


def _sample(texture: Plane, placed: Matrix, height: int, width: int) -> Plane:
    """The plane of a texture, mirrored without end, at SAMPLES x SAMPLES points a pixel."""
    rows, columns = texture.shape
    enlarged = _shift(np.array([(columns - 1) / 2, (rows - 1) / 2])) @ np.diag([ENLARGED, ENLARGED, 1.0])
    fine = np.array([[SAMPLES, 0, (SAMPLES - 1) / 2], [0, SAMPLES, (SAMPLES - 1) / 2], [0, 0, 1.0]])
    matrix = fine @ placed @ np.linalg.inv(enlarged)
    size = (SAMPLES * width, SAMPLES * height)
    return np.asarray(
        cv2.warpPerspective(texture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT), np.float32
    )


def _filmed(rng: np.random.Generator, frames: list[Plane]) -> list[Grey]:
    """What a camera makes of both frames: blur, light, noise, bytes."""
    blur_px = rng.uniform(0.4, 1.2) if rng.random() < 0.33 else 0.0
    gain, offset = (rng.normal(1, 0.05), rng.normal(0, 5)) if rng.random() < 0.33 else (1.0, 0.0)
    noise = rng.uniform(0.5, 4) if rng.random() < 0.5 else 0.0
    filmed = []
    for index, frame in enumerate(frames):
        seen = cv2.GaussianBlur(frame, (0, 0), blur_px) if blur_px else frame
        seen = gain * (seen - 128) + 128 + offset if index else seen
        filmed.append(_as_bytes(seen + rng.normal(0, noise, frame.shape)))
    return filmed


def _as_bytes(frame: NDArray[np.floating]) -> Grey:
    return np.asarray(frame.round().clip(0, 255), np.uint8)
