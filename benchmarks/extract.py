"""Where the CPU time of extraction goes: decoding, flow, and all the rest, which should be under a tenth.

    python -m benchmarks.extract [--videos DIR] [--count 12] [--method dis]

Runs what a worker runs (`extract_shard`: decode, flow at short side 256, resize to 128, JPEG, quantise, compress, hash,
sync) on videos spread over DIR and clocks its parts in CPU time of this process, one thread. DIS is the fastest flow
that we have, so the rest weighs most beside it; `--method tvl1` is the default flow. Then the same shard again, copied
from what was computed, as after videos were added. Without DIR, moving noise of 340x256 px is drawn. Frames of
320x240 px cost more to bring to 171x128 than those of 340x256, whose sides halve.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import torch

import kernels.flow
from benchmarks.loader import draw_videos
from mscl.config import DecodeLimits, FlowConfig
from mscl.extract import shard as stage
from mscl.extract import video_pass
from mscl.extract.earlier_flow import EarlierSegment
from mscl.extract.video_pass import Segment
from mscl.video.decoding import decode
from mscl.video.stored_size import stored_size
from mscl.video.video_info import inspect_video
from storage.flow_store import FlowShardWriter, FlowSpec, create_flow_store
from storage.flow_store import writer as flow_writer
from storage.flow_store.codec import FieldEncoder
from storage.frame_store import FrameShardWriter, FrameSpec, create_frame_store

SUFFIXES = {".avi", ".mp4", ".mkv", ".webm"}
TARGET = 0.10
Clocks = dict[str, float]


def clocked(name: str, work: Callable[..., Any], clocks: Clocks) -> Callable[..., Any]:
    """`work`, its CPU seconds added to `clocks[name]`."""

    def run(*args: Any, **kwargs: Any) -> Any:
        begun = time.process_time()
        try:
            return work(*args, **kwargs)
        finally:
            clocks[name] += time.process_time() - begun

    return run


def clocked_frames(decode: Callable[..., Any], clocks: Clocks) -> Callable[..., Iterator[Any]]:
    """`decode` as an iterator that clocks opening and every frame."""

    def run(*args: Any, **kwargs: Any) -> Iterator[Any]:
        frames = iter(clocked("decode", decode, clocks)(*args, **kwargs))
        following = clocked("decode", lambda: next(frames, None), clocks)
        while (frame := following()) is not None:
            yield frame

    return run


def task_of(videos: list[Path], flow: FlowConfig, folder: Path) -> stage.ShardTask:
    """One shard of all `videos`, and the empty stores that it goes to."""
    limits = DecodeLimits()
    infos = [inspect_video(path, limits=limits) for path in videos]
    segments = tuple(
        Segment(path, 0, info.num_frames, info.height, info.width, info.size_bytes)
        for path, info in zip(videos, infos, strict=True)
        if info.verdict == "ok" and stage.num_fields(info.num_frames, flow) > 0
    )
    count, fields = len(segments), max(stage.num_fields(segment.num_frames, flow) for segment in segments)
    sizes = [stored_size(segment.height, segment.width, flow.store_short_side) for segment in segments]
    height, width = (max(size[axis] for size in sizes) for axis in (0, 1))
    create_flow_store(folder / "flow.zarr", FlowSpec(count, fields, height, width, count, coding=flow.coding))
    create_frame_store(folder / "frames", FrameSpec(count, fields, segments_per_shard=count))
    return stage.ShardTask(0, segments, flow, limits, folder)


def measure(task: stage.ShardTask) -> tuple[Clocks, int]:
    """CPU seconds by part of extracting the shard, `all` of them together, and the number of fields."""
    clocks: Clocks = defaultdict(float)
    fields: list[int] = []
    # Names are looked up when called, so replacing them where they are used clocks the real path.
    parts: list[tuple[Any, str, str]] = [
        (kernels.flow, "compute_flow", "flow"),
        (kernels.flow, "resize_flow", "flow to the stored grid"),
        (stage, "_jpeg", "frames: resize, JPEG"),
        (flow_writer, "quantise", "quantise, measure"),
        (FieldEncoder, "__call__", "compress"),
        (FlowShardWriter, "commit", "write, hash, sync"),
        (FrameShardWriter, "commit", "write, hash, sync"),
    ]
    with ExitStack() as stack:
        stack.enter_context(patch.object(video_pass, "decode", clocked_frames(decode, clocks)))
        for owner, name, title in parts:
            stack.enter_context(patch.object(owner, name, _method(clocked(title, getattr(owner, name), clocks))))
        begun = time.process_time()
        stage.extract_shard(task, fields.append)
        clocks["all"] = time.process_time() - begun
    return clocks, sum(fields)


def copied_ms(task: stage.ShardTask, earlier: Path, fields: int) -> float:
    """CPU time a field of writing the shard from the stores in `earlier`, which hold all of it."""
    places = {place: EarlierSegment(earlier, place) for place in range(len(task.segments))}
    begun = time.process_time()
    stage.extract_shard(replace(task, earlier=places), lambda _: None)
    return (time.process_time() - begun) / fields * 1e3


def _method(work: Callable[..., Any]) -> Callable[..., Any]:
    """A plain function, which binds `self` where it replaces a method."""
    return lambda *args, **kwargs: work(*args, **kwargs)


def report(clocks: Clocks, fields: int, title: str) -> float:
    """Print the parts; the share of all but decoding and flow."""
    whole = clocks.pop("all")
    core = clocks.pop("decode"), clocks.pop("flow")
    overhead = whole - sum(core)
    print(f"\n{title}: {fields} fields, {whole / fields * 1e3:.2f} ms CPU a field")

    def line(name: str, seconds: float) -> str:
        return f"  {name:<26} {seconds / fields * 1e3:7.3f} ms a field {seconds / whole:7.1%}"

    print(line("decode", core[0]), line("flow", core[1]), sep="\n")
    print(line("the rest", overhead), f"  (target < {TARGET:.0%})")
    clocks["loop, checks, grey"] = overhead - sum(clocks.values())
    for name, seconds in sorted(clocks.items(), key=lambda item: -item[1]):
        print(line(f"  {name}", seconds))
    return overhead / whole


def main() -> None:
    """Measure and print; see the module's docstring."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data" / "videos" / "ucf101"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", default=str(default) if default.is_dir() else "")
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--method", default="dis", help="dis, tvl1, farneback")
    options = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    flow = FlowConfig(method=options.method)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        settings = {"drawn at 340x256": draw_videos(folder, options.count, width=340, height=256)}
        if options.videos:
            found = sorted(path for path in Path(options.videos).rglob("*") if path.suffix.lower() in SUFFIXES)
            settings[options.videos] = found[:: max(1, len(found) // options.count)][: options.count]
        for number, (title, videos) in enumerate(settings.items()):
            task = task_of(videos, flow, folder / str(number))
            clocks, fields = measure(task)
            computed_ms = clocks["all"] / fields * 1e3
            report(clocks, fields, f"{options.method}, {title}")
            copy_ms = copied_ms(task_of(videos, flow, folder / f"{number}-copy"), task.folder, fields)
            print(f"  copied instead: {copy_ms:.3f} ms a field, {computed_ms / copy_ms:.0f} times less")


if __name__ == "__main__":
    main()
