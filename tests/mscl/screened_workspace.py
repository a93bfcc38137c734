"""A workspace as `mscl run PRESET --until screen` leaves it; the pixels of its small segments say what they are of."""

from pathlib import Path

import numpy as np

from mscl.extract.config import FlowConfig
from mscl.video.config import ClipConfig
from storage.layout import Ingested, Measured, Screened
from storage.manifest import SegmentRow, write_manifest
from storage.motion_store import MotionStats, MotionWriter
from storage.screen_table import ScreenRow, write_screen
from storage.workspace import Workspace
from tests.mscl.marked_stores import HEIGHT, WIDTH, marked_field, marked_frame, write_stores

CLIP = ClipConfig(length=4, stride=2)
CLASSES = ("pan", "run")
NUM_FIELDS = (12, 9, 8, 7)
HOSTILE = "run/<img src=x>.a b.mp4"
"""Markup, blanks and points in a file's name."""
ROWS = (("pan/a.mp4", 0, "train"), ("pan/a.mp4", 32, "train"), (HOSTILE, 0, "test"), ("run/still.mp4", 0, "test"))
"""(video, first frame, split); a stored index is two frames, and a field spans eight."""


def clip_scores(segment: int) -> np.ndarray:
    """Of every start from which a clip of four fits."""
    return np.arange(NUM_FIELDS[segment] - CLIP.span + 1, dtype=np.float32) + segment


def chosen(segment: int) -> tuple[int, ...]:
    """Every second start; none of the last segment, which the screen dropped."""
    return tuple(range(1, len(clip_scores(segment)), 2)) if segment < 3 else ()


def screened_workspace(folder: Path) -> Workspace:
    """Results of ingest, extract, motion and screen."""
    place = Workspace(folder)
    with place.claim("ingest", "1" * 16) as folder:
        segments = [
            SegmentRow(
                segment_id=f"{video}#{first // 32}", video=video, class_name=video[:3],
                label=CLASSES.index(video[:3]), split=split, num_frames=2 * count + 8, first_frame=first, fps=25.0,
                height=HEIGHT, width=WIDTH, size_bytes=1, digest="0" * 64,
            )
            for (video, first, split), count in zip(ROWS, NUM_FIELDS, strict=True)
        ]  # fmt: skip
        write_manifest(Ingested(folder).manifest_path, segments, classes=CLASSES)
        _commit(place, "ingest", "1", {"data": {"max_segment_seconds": 10.0}}, {})
    flow = FlowConfig(method="dis")
    with place.claim("extract", "2" * 16) as folder:
        write_stores(
            folder,
            [[marked_field(index) for index in range(count)] for count in NUM_FIELDS],
            [[marked_frame(segment, index) for index in range(count)] for segment, count in enumerate(NUM_FIELDS)],
        )
        _commit(place, "extract", "2", {"flow": flow.model_dump(mode="json")}, {"ingest": "1" * 16})
    with place.claim("motion", "3" * 16) as folder:
        writer = MotionWriter(Measured(folder).motion, segments=4, max_fields=max(NUM_FIELDS))
        ramps = [np.linspace(segment + 1, segment + 3, count) for segment, count in enumerate(NUM_FIELDS)]
        stats = [[(share * ramp).astype(np.float32) for share in (1, 1, 2, 0.1, 0.5, 0.25)] for ramp in ramps]
        writer.write(0, [MotionStats(*values) for values in stats])
        writer.finalise()
        _commit(place, "motion", "3", {}, {"ingest": "1" * 16, "extract": "2" * 16})
    with place.claim("screen", "4" * 16) as folder:
        rows = [
            ScreenRow(
                segment=segment, verdict="chosen" if chosen(segment) else "no_motion", chosen=chosen(segment),
                num_candidates=len(clip_scores(segment)), scores=tuple(clip_scores(segment).tolist()),
            )
            for segment in range(4)
        ]  # fmt: skip
        write_screen(Screened(folder).table, rows)
        inputs = {"ingest": "1" * 16, "extract": "2" * 16, "motion": "3" * 16}
        _commit(place, "screen", "4", {"clip": CLIP.model_dump(), "screen": {}}, inputs)
    return place


def _commit(place: Workspace, stage: str, digit: str, config: dict[str, object], inputs: dict[str, str]) -> None:
    place.commit(stage, digit * 16, version=3, config=config, inputs=inputs, metrics={}, timings={})
