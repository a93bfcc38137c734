"""METHOD 1.2 word by word in NumPy and SciPy, one field at a time: the oracle of kernels.motion."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Float = NDArray[np.floating]

WHEEL = np.array(
    [(255, 255 * i // 15, 0) for i in range(15)]
    + [(255 - 255 * i // 6, 255, 0) for i in range(6)]
    + [(0, 255, 255 * i // 4) for i in range(4)]
    + [(0, 255 - 255 * i // 11, 255) for i in range(11)]
    + [(255 * i // 13, 0, 255) for i in range(13)]
    + [(255, 0, 255 - 255 * i // 6) for i in range(6)],
    np.float64,
)


def boundary(flow_HW2: Float) -> Float:
    slopes = [ndimage.sobel(flow_HW2[..., c], axis=a, mode="reflect") for c in (0, 1) for a in (0, 1)]
    return np.sqrt(sum(slope**2 for slope in slopes))


def attention(boundary_HW: Float, mode: str, window: int) -> Float:
    height, width = boundary_HW.shape
    wy, wx = min(window, height), min(window, width)
    rows, columns = height // wy, width // wx
    pooled = boundary_HW[: rows * wy, : columns * wx].reshape(rows, wy, columns, wx).mean(axis=(1, 3))
    y = np.clip((np.arange(height) + 0.5) * rows / height - 0.5, 0, rows - 1)
    x = np.clip((np.arange(width) + 0.5) * columns / width - 0.5, 0, columns - 1)
    spread = ndimage.map_coordinates(pooled, np.meshgrid(y, x, indexing="ij"), order=1, mode="nearest")
    return np.asarray(spread / (spread.max() if mode == "max" else spread.sum()))


def colours(flow_HW2: Float) -> Float:
    u, v = np.moveaxis(flow_HW2 / (np.linalg.norm(flow_HW2, axis=-1).max() + 1e-5), -1, 0)
    position = (np.arctan2(-v, -u) / math.pi + 1) / 2 * 54
    low = np.floor(position).astype(int)
    fraction = (position - low)[..., None]
    colour = ((1 - fraction) * WHEEL[low] + fraction * WHEEL[(low + 1) % 55]) / 255
    return np.floor(255 * (1 - np.hypot(u, v)[..., None] * (1 - colour)))


def field_differences(flow_MHW2: Float, *, weight: str, attention_mode: str, pool: str, window: int) -> Float:
    pooled = np.mean if pool == "avg" else np.max
    maps = []
    for flow in flow_MHW2:
        edges = boundary(flow)
        attended = np.ones_like(edges) if attention_mode == "none" else attention(edges, attention_mode, window)
        maps.append({"rgb_map": attended[..., None] * colours(flow), "motion_map": edges}.get(weight, attended))
    if weight != "rgb_map":
        return np.array([pooled(m) for m in maps])
    return np.array([pooled(np.linalg.norm(a - b, axis=-1)) for a, b in zip(maps, [*maps[1:], maps[-1]], strict=True)])
