"""Kinetics-400 without Kinetics-400: the bookkeeping of 240,000 segments for real, the work from measured unit costs.

    python -m benchmarks.scale [--segments 240000 --video FILE --json FILE]

First part: rows, manifest, shards, commit log, record, motion store, screening and the sampler's order of that many
segments, by the code that a run uses; flow and pictures alone are left out. Second part: a ten-second video of
340x256 pixels through looking, extraction (the preset's TV-L1), motion and one training step of the paper's R18, one
thread each, in CPU seconds, which a busy machine disturbs less than the clock; then what that makes of Kinetics-400.
The video is drawn (moving texture) unless --video names a real one; drawn flow is smoother and takes less disk.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TypeVar

import av
import numpy as np

from mscl.config import DecodeLimits, load_config
from mscl.extract.shard import ShardTask, extract_shard, num_fields
from mscl.extract.video_pass import Segment
from mscl.motion.motion_stage import _measure, _ShardTask
from mscl.motion.screen_stage import screen_segment
from mscl.training.loader import StepPlan
from mscl.video.stored_size import stored_size
from mscl.video.video_info import inspect_video
from storage.commits import CommitLog
from storage.flow_store import FlowSpec, create_flow_store, finalise_flow_store
from storage.frame_store import FrameSpec, create_frame_store
from storage.manifest import SegmentRow, read_manifest, write_manifest
from storage.motion_store import MotionReader, MotionStats, MotionWriter
from storage.screen_table import ScreenRow, read_screen, write_screen
from storage.workspace import Workspace

PRESET = "kinetics400-r18"
VIDEOS, EPOCHS = 219_136, 400
FRAMES, FPS, HEIGHT, WIDTH = 300, 30.0, 256, 340
CLASSES = 400
REFERENCE = "reference: RAFT at 384x640 on 8+ GPUs, about 63-72 TB of float32 flow, one file a field"
Made = TypeVar("Made")


def clocked(name: str, work: Callable[[], Made], times: dict[str, float], note: str = "") -> Made:
    """Run, keep CPU seconds under `name`, print."""
    wall, cpu = time.perf_counter(), time.process_time()
    made = work()
    times[name] = time.process_time() - cpu
    print(f"  {name:<34} {times[name]:8.1f} s CPU {time.perf_counter() - wall:8.1f} s wall  {note}", flush=True)
    return made


def rows_of(count: int) -> list[SegmentRow]:
    """A manifest as ingest would make it."""
    return [
        SegmentRow(
            segment_id=f"train/class{i % CLASSES:03}/{i:011}.mp4#0", video=f"train/class{i % CLASSES:03}/{i:011}.mp4",
            class_name=f"class{i % CLASSES:03}", label=i % CLASSES, split="train" if i % 12 else "val",
            num_frames=FRAMES, first_frame=0, fps=FPS, height=HEIGHT, width=WIDTH, size_bytes=1_000_000 + i,
            digest=f"{i:064x}",
        )
        for i in range(count)
    ]  # fmt: skip


def simulate(count: int, folder: Path) -> dict[str, float]:
    """CPU seconds of each piece of bookkeeping for `count` segments."""
    config, times, rng = load_config(PRESET), dict[str, float](), np.random.default_rng(0)
    print(f"bookkeeping of {count} segments", flush=True)
    rows = clocked("rows of the manifest", lambda: rows_of(count), times)
    manifest_path = folder / "manifest.parquet"
    clocked("manifest written", lambda: write_manifest(manifest_path, rows), times)
    manifest = clocked("manifest read, usable rows", lambda: read_manifest(manifest_path).ok(), times)
    segments = clocked(
        "segments for the workers",
        lambda: [
            Segment(Path(r.video), r.first_frame, r.num_frames, r.height, r.width, r.size_bytes)
            for r in manifest.rows()
        ],
        times,
    )
    per_shard = config.flow.segments_per_shard
    shards = [segments[first : first + per_shard] for first in range(0, len(segments), per_shard)]

    workspace = Workspace(folder / "workspace")
    digests: dict[str, str] = {}
    with workspace.claim("extract", "0" * 16) as result:
        log = CommitLog(result / "commits.jsonl")

        def commit() -> None:
            for shard in range(len(shards)):
                files = {
                    f"flow.zarr/flow/c.{shard}.0.0.0.0": f"{shard:064x}",
                    f"frames/{shard:06}.bin": f"{shard:064x}",
                }
                for name in files:
                    path = result / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(b"")
                log.append(shard, files, num_fields=per_shard * 121)

        clocked("commit rows (fsync each)", commit, times, f"{len(shards)} shards, {2 * len(shards)} files")
        done = clocked("commit log read by a resumed run", log.rows, times)
        for row in done.values():
            digests |= row.files
        clocked(
            "record",
            lambda: workspace.commit(
                "extract", "0" * 16, version=1, config={}, inputs={}, metrics={}, timings={}, digests=digests
            ),
            times,
        )
    clocked("result found by a later run", lambda: workspace.find("extract", "0" * 16), times)

    fields = num_fields(FRAMES, config.flow)
    motion = MotionWriter(folder / "motion.zarr", segments=count, max_fields=fields, segments_per_shard=per_shard)

    def statistics(shard: int) -> list[MotionStats | None]:
        size = len(motion.grid.segments_of(shard))
        values = rng.random((size, 3, fields), dtype=np.float32) * 20
        return [MotionStats(*(np.ascontiguousarray(part) for part in segment)) for segment in values]

    def write_motion() -> None:
        for shard in range(motion.grid.num_shards):
            motion.write(shard, statistics(shard))
        motion.finalise()

    clocked("motion store", write_motion, times)

    def screen() -> list[ScreenRow]:
        reader = MotionReader(folder / "motion.zarr")
        return [
            screen_segment(
                segment,
                reader.differences(segment),
                reader.magnitude_p99(segment),
                clip=config.clip,
                config=config.screen,
            )
            for segment in range(len(reader))
        ]

    screened = clocked("screening", screen, times)
    clocked("screen table written", lambda: write_screen(folder / "screen.parquet", screened), times)
    table = clocked("screen table read", lambda: read_screen(folder / "screen.parquet"), times)
    assert len(table) == count
    batch = config.pretrain.batch_size
    plan = StepPlan(count, batch, seed=0, start_step=0, total_steps=2 * (count // batch))
    steps = clocked("sampler, two epochs", lambda: sum(1 for _ in plan), times)
    late = StepPlan(
        count, batch, seed=0, start_step=EPOCHS * (count // batch) - 1, total_steps=EPOCHS * (count // batch)
    )
    clocked("sampler resumed in the last epoch", lambda: next(islice(late, 1)), times, f"{steps} steps before")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    megabytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    print(f"  {sum(times.values()):.0f} s CPU in all, {megabytes:.0f} MB on disk, peak memory {peak_mb:.0f} MB")
    return times


def draw_video(path: Path) -> None:
    """Ten seconds of a texture that moves over another, H.264."""
    rng = np.random.default_rng(0)
    import cv2

    ground, patch = (cv2.GaussianBlur(rng.integers(0, 256, (512, 680, 3), np.uint8), (0, 0), 2.5) for _ in range(2))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=int(FPS))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for t in range(FRAMES):
            frame = np.ascontiguousarray(ground[20 : 20 + HEIGHT, 60 + t // 4 : 60 + t // 4 + WIDTH])
            x, y = int(100 + 60 * np.sin(t / 12)), int(70 + 40 * np.cos(t / 17))
            frame[y : y + 90, x : x + 110] = patch[100:190, 100:210]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.astype(np.uint8), format="rgb24")))
        container.mux(stream.encode())


def unit_costs(folder: Path, video: Path | None) -> dict[str, float]:
    """CPU seconds and bytes of one video through each stage, and of one clip pair in training."""
    config = load_config(PRESET)
    times: dict[str, float] = {}
    if video is None:
        video = folder / "drawn.mp4"
        draw_video(video)
    info = inspect_video(video, limits=DecodeLimits())
    count = num_fields(info.num_frames, config.flow)
    height, width = stored_size(info.height, info.width, config.flow.store_short_side)
    print(f"one video: {info.num_frames} frames of {info.width}x{info.height}, {count} fields", flush=True)
    clocked("looking (ingest)", lambda: inspect_video(video, limits=DecodeLimits()), times)
    result = folder / "extract"
    spec = FlowSpec(
        1, count, height, width, segments_per_shard=1, quantiser=config.flow.quantiser, coding=config.flow.coding
    )
    create_flow_store(result / "flow.zarr", spec)
    create_frame_store(result / "frames", FrameSpec(1, count, segments_per_shard=1))
    segment = Segment(video, 0, info.num_frames, info.height, info.width, info.size_bytes)
    task = ShardTask(0, (segment,), config.flow, DecodeLimits(), result)
    clocked("flow and frames (extract)", lambda: extract_shard(task, lambda _: None), times, config.flow.method)
    finalise_flow_store(result / "flow.zarr")
    motion = _ShardTask(0, range(1), result / "flow.zarr", config.motion)
    _measure(motion, lambda _: None)  # imports and loads, once for the thousands of segments of a worker
    clocked("differences (motion)", lambda: _measure(motion, lambda _: None), times)
    times["frames"], times["fields"] = info.num_frames, count
    times["flow bytes"] = sum(p.stat().st_size for p in (result / "flow.zarr").rglob("*") if p.is_file())
    times["frame bytes"] = sum(p.stat().st_size for p in (result / "frames").rglob("*") if p.is_file())
    return times | training_costs()


def training_costs() -> dict[str, float]:
    """Operations and one core's seconds of a clip pair in a step of the paper's R18 at 112 px."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from benchmarks.step import OurStep, synthetic_batch
    from mscl.pretrain.augment import Augment
    from mscl.pretrain.fit_mscl import build_model
    from mscl.training.distributed import World

    torch.set_num_threads(1)
    batch, device = 4, torch.device("cpu")
    config = load_config(PRESET).pretrain.model_copy(update={"batch_size": batch, "precision": "fp32"})
    config = config.model_copy(update={"loss": config.loss.model_copy(update={"queue_size": 4096})})
    world = World(0, 1, device)
    step = OurStep(config, build_model(config, world), world)
    views = Augment(config.augment)(synthetic_batch(batch, config.augment.crop_px, device)[4])
    with FlopCounterMode(display=False) as counter:
        step(views)
    times: dict[str, float] = {}
    clocked("training step, batch 4", lambda: step(views), times)
    return {
        "training pair": times["training step, batch 4"] / batch,
        "training flop": counter.get_total_flops() / batch,
    }


