"""Frames and flow as small JPEGs: strips, thumbnails, frames of right and wrong."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from mscl.display.blocks import Mark
from mscl.display.style import BLUE, GREEN, GREY, RED

Picture = npt.NDArray[np.uint8]
Flow = npt.NDArray[np.float32]

_MARKS: dict[Mark, str] = {"right": GREEN, "wrong": RED, "query": BLUE}
_FRAME_PX = 4
_LEGEND_PX = 168
GAP_PX = 2
"""Grey lines between pictures: fields without motion are white, and would run into each other and into the page."""


def flow_strip(frames_THW3: Picture, flow_THW2: Flow, *, height_px: int = 96) -> bytes:
    """Frames in a row, the flow from each of them in colour underneath, one scale for all; one JPEG."""
    return jpeg(rows_of_frames([frames_THW3, clip_in_colour(flow_THW2)], height_px=height_px))


def heat_strip(frames_THW3: Picture, heat_THW: npt.NDArray[np.float32]) -> bytes:
    """Frames in a row, and underneath the same frames under a heat map of 0..1 (Grad-CAM); one JPEG."""
    return jpeg(rows_of_frames([frames_THW3, heated(frames_THW3, heat_THW)]))


def rows_of_frames(rows: Sequence[Picture], *, height_px: int = 96) -> Picture:
    """Rows of frames (T, H, W, 3), one below the other, each in a cell of the first row's size, as one picture."""
    height, width = rows[0].shape[1:3]
    width_px = max(1, round(width * height_px / height))
    cells = [[_resized(frame, height_px, width_px) for frame in row] for row in rows]
    columns = max(len(row) for row in rows)
    across, down = width_px + GAP_PX, height_px + GAP_PX
    picture = np.empty((down * len(rows) - GAP_PX, across * columns - GAP_PX, 3), np.uint8)
    picture[:] = _rgb(GREY)
    for y, row in enumerate(cells):
        for x, cell in enumerate(row):
            picture[down * y : down * y + height_px, across * x : across * x + width_px] = cell
    return picture


def heated(frames_THW3: Picture, heat_THW: npt.NDArray[np.float32]) -> Picture:
    """Frames under a heat map of 0..1: cold places stay as they are, hot ones take the map's colour."""
    warm = [
        cv2.applyColorMap((255 * np.clip(heat, 0, 1)).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
        for heat in heat_THW
    ]
    share_THW1 = 0.75 * np.clip(heat_THW, 0, 1)[..., None]
    return np.asarray((frames_THW3 * (1 - share_THW1) + np.stack(warm) * share_THW1).astype(np.uint8))


def thumbnail(frame_HW3: Picture, flow_HW2: Flow | None = None, *, height_px: int = 84, mark: Mark = "") -> bytes:
    """A frame, its flow in colour underneath where given, and a coloured frame around both where marked."""
    rows = [frame_HW3[None], *([] if flow_HW2 is None else [colour_coded(flow_HW2)[None]])]
    picture = rows_of_frames(rows, height_px=height_px)
    if mark:
        height, width = picture.shape[:2]
        framed = np.empty((height + 2 * _FRAME_PX, width + 2 * _FRAME_PX, 3), np.uint8)
        framed[:] = _rgb(_MARKS[mark])
        framed[_FRAME_PX:-_FRAME_PX, _FRAME_PX:-_FRAME_PX] = picture
        picture = framed
    return jpeg(picture)


def flow_legend() -> bytes:
    """What the colours of flow mean: each direction from the middle in its colour, stronger further out; a JPEG."""
    across = np.linspace(-1, 1, _LEGEND_PX, dtype=np.float32)
    flow_HW2 = np.stack(np.meshgrid(across, across), axis=-1)
    flow_HW2[np.hypot(flow_HW2[..., 0], flow_HW2[..., 1]) > 1] = 0  # outside the disc: white
    return jpeg(colour_coded(flow_HW2))


def colour_coded(flow_HW2: Flow) -> Picture:
    """Flow scaled by its own largest radius, in the colours of the Middlebury wheel (METHOD 1.4.6)."""
    from kernels.colour import flow_to_rgb  # brings PyTorch, which a command that draws nothing need not wait for

    radius_px = float(np.sqrt((flow_HW2.astype(np.float64) ** 2).sum(axis=-1)).max(initial=0.0))
    return np.asarray(flow_to_rgb((flow_HW2 / (radius_px + 1e-5)).astype(np.float32)), dtype=np.uint8)


def clip_in_colour(flow_THW2: Flow, *, radius_px: float | None = None) -> Picture:
    """Flow in colour (T, H, W, 3), scaled by the largest radius of the clip: a field where nothing moves is white.

    Args:
        radius_px: what to scale by instead; longer vectors are darker.
    """
    import torch

    from kernels.colour import flow_to_rgb_unit

    if radius_px is None:
        radius_px = float(np.hypot(flow_THW2[..., 0], flow_THW2[..., 1]).max(initial=0.0))
    unit_T2HW = torch.from_numpy(np.asarray(flow_THW2 / (radius_px + 1e-5), np.float32)).permute(0, 3, 1, 2)
    return np.asarray((255 * flow_to_rgb_unit(unit_T2HW)).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())


def jpeg(picture_HW3: Picture, *, quality: int = 80) -> bytes:
    """RGB picture as JPEG."""
    done, buffer = cv2.imencode(
        ".jpg", cv2.cvtColor(picture_HW3, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not done:
        raise ValueError(f"a picture of shape {picture_HW3.shape} cannot be written as JPEG")
    return buffer.tobytes()


def _resized(picture_HW3: Picture, height_px: int, width_px: int) -> Picture:
    how = cv2.INTER_AREA if height_px < picture_HW3.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture_HW3, (width_px, height_px), interpolation=how), dtype=np.uint8)


def _rgb(colour: str) -> list[int]:
    """`#rrggbb` as numbers."""
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
