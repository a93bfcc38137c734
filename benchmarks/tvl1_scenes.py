"""Frame pairs with known flow for tests and benchmarks, drawn from formulas: a texture of waves warps exactly."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float64]


class Scene(NamedTuple):
    """uint8 frames (H, W) and the flow (H, W, 2) px from the first to the second."""

    first_HW: NDArray[np.uint8]
    second_HW: NDArray[np.uint8]
    flow_HW2: NDArray[np.float64]


def texture(seed: int) -> Callable[[Plane, Plane], Plane]:
    """Grey value at any real (x, y): 40 waves of random direction and length, strong where long."""
    rng = np.random.default_rng(seed)
    k = rng.normal(0, 0.25, (40, 2))
    phase = rng.uniform(0, 2 * np.pi, 40)
    amplitude = rng.uniform(0.3, 1, 40) / (1 + 8 * np.hypot(k[:, 0], k[:, 1]))
    scale = 72 / np.sqrt((amplitude**2).sum())

    def grey(x: Plane, y: Plane) -> Plane:
        waves = (a * np.sin(kx * x + ky * y + p) for (kx, ky), p, a in zip(k, phase, amplitude, strict=True))
        return np.asarray(np.clip(127 + scale * sum(waves, np.zeros_like(x)), 0, 255), float)

    return grey


def smooth_motion(kind: str, *, height: int = 96, width: int = 128, seed: int = 0) -> Scene:
    """kind: shift (3.3, -2.6) px, rotation and zoom by .03, or smooth waves of up to 3 px."""
    y, x = np.mgrid[:height, :width].astype(float)
    cx, cy = width / 2, height / 2

    def field(x: Plane, y: Plane) -> tuple[Plane, Plane]:
        if kind == "shift":
            return np.full_like(x, 3.3), np.full_like(y, -2.6)
        if kind == "rotation":
            return -0.03 * (y - cy), 0.03 * (x - cx)
        if kind == "zoom":
            return 0.03 * (x - cx), 0.03 * (y - cy)
        return 3 * np.sin(x / 50) * np.cos(y / 40), 2.5 * np.cos(x / 45 + 1)

    grey = texture(seed)
    back_x, back_y = x.copy(), y.copy()
    for _ in range(60):  # where the pixel of the second frame was in the first: a contraction
        u, v = field(back_x, back_y)
        back_x, back_y = x - u, y - v
    return Scene(_frame(grey(x, y)), _frame(grey(back_x, back_y)), np.stack(field(x, y), -1))


def layered_motion(*, height: int = 96, width: int = 128, seed: int = 0) -> Scene:
    """A box moving by (4.3, -2.1) px before a background moving by (-1.5, 0): occlusion and disocclusion."""
    y, x = np.mgrid[:height, :width].astype(float)
    behind, before = texture(seed), texture(seed + 1000)

    def inside(x: Plane, y: Plane) -> NDArray[np.bool_]:
        return (abs(x - width / 2) < 0.2 * width) & (abs(y - height / 2) < 0.2 * height)

    first = np.where(inside(x, y), before(x, y), behind(x, y))
    moved = x - 4.3, y + 2.1
    second = np.where(inside(*moved), before(*moved), behind(x + 1.5, y))
    return Scene(_frame(first), _frame(second), np.where(inside(x, y)[..., None], [4.3, -2.1], [-1.5, 0.0]))


def end_point_error(flow_HW2: NDArray[np.floating], truth_HW2: NDArray[np.floating]) -> float:
    """Mean over all pixels, in px."""
    return float(np.linalg.norm(flow_HW2 - truth_HW2, axis=-1).mean())


def _frame(grey: Plane) -> NDArray[np.uint8]:
    return grey.round().astype(np.uint8)
