"""Pages and pictures of single videos: what a search found, what a classifier says and why."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from mscl.display.blocks import Block, Chart, ContactSheet, Note, PageSection, Photo, SheetPicture
from mscl.display.pictures import Picture, clip_in_colour, heated, jpeg, rows_of_frames, thumbnail
from mscl.display.style import BLUE, GREY, canvas, to_svg
from mscl.errors import UserError
from mscl.report.page import write_page

if TYPE_CHECKING:
    from mscl.embedding.neighbours import Neighbour
    from mscl.extract.segment_pictures import SegmentPictures
    from mscl.finetune.predict import Explained, Prediction

_SHOWN = 8
_CLIP_PX = 112


@dataclass(frozen=True)
class Look:
    """A video, what the classifier says of it, and the clip to show where pictures were asked for."""

    prediction: "Prediction"
    explained: "Explained | None" = None


def search_page(
    out: Path,
    queries: Sequence[tuple[Path, Picture, Sequence["Neighbour"]]],
    pictures: "SegmentPictures",
    *,
    failed: Mapping[Path, str],
    about: str,
) -> Path:
    """Each query with its neighbours as thumbnails: middle frame above, flow below.

    Args:
        queries: video, its clip (T, H, W, 3), and what was found, the nearest first.
        pictures: of the indexed set.
        failed: videos that could not be read, with the reason.
    """
    blocks: list[Block] = []
    names = _names([*(video for video, *_ in queries), *failed])
    for video, clip_THW3, found in queries:
        cells = [SheetPicture(_query_thumbnail(clip_THW3), "the video", "query")]
        cells += [
            SheetPicture(
                pictures.thumb(one.row),
                f"{rank} · {one.similarity:.3f} · {pictures.class_name(one.row)} · {pictures.name(one.row)}",
            )
            for rank, one in enumerate(found, 1)
        ]
        blocks.append(ContactSheet(((names[video], tuple(cells)),)))
    blocks += [Note(f"{names[video]} could not be read: {reason}") for video, reason in failed.items()]
    lead = (
        "Blue: the video. Then its neighbours, the nearest first, with the cosine of the centred features. Each "
        "picture: middle frame above, its flow below, where hue is direction and saturation speed relative to the "
        "picture's fastest point, so that noise looks strong where nothing moves."
    )
    return write_page(out, [PageSection("found", "Neighbours", tuple(blocks), lead)], title="Search", about=about)


def prediction_page(out: Path, looks: Sequence[Look], *, about: str) -> Path:
    """Each video with its probabilities, and its clip under Grad-CAM and beside its flow where there is one."""
    sections = []
    names = _names([look.prediction.video for look in looks])
    for number, look in enumerate(looks):
        said = look.prediction
        if said.failed:
            blocks: list[Block] = [Note(f"Could not be read: {said.failed}")]
        else:
            chart = probability_bars(said.classes, said.probabilities)
            blocks = [Chart(chart, f"Probabilities of the first {len(said.classes)} classes")]
            if look.explained is not None:
                rows, caption = _rows(look.explained), _caption(look)
                blocks.append(Photo(jpeg(rows_of_frames(rows, height_px=_CLIP_PX)), caption))
        sections.append(PageSection(f"video{number}", names[said.video], tuple(blocks)))
    return write_page(out, sections, title="Predictions", about=about)


def _names(videos: Sequence[Path]) -> dict[Path, str]:
    """A video's file name; its path where folders hold others of that name."""
    count = Counter(video.name for video in dict.fromkeys(videos))
    return {video: video.name if count[video.name] == 1 else str(video) for video in videos}


def write_picture(out: Path, look: Look) -> Path:
    """Frames of the clip, Grad-CAM and flow one below the other, as a PNG; returns `out`.

    Raises:
        UserError: the file cannot be written.
    """
    if look.explained is None:
        raise ValueError(f"{look.prediction.video} was not explained")
    picture = rows_of_frames(_rows(look.explained), height_px=_CLIP_PX)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(cv2.imencode(".png", picture[..., ::-1])[1].tobytes())
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}; choose another folder") from error
    return out


def probability_bars(classes: Sequence[str], probabilities: Sequence[float]) -> str:
    """Horizontal bars, the most probable class on top."""
    with canvas(0.5 + 0.28 * len(classes)) as figure:
        axis = figure.subplots()
        colours = [BLUE, *[GREY] * (len(classes) - 1)]
        axis.barh(range(len(classes)), [100 * p for p in probabilities], height=0.62, color=colours, alpha=0.85)
        for place, probability in enumerate(probabilities):
            text = f"{100 * probability:.1f}"
            end = (100 * probability, place)
            axis.annotate(text, end, (4, 0), textcoords="offset points", va="center", fontsize=8.5)
        axis.set_yticks(range(len(classes)), list(classes))
        axis.set_ylim(len(classes) - 0.45, -0.55)
        axis.set_xlim(0, 108)
        axis.set_xticks(range(0, 101, 20))
        axis.set_xlabel("%")
        axis.grid(axis="y", visible=False)
        axis.tick_params(axis="y", length=0)
        return to_svg(figure)


def _rows(explained: "Explained") -> list[Picture]:
    frames = explained.clip_THW3
    rows = [frames]
    if explained.heat_THW is not None:
        rows.append(heated(frames, explained.heat_THW))
    if explained.flow_THW2 is not None:
        rows.append(clip_in_colour(explained.flow_THW2))
    shown = np.linspace(0, len(frames) - 1, min(_SHOWN, len(frames))).astype(int)
    return [row[shown] for row in rows]


def _caption(look: Look) -> str:
    explained = look.explained
    assert explained is not None
    lines = [f"Frames of the middle clip, called {look.prediction.classes[0]}"]
    if explained.heat_THW is not None:
        lines.append("Grad-CAM: where the evidence for that class lies")
    if explained.flow_THW2 is not None:
        fastest_px = float(np.hypot(*np.moveaxis(explained.flow_THW2, -1, 0)).max(initial=0.0))
        lines.append(
            "flow from each frame: hue is direction, saturation speed relative to the fastest point of the clip, "
            f"{fastest_px:.1f} px"
        )
    return "; ".join(lines)


def _query_thumbnail(clip_THW3: Picture) -> bytes:
    from kernels.flow import compute_flow

    middle = len(clip_THW3) // 2
    pair = clip_THW3[[middle - 1, middle]] if len(clip_THW3) > 1 else clip_THW3[[0, 0]]
    flow_HW2 = compute_flow(pair[:1], pair[1:], method="dis")[0]
    return thumbnail(pair[0], flow_HW2, mark="query")
