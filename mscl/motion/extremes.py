"""The segments at the ends of the scale, as clips that move: the slowest, the fastest, the most camera-driven."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from mscl.array_types import Doubles
from mscl.display.blocks import Block, Film, FilmSheet
from mscl.display.films import film
from mscl.extract.segment_pictures import SegmentPictures

if TYPE_CHECKING:
    from storage.motion_store import MotionReader

_SEGMENTS_SHOWN = 4
"""In each row."""
_FRAMES = 12
_SECONDS = 2.0
_USUAL_FPS = 25.0


def extremes(pictures: SegmentPictures, store: "MotionReader", scores: Mapping[str, Doubles]) -> list[Block]:
    """A few segments of different videos in each row, around the field that puts them there."""
    camera_S, rest_S = scores["camera_px"], scores["object_px"]
    by_camera_S = np.where(camera_S > rest_S, rest_S - camera_S, np.nan)  # under a camera at rest: none
    orders = (
        ("The slowest", scores["mean_px"], None),
        ("The fastest", -scores["mean_px"], store.magnitude_mean),
        ("Most moved by the camera", by_camera_S, store.camera_mean),
    )
    # One scale of colours for all: else noise of a still clip looks like the motion of a fast one.
    known = scores["peak_px"][np.isfinite(scores["peak_px"])]
    radius_px = max(float(np.median(known)) if len(known) else 0.0, 0.1)
    rows = []
    for title, order_S, of_field in orders:
        films = []
        for segment in _first_of_videos(pictures, order_S, _SEGMENTS_SHOWN):
            where = pictures.num_indices(segment) // 2 if of_field is None else int(np.argmax(of_field(segment)))
            films.append(_film(pictures, segment, where, scores, radius_px))
        if films:
            rows.append((title, tuple(films)))
    caption = (
        "Clips with their flow; the pointer, or the keyboard's focus, stops them. Numbers are mean motion in px over "
        f"one field: all, the camera's, and the rest. Full colour is {radius_px:.2g} px, faster is darker"
    )
    if np.isfinite(camera_S).any() and not np.isfinite(by_camera_S).any():
        caption += ". The camera moves more than the rest in none of the segments"
    return [FilmSheet(tuple(rows), caption)] if rows else []


def _first_of_videos(pictures: SegmentPictures, order_S: Doubles, count: int) -> list[int]:
    videos = pictures.manifest.column("video")
    taken: dict[str, int] = {}
    for segment in np.argsort(order_S, kind="stable").tolist():  # what is not known comes last
        if len(taken) == count or not np.isfinite(order_S[segment]):
            break
        taken.setdefault(str(videos[segment]), segment)
    return list(taken.values())


def _film(pictures: SegmentPictures, segment: int, where: int, scores: Mapping[str, Doubles], radius_px: float) -> Film:
    seconds_per_index = pictures.gap_frames / (float(pictures.manifest.row(segment).fps) or _USUAL_FPS)
    there = pictures.num_indices(segment)
    step = max(1, min(round(_SECONDS / _FRAMES / seconds_per_index), there // _FRAMES))
    count = min(_FRAMES, -(-there // step))
    begin = min(max(where - step * (count // 2), 0), max(there - 1 - step * (count - 1), 0))
    frames, flow = pictures.strip(segment, [begin + step * place for place in range(count)])
    numbers = [f"{scores['mean_px'][segment]:.2g} px"]
    if np.isfinite(scores["camera_px"][segment]):
        numbers.append(f"camera {scores['camera_px'][segment]:.2g}, rest {scores['object_px'][segment]:.2g}")
    caption = " · ".join([*numbers, pictures.class_name(segment), pictures.name(segment)])
    return film(frames, flow, seconds=count * step * seconds_per_index, caption=caption, radius_px=radius_px)
