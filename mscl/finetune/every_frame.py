"""Every frame of every video, where the frame store keeps every `gap_frames`-th and not the last `span_frames` (D27).

A protocol that spreads a clip over the whole video at the video's own frame rate needs them all. Each video is decoded
once, into a frame store that lies in the result while it is being trained on: decoding a video anew for every clip
takes several times as long as reading from that store (docs/protocols.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mscl.extract.video_pass import Frame, Segment, passes, segments_of
from mscl.ingest.places import videos_root
from mscl.stage.contract import StageRun
from mscl.video.config import DecodeLimits
from mscl.video.frame_recipe import FrameRecipe
from mscl.video.stored_size import shrunk, stored_size
from storage.atomic import remove_staged
from storage.frame_store import FrameShardWriter, FrameSpec, create_frame_store, encode_jpeg, frame_shard_key
from storage.layout import Extracted, Ingested

FOLDER = ".every_frame"
"""Hidden: work to resume from, not part of the result."""
_SEGMENTS_PER_SHARD = 16


@dataclass(frozen=True)
class FramesTask:
    """One shard of segments, all of whose frames are stored."""

    shard: int
    segments: tuple[Segment, ...]
    recipe: FrameRecipe
    limits: DecodeLimits
    frames: Path

    def __str__(self) -> str:
        return f"shard {self.shard}, {self.segments[0].path} to {self.segments[-1].path}"


def every_frame_recipe(stored: FrameRecipe, short_side_px: int) -> FrameRecipe:
    """How the frames of this store come out of a video: all of them, at one short side."""
    every = {"gap_frames": 1, "span_frames": 0, "computed_px": short_side_px, "stored_px": short_side_px}
    return stored.model_copy(update=every)


def store_every_frame(run: StageRun, recipe: FrameRecipe) -> Path:
    """A folder that has, as an extraction has, the frames of the usable segments, row by row; goes on after a kill.

    Raises:
        DataError: a video is no longer what ingest saw.
    """
    segments = segments_of(Ingested(run.input("ingest")).manifest(), videos_root(run.config, run.inputs["ingest"]))
    folder = run.folder / FOLDER
    frames = Extracted(folder).frames
    most = max(segment.num_frames for segment in segments)
    create_frame_store(frames, FrameSpec(len(segments), most, _SEGMENTS_PER_SHARD))
    remove_staged(folder)
    tasks = [
        FramesTask(shard, tuple(segments[first : first + _SEGMENTS_PER_SHARD]), recipe, run.config.data.limits, frames)
        for shard, first in enumerate(range(0, len(segments), _SEGMENTS_PER_SHARD))
    ]
    todo = [task for task in tasks if not (frames / frame_shard_key(task.shard)).is_file()]
    run.progress.start("Frames of whole videos", sum(s.num_frames for task in todo for s in task.segments), "frames")
    for _ in run.over_workers(write_frames, todo):
        pass
    run.progress.done()
    return folder


def write_frames(task: FramesTask, tick: Callable[[int], None]) -> int:
    """Publish one shard; `tick` counts frames. Returns the shard's number."""
    writer = FrameShardWriter(task.frames, task.shard)

    def jpegs(segment: Segment, frames: Iterator[Frame]) -> Iterator[bytes]:
        size = stored_size(segment.height, segment.width, task.recipe.stored_px)
        for frame in frames:
            yield encode_jpeg(shrunk(frame, *size), quality=task.recipe.jpeg_quality)
            tick(1)

    for segment, of_segment in passes(task.segments, limits=task.limits, short_side_px=task.recipe.stored_px):
        writer.add(jpegs(segment, of_segment))
    writer.commit()
    return task.shard