def report(unit: dict[str, float], bookkeeping_s: float) -> None:
    """The cost table of Kinetics-400."""
    print(f"\nKinetics-400, {VIDEOS} videos of {FRAMES} frames, from the unit costs above")
    print(f"  {'stage':<12} {'core-hours':>12}")
    # A named video may be shorter than ten seconds; its cost per frame and field is what counts.
    frames = VIDEOS * FRAMES / unit["frames"]
    fields = VIDEOS * num_fields(FRAMES, load_config(PRESET).flow) / unit["fields"]
    stages = {
        "ingest": unit["looking (ingest)"] * frames / 3600,
        "extract": unit["flow and frames (extract)"] * fields / 3600,
        "motion": unit["differences (motion)"] * fields / 3600,
        "bookkeeping": bookkeeping_s / 3600,
    }
    for name, hours in stages.items():
        print(f"  {name:<12} {hours:12.1f}")
    share = stages["bookkeeping"] / sum(stages.values())
    print(f"  bookkeeping is {share:.3%} of the work")
    flow_tb, frame_tb = unit["flow bytes"] * fields / 1e12, unit["frame bytes"] * fields / 1e12
    float_tb = 8 * 384 * 640 * unit["fields"] * fields / 1e12
    print(f"  disk: flow {flow_tb:.2f} TB, frames {frame_tb:.2f} TB; float32 fields of 384x640: {float_tb:.0f} TB")
    pairs = float(VIDEOS) * EPOCHS
    flop = unit["training flop"]
    exaflop = pairs * flop / 1e18
    print(
        f"  pretrain: {EPOCHS} epochs are {pairs / 1e6:.1f} M clip pairs, {flop / 1e9:.1f} GFLOP each: "
        f"{exaflop:.0f} EFLOP, {exaflop * 1e18 / 100e12 / 3600:.0f} GPU-hours per 100 TFLOP/s that a GPU sustains "
        f"(arithmetic: no GPU was measured); {pairs * unit['training pair'] / 3600:.0f} core-hours"
    )
    per_pair = (unit["flow bytes"] / unit["fields"] * 4 + unit["frame bytes"] / unit["fields"] * 8) * 2
    print(
        f"  a clip pair reads {per_pair / 1e3:.0f} kB: 1,000 pairs a second are {per_pair * 1e3 / 1e6:.0f} MB/s of disk"
    )
    print(f"  {REFERENCE}")


def main() -> None:
    """Measure and print; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segments", type=int, default=240_000)
    parser.add_argument("--video", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        times = simulate(options.segments, Path(scratch))
    with tempfile.TemporaryDirectory() as scratch:
        unit = unit_costs(Path(scratch), options.video)
    report(unit, sum(times.values()))
    if options.json:
        options.json.write_text(json.dumps({"bookkeeping": times, "unit": unit}, indent=1) + "\n")


if __name__ == "__main__":
    main()
