"""Crops and resizes on the CPU, the same relative box for frames and flow (METHOD 1.4.3, 1.4.4)."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mscl.errors import DataError
from storage.box import Box

_TRIES = 10


def random_box(
    height: int,
    width: int,
    *,
    area: tuple[float, float],
    aspect: tuple[float, float],
    rng: np.random.Generator,
) -> Box:
    """Random resized crop: share of the area U(area), aspect log-uniform, 10 tries, else the centre square.

    Aspect is width / height. METHOD 1.4.3; log-uniform as torchvision and the reference draw it.
    The generator advances by the same amount on every path.
    """
    areas = rng.uniform(*area, size=_TRIES) * (height * width)
    aspects = np.exp(rng.uniform(np.log(aspect[0]), np.log(aspect[1]), size=_TRIES))
    place_h, place_w = rng.random(2)
    heights = np.rint(np.sqrt(areas / aspects)).astype(np.int64)
    widths = np.rint(np.sqrt(areas * aspects)).astype(np.int64)
    fits = np.flatnonzero((heights >= 1) & (widths >= 1) & (heights <= height) & (widths <= width))
    if len(fits) == 0:
        return centre_box(height, width, side=min(height, width))
    box_h, box_w = int(heights[fits[0]]), int(widths[fits[0]])
    # place is in [0, 1), so every offset 0 .. height - box_h is equally likely.
    return Box(int(place_h * (height - box_h + 1)), int(place_w * (width - box_w + 1)), box_h, box_w)


def centre_box(height: int, width: int, *, side: int) -> Box:
    """Square of `side` px in the middle.

    Raises:
        DataError: the grid is smaller than the square.
    """
    if side > min(height, width):
        raise DataError(f"centre crop of {side} px does not fit into {height}x{width}; resize first")
    return Box((height - side) // 2, (width - side) // 2, side, side)


def resize_into(images: Sequence[NDArray[Any]], out: NDArray[Any]) -> None:
    """Bilinear resize of T images (h, w, C) into `out` (T, H, W, C), dtypes equal (uint8 or float32).

    OpenCV's INTER_LINEAR: half-pixel centres, no antialiasing, as the reference. Vector values are not
    rescaled (METHOD 1.4.4). Images may be views (crops); those of `out` must be contiguous.
    """
    height, width = out.shape[1:3]
    for image, target in zip(images, out, strict=True):
        if image.shape == target.shape:
            target[...] = image
        else:
            cv2.resize(image, (width, height), dst=target, interpolation=cv2.INTER_LINEAR)


def crops_into(images: Sequence[NDArray[Any]], out: NDArray[Any], *, short_side_px: int) -> None:
    """Resize T images (h, w, C) to a short side, aspect kept, and write V crops of each into `out` (V, T, H, H, C).

    One crop is the centre; three lie from end to end of the longer side.

    Raises:
        DataError: the crop is larger than the short side.
    """
    for place, image in enumerate(images):
        height, width = image.shape[:2]
        factor = short_side_px / min(height, width)
        scaled = (max(round(height * factor), short_side_px), max(round(width * factor), short_side_px))
        if (height, width) != scaled:
            image = cv2.resize(image, (scaled[1], scaled[0]), interpolation=cv2.INTER_LINEAR)
        for target, box in zip(out[:, place], _crops(*scaled, side=out.shape[2], count=len(out)), strict=True):
            target[...] = box.of(image)


def _crops(height: int, width: int, *, side: int, count: int) -> list[Box]:
    """The centre square, or `count` squares from one end of the longer side to the other."""
    centre = centre_box(height, width, side=side)
    if count == 1:
        return [centre]
    ends = np.rint(np.linspace(0, max(height, width) - side, count)).astype(int).tolist()
    along_width = width >= height
    return [Box(centre.top, end, side, side) if along_width else Box(end, centre.left, side, side) for end in ends]
