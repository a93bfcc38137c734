"""The work on one shard of segments: decode, optical flow, frames; runs in a worker process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.flow import compute_flow, resize_flow
from kernels.flow import num_fields as fields_of_frames
from mscl.config import DecodeLimits, FlowConfig
from mscl.errors import DataError
from mscl.sources.video import VideoError, decode
from storage.flow_store import FlowShardWriter
from storage.frame_store import FrameShardWriter, encode_jpeg

Frame = NDArray[np.uint8]
_PAIRS = 8  # per call of the flow kernel: enough to fill a GPU with larger frames, little memory


@dataclass(frozen=True)
class Segment:
    """A stretch of one video, as the manifest has it; sizes are those of the displayed picture."""

    path: Path
    first_frame: int
    num_frames: int
    height: int
    width: int
    size_bytes: int


@dataclass(frozen=True)
class ShardTask:
    """Everything a worker needs to compute and publish one shard."""

    shard: int
    segments: tuple[Segment, ...]
    flow: FlowConfig
    limits: DecodeLimits
    device: str
    folder: Path

    def __str__(self) -> str:
        return f"shard {self.shard}, {self.segments[0].path} to {self.segments[-1].path}"


@dataclass(frozen=True)
class ShardDone:
    """A published shard, ready for the commit log."""

    shard: int
    files: dict[str, str]
    """Path relative to the result's folder -> sha256."""
    info: dict[str, int | float]


def num_fields(num_frames: int, flow: FlowConfig) -> int:
    """M, the fields of a segment of N frames (METHOD 1.1)."""
    return fields_of_frames(num_frames, gap_frames=flow.gap_frames, span_frames=flow.span_frames)


def stored_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """(height, width) with that short side, aspect kept; never larger than given."""
    scale = min(1.0, short_side / min(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def extract_shard(task: ShardTask, tick: Callable[[int], None]) -> ShardDone:
    """Compute and publish the flow and the frames of one shard; `tick` counts fields.

    Raises:
        DataError: a video is no longer what ingest saw.
    """
    flow_writer = FlowShardWriter(task.folder / "flow.zarr", task.shard)
    frame_writer = FrameShardWriter(task.folder / "frames", task.shard)
    video: _Video | None = None
    for segment in task.segments:
        if video is None or not video.continues_with(segment):
            video = _Video(segment, task)
        jpegs: list[bytes] = []
        flow_writer.add(_fields(video.frames_of(segment), segment, task, jpegs, tick))
        frame_writer.add(jpegs)
    flow_shard, frame_shard = flow_writer.commit(), frame_writer.commit()
    return ShardDone(task.shard, {**flow_shard.files, **frame_shard.files}, dict(flow_shard.info))


def _fields(
    frames: Iterator[Frame], segment: Segment, task: ShardTask, jpegs: list[bytes], tick: Callable[[int], None]
) -> Iterator[NDArray[np.float32]]:
    """Fields F_j (h, w, 2) in px of the stored grid, in order; frame[gap * j] goes to `jpegs` beside each.

    Only the frames between the start and the end of a field are held.
    """
    flow = task.flow
    height, width = stored_size(segment.height, segment.width, flow.store_short_side)
    count = num_fields(segment.num_frames, flow)
    starts: dict[int, Frame] = {}
    firsts: list[Frame] = []
    seconds: list[Frame] = []

    def computed() -> Iterator[NDArray[np.float32]]:
        flow_BHW2 = compute_flow(
            np.stack(firsts), np.stack(seconds), method=flow.method, preset=flow.preset, backend=flow.backend or "auto",
            raft_weights=flow.raft_weights or None, raft_updates=flow.raft_updates,
            device=task.device,
        )  # fmt: skip
        yield from resize_flow(flow_BHW2, height, width)
        tick(len(firsts))
        firsts.clear()
        seconds.clear()

    for number, frame in enumerate(frames):
        seen = frame if flow.method.startswith("raft") else _grey(frame)
        if number % flow.gap_frames == 0 and number // flow.gap_frames < count:
            starts[number] = seen
            small = np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
            jpegs.append(encode_jpeg(small, quality=flow.jpeg_quality))
        first = number - flow.span_frames
        if first in starts:
            firsts.append(starts.pop(first))
            seconds.append(seen)
        if len(firsts) == _PAIRS:
            yield from computed()
    if firsts:
        yield from computed()


def _grey(frame: Frame) -> Frame:
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8)


class _Video:
    """One pass through a video, handed out segment by segment."""

    def __init__(self, segment: Segment, task: ShardTask) -> None:
        self._path = segment.path
        size = segment.path.stat().st_size if segment.path.exists() else 0
        if size != segment.size_bytes:
            raise DataError(
                f"{segment.path} has {size} bytes, and had {segment.size_bytes} when it was ingested; "
                "run ingest again (`mscl stage ingest`), or bring the old file back"
            )
        try:
            self._decoding = decode(segment.path, limits=task.limits, short_side=task.flow.compute_short_side)
        except VideoError as error:
            raise DataError(f"{segment.path} cannot be opened any more: {error}; run ingest again") from error
        self._frames = iter(self._decoding)
        self._position = 0

    def continues_with(self, segment: Segment) -> bool:
        """Whether the segment lies ahead in this pass."""
        return segment.path == self._path and segment.first_frame >= self._position

    def frames_of(self, segment: Segment) -> Iterator[Frame]:
        """The frames of the segment."""
        end = segment.first_frame + segment.num_frames
        while self._position < end:
            frame = next(self._frames, None)
            if frame is None:
                why = f" ({self._decoding.reason})" if self._decoding.reason else ""
                raise DataError(
                    f"{self._path} gives {self._position} frames{why}, and gave {end} when it was ingested; "
                    "run ingest again"
                )
            self._position += 1
            if self._position > segment.first_frame:
                yield frame
