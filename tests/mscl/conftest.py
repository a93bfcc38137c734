"""What tests of `mscl` share: a tiny dataset as the first four stages leave it, stores of marked segments, videos.

The tiny dataset: bright patches that move left or right over grey.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.mscl.marked_stores import Stores, marked_field, marked_frame, write_stores
from tests.mscl.written_videos import WriteVideo, write_frames

FRAMES, HEIGHT, WIDTH = 14, 24, 32
CLASSES = ("left", "right")


@dataclass(frozen=True)
class PatchRun:
    """Folders of the stages."""

    ingest: Path
    extract: Path
    motion: Path
    screen: Path

    @property
    def manifest(self) -> Path:
        return self.ingest / "manifest.parquet"


def patch_video(label: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames (T, H, W, 3) uint8 and flow (T - 1, H, W, 2) px: still, then 2 px per frame, from frame 4 on."""
    draws = np.random.default_rng(seed)
    row, colour = int(draws.integers(2, 12)), draws.integers(120, 255, 3)
    speed_px = 2 if label else -2
    frames = np.full((FRAMES, HEIGHT, WIDTH, 3), 60, np.uint8)
    flow = np.zeros((FRAMES - 1, HEIGHT, WIDTH, 2), np.float32)
    for number in range(FRAMES):
        column = 4 + (2 * max(number - 4, 0) if label else 18 - 2 * max(number - 4, 0))
        frames[number, row : row + 8, column : column + 8] = colour
        if 4 <= number < FRAMES - 1:
            flow[number, row : row + 8, column : column + 8, 0] = speed_px
    return frames, flow


@pytest.fixture(scope="session")
def patch_run(tmp_path_factory: pytest.TempPathFactory) -> PatchRun:
    """12 train and 6 test videos of two classes; one more that does not decode, and one without any motion."""
    from mscl.screening import chosen_starts, clip_scores
    from storage.flow_store import FlowShardWriter, FlowSpec, create_flow_store, finalise_flow_store
    from storage.frame_store import FrameShardWriter, FrameSpec, create_frame_store, encode_jpeg
    from storage.manifest import SegmentRow, write_manifest
    from storage.motion_store import MotionStats, MotionWriter
    from storage.screen_table import ScreenRow, write_screen

    root = tmp_path_factory.mktemp("patch_run")
    run = PatchRun(*(root / name for name in ("ingest", "extract", "motion", "screen")))
    for folder in (run.ingest, run.extract, run.motion, run.screen):
        folder.mkdir()
    rows = [
        SegmentRow(
            segment_id=f"{CLASSES[i % 2]}/v{i:02d}.mp4#0", video=f"{CLASSES[i % 2]}/v{i:02d}.mp4",
            class_name=CLASSES[i % 2], label=i % 2, split="train" if i < 12 else "test", num_frames=FRAMES,
            fps=25.0, height=HEIGHT, width=WIDTH, size_bytes=1000, digest=f"{i:064x}",
        )
        for i in range(18)
    ]  # fmt: skip
    bad = SegmentRow(segment_id="left/<b>bad</b>.mp4#0", video="left/<b>bad</b>.mp4", class_name="left", label=0,
                     verdict="unreadable", reason="moov atom not found | truncated")  # fmt: skip
    write_manifest(run.manifest, [*rows[:5], bad, *rows[5:]], classes=CLASSES)
    videos = [patch_video(i % 2, i) for i in range(18)]
    videos[3][1][:] = 0

    spec = FlowSpec(segments=18, max_fields=FRAMES - 1, height=HEIGHT, width=WIDTH, segments_per_shard=8)
    create_flow_store(run.extract / "flow.zarr", spec)
    create_frame_store(run.extract / "frames", FrameSpec(segments=18, max_frames=FRAMES, segments_per_shard=8))
    for shard in range(spec.grid.num_shards):
        members = spec.grid.segments_of(shard)
        FlowShardWriter(run.extract / "flow.zarr", shard).write([videos[i][1] for i in members])
        FrameShardWriter(run.extract / "frames", shard).write([[encode_jpeg(f) for f in videos[i][0]] for i in members])
    finalise_flow_store(run.extract / "flow.zarr")

    writer = MotionWriter(
        run.motion / "motion.zarr", segments=18, max_fields=FRAMES - 1, segments_per_shard=8, attributes={}
    )
    stats, screened = [], []
    for i, (_, flow) in enumerate(videos):
        magnitude = np.hypot(flow[..., 0], flow[..., 1]).reshape(len(flow), -1)
        differences = magnitude.mean(axis=1).astype(np.float32)
        stats.append(MotionStats(differences, differences, magnitude.max(axis=1)))
        scores = clip_scores(differences, length=4, stride=1)
        still = not magnitude.any()
        screened.append(
            ScreenRow(
                segment=i, verdict="no_motion" if still else "chosen", reason="flow stays at 0.000 px" if still else "",
                num_candidates=len(scores), chosen=() if still else tuple(chosen_starts(scores).tolist()),
                scores=tuple(scores.tolist()),
            )
        )  # fmt: skip
    for shard in range(writer.grid.num_shards):
        writer.write(shard, [stats[i] for i in writer.grid.segments_of(shard)])
    writer.finalise()
    write_screen(run.screen / "screen.parquet", screened)
    return run


@pytest.fixture(scope="session")
def make_stores(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[int]], Stores]:
    """Stores of marked segments with the given numbers of fields."""

    def make(num_fields: list[int]) -> Stores:
        return write_stores(
            tmp_path_factory.mktemp("stores"),
            [[marked_field(index) for index in range(count)] for count in num_fields],
            [[marked_frame(segment, index) for index in range(count)] for segment, count in enumerate(num_fields)],
        )

    return make


@pytest.fixture(scope="session")
def stores(make_stores: Callable[[list[int]], Stores]) -> Stores:
    """Eleven segments of 12 to 32 fields; a clip spans 15, so the shortest are looped."""
    return make_stores([12 + 2 * segment for segment in range(11)])


@pytest.fixture
def write_video(tmp_path: Path) -> WriteVideo:
    """`write_frames` into tmp_path, by name."""

    def write(name: str, *arguments: Any, **settings: Any) -> Path:
        return write_frames(tmp_path / name, *arguments, **settings)

    return write
