"""Clips that move on a page: a strip of frames with their flow underneath, which CSS shows frame by frame.

A strip is one JPEG, which every browser shows. Unlike animated pictures it stops under the pointer, in keyboard focus,
and for readers who asked for less motion.
"""

from mscl.display.blocks import Film
from mscl.display.pictures import GAP_PX, Flow, Picture, clip_in_colour, jpeg, rows_of_frames

MAX_BYTES = 60_000
"""Of a strip; a page of a dozen stays under a megabyte."""
_WIDEST_PX = 150


def film(
    frames_THW3: Picture, flow_THW2: Flow, *, seconds: float, caption: str, radius_px: float | None = None
) -> Film:
    """A clip that lasts `seconds`; where it would be too large, in worse quality and smaller.

    Args:
        radius_px: vectors of this length have full colour; None: the longest of the clip.
    """
    rows = [frames_THW3, clip_in_colour(flow_THW2, radius_px=radius_px)]
    height, width = frames_THW3.shape[1:3]
    for height_px, quality in ((84, 75), (84, 50), (60, 50), (40, 40), (24, 20)):
        fitting_px = max(1, min(height_px, round(_WIDEST_PX * height / width)))
        picture = rows_of_frames(rows, height_px=fitting_px)
        strip = jpeg(picture, quality=quality)
        if len(strip) <= MAX_BYTES:
            break
    step_px = (picture.shape[1] + GAP_PX) // len(frames_THW3)
    middle = len(frames_THW3) // 2
    return Film(
        strip_jpeg=strip,
        still_jpeg=jpeg(rows_of_frames([row[middle : middle + 1] for row in rows], height_px=fitting_px)),
        num_frames=len(frames_THW3),
        width_px=step_px - GAP_PX,
        step_px=step_px,
        seconds=seconds,
        caption=caption,
    )
