"""The work on one shard of segments: decode, optical flow, frames; runs in a worker process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.errors import KernelInputError
from kernels.fields import num_fields as fields_of_frames
from mscl.errors import DataError
from mscl.extract.config import FlowConfig
from mscl.extract.denseflow import FlowPictures, find_flow_pictures
from mscl.extract.earlier_flow import EarlierSegment, read_earlier
from mscl.extract.pair_flow import OwnFlow, PairSize, flow_of_process
from mscl.extract.video_pass import Frame, Segment, passes
from mscl.stage.worker_pool import worker_device
from mscl.video.config import DecodeLimits
from mscl.video.stored_size import shrunk, stored_size
from storage.flow_store import FlowShardWriter, FlowSpec, StoredSegment, read_spec
from storage.frame_store import FrameShardWriter, encode_jpeg
from storage.layout import Extracted


@dataclass(frozen=True)
class ShardTask:
    """Everything a worker needs to compute and publish one shard."""

    shard: int
    segments: tuple[Segment, ...]
    flow: FlowConfig
    limits: DecodeLimits
    folder: Path
    flow_processes: Mapping[str, str] = field(default_factory=dict)
    """Device -> address of the process that computes the flow of all workers there; without, each computes its own."""
    earlier: Mapping[int, EarlierSegment] = field(default_factory=dict)
    """Place in `segments` -> where another extract has that one."""

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


def extract_shard(task: ShardTask, tick: Callable[[int], None]) -> ShardDone:
    """Compute and publish the flow and the frames of one shard on `worker_device`; `tick` counts fields.

    Raises:
        DataError: a video is no longer what ingest saw.
        CardError, CardMemoryError: the GPU failed, or its memory does not suffice.
    """
    if worker_device() == "cpu" or worker_device() in task.flow_processes:
        return _extract_shard(task, tick)
    import torch

    from mscl.training.card_errors import card_errors

    advice = "lower runtime.workers, or flow.compute_short_side"
    # Triton launches on the current device, whatever device its tensors are on.
    with card_errors(worker_device(), advice=advice), torch.cuda.device(worker_device()):
        return _extract_shard(task, tick)


def _extract_shard(task: ShardTask, tick: Callable[[int], None]) -> ShardDone:
    result = Extracted(task.folder)
    flow_writer = FlowShardWriter(result.flow, task.shard)
    frame_writer = FrameShardWriter(result.frames, task.shard)
    fields = _imported if task.flow.method == "denseflow" else _computed
    copied = _copied(task, read_spec(result.flow))
    rest = [segment for place, segment in enumerate(task.segments) if place not in copied]
    decoded = passes(rest, limits=task.limits, short_side_px=task.flow.compute_short_side)
    for place in range(len(task.segments)):
        if place in copied:
            stored, frames_of_it = copied[place]
            flow_writer.add(stored)
            frame_writer.add(frames_of_it)
            tick(len(stored.chunks))
            continue
        segment, frames = next(decoded)
        jpegs: list[bytes] = []
        flow_writer.add(fields(frames, segment, task, jpegs, tick))
        frame_writer.add(jpegs)
    flow_shard, frame_shard = flow_writer.commit(), frame_writer.commit()
    return ShardDone(task.shard, {**flow_shard.files, **frame_shard.files}, dict(flow_shard.info))


def _copied(task: ShardTask, spec: FlowSpec) -> dict[int, tuple[StoredSegment, list[bytes]]]:
    """Place in the shard -> flow and frames, of segments that another extract has whole."""
    found = {
        place: read_earlier(earlier, num_fields(task.segments[place].num_frames, task.flow), to=spec)
        for place, earlier in task.earlier.items()
    }
    return {place: one for place, one in found.items() if one is not None}


def _computed(
    frames: Iterator[Frame], segment: Segment, task: ShardTask, jpegs: list[bytes], tick: Callable[[int], None]
) -> Iterator[NDArray[np.float32]]:
    """Fields F_j (h, w, 2) in px of the stored grid, in order; frame[gap * j] goes to `jpegs` beside each.

    Only the frames between the start and the end of a field are held.
    """
    flow, device = task.flow, worker_device()
    address = task.flow_processes.get(device)
    source = flow_of_process(address, device, flow) if address else OwnFlow(flow, device)
    height, width = stored_size(segment.height, segment.width, flow.store_short_side)
    count = num_fields(segment.num_frames, flow)
    starts: dict[int, Frame] = {}
    firsts: list[Frame] = []
    seconds: list[Frame] = []
    asked: deque[int] = deque()

    def ask() -> None:
        source.ask(firsts, seconds, PairSize.of(firsts[0], height, width))
        asked.append(len(firsts))
        firsts.clear()
        seconds.clear()

    def answers(left: int) -> Iterator[NDArray[np.float32]]:
        while len(asked) > left:
            try:
                yield from source.answer()
            except KernelInputError as error:
                raise DataError(f"flow of {segment.path}: {error}") from error
            tick(asked.popleft())

    for number, frame in enumerate(frames):
        first = number - flow.span_frames
        begins = number % flow.gap_frames == 0 and number // flow.gap_frames < count
        if not begins and first not in starts:
            continue
        seen = _grey(frame) if flow.method in ("tvl1", "dis", "farneback") else frame
        if begins:
            starts[number] = seen
            jpegs.append(_jpeg(frame, height, width, flow))
        if first in starts:
            firsts.append(starts.pop(first))
            seconds.append(seen)
        if firsts and len(firsts) == source.pairs(PairSize.of(firsts[0], height, width)):
            ask()
            yield from answers(left=1)
    if firsts:
        ask()
    yield from answers(left=0)


def _imported(
    frames: Iterator[Frame], segment: Segment, task: ShardTask, jpegs: list[bytes], tick: Callable[[int], None]
) -> Iterator[NDArray[np.float32]]:
    """As `_computed`, the fields read from flow pictures: the one of frame i is field i of the folder.

    Raises:
        DataError: pictures of another step, of another video, or of none of this segment's frames.
    """
    from kernels.flow import resize_flow

    flow = task.flow
    height, width = stored_size(segment.height, segment.width, flow.store_short_side)
    pictures = find_flow_pictures(Path(flow.pictures), segment.video, bound_px=flow.pictures_bound_px)
    check_flow_pictures(pictures, segment, flow)
    # A tool may have seen a few frames less than we do: then the last fields are not there.
    count = min(
        num_fields(segment.num_frames, flow), -(-max(0, len(pictures) - segment.first_frame) // flow.gap_frames)
    )
    if not count:
        raise DataError(
            f"{pictures.folder} holds {len(pictures)} fields, none of which belongs to frames {segment.first_frame} to "
            f"{segment.first_frame + segment.num_frames - 1} of {segment.path}; compute the flow of the whole video"
        )
    for number, frame in enumerate(frames):
        if number % flow.gap_frames == 0 and number // flow.gap_frames < count:
            jpegs.append(_jpeg(frame, height, width, flow))
            field_HW2 = pictures.field(segment.first_frame + number)
            tick(1)
            yield resize_flow(field_HW2[None], height, width)[0]


def check_flow_pictures(pictures: FlowPictures, segment: Segment, flow: FlowConfig) -> None:
    """Refuse pictures that cannot be the flow of this video over `flow.span_frames` frames.

    N frames have N - step fields. Tools differ by a few frames in N, so the count tells steps apart only roughly.

    Raises:
        DataError: both numbers, and what to set.
    """
    step = pictures.step_frames or segment.video_frames - len(pictures)
    slack = 0 if pictures.step_frames else 3 if flow.span_frames == 1 else min(3, (flow.span_frames - 1) // 2)
    if abs(step - flow.span_frames) > slack:
        raise DataError(
            f"{pictures.folder} holds {len(pictures)} fields of {segment.video_frames} frames, so each spans "
            f"{max(step, 1)}, and flow.span_frames is {flow.span_frames}; set flow.span_frames={max(step, 1)}"
        )
    lost = segment.video_frames - flow.span_frames - len(pictures)
    if pictures.first_number > 1 and lost > 0:
        raise DataError(
            f"{pictures.folder} begins with picture {pictures.first_number} and holds {lost} fewer than "
            f"{segment.video_frames} frames give, so the first are missing, and which frame a picture is of cannot "
            "be told; compute the flow of this video again"
        )
    height, width, _ = pictures.field(0).shape
    if (height - width) * (segment.height - segment.width) < 0 and max(height, width) > 1.2 * min(height, width):
        raise DataError(
            f"{pictures.folder} has pictures of {width}x{height} px, and {segment.path} is upright at "
            f"{segment.width}x{segment.height}: its flow was computed without turning it; compute it again"
        )


def _jpeg(frame: Frame, height: int, width: int, flow: FlowConfig) -> bytes:
    return encode_jpeg(shrunk(frame, height, width), quality=flow.jpeg_quality)


def _grey(frame: Frame) -> Frame:
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8)
