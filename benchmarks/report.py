"""Time and size of report.html for a dataset of many segments.

Run: python -m benchmarks.report [--segments 10000]
Writes small stores with the project's own writers into a temporary folder, then builds the page.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from mscl.config import ExperimentConfig
from mscl.pipeline import PIPELINE
from mscl.report.page import build_report
from mscl.screening import chosen_starts, clip_scores
from mscl.stage.view import StageView
from storage.flow_store import FlowShardWriter, FlowSpec, create_flow_store, finalise_flow_store
from storage.frame_store import FrameShardWriter, FrameSpec, create_frame_store, encode_jpeg
from storage.manifest import SegmentRow, write_manifest
from storage.motion_store import MotionStats, MotionWriter
from storage.screen_table import ScreenRow, write_screen

FIELDS, SIDE, CLASSES, PER_SHARD = 40, 64, 101, 256


def write_stages(root: Path, segments: int) -> list[StageView]:
    """Folders of ingest to retrieve, as the stages leave them; the pictures are noise."""
    draws = np.random.default_rng(0)
    folders = {name: root / name for name in ("ingest", "extract", "motion", "screen", "retrieve")}
    for folder in folders.values():
        folder.mkdir()
    names = [f"class_{i:03d}" for i in range(CLASSES)]
    rows = [
        SegmentRow(f"c/v{i}.mp4#0", f"c/v{i}.mp4", names[i % CLASSES], i % CLASSES, "test" if i % 4 == 0 else "train")
        for i in range(segments)
    ]
    write_manifest(folders["ingest"] / "manifest.parquet", rows, classes=names)
    spec = FlowSpec(segments=segments, max_fields=FIELDS, height=SIDE, width=SIDE, segments_per_shard=PER_SHARD)
    create_flow_store(folders["extract"] / "flow.zarr", spec)
    create_frame_store(folders["extract"] / "frames", FrameSpec(segments, FIELDS, PER_SHARD))
    picture = encode_jpeg(draws.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8))
    field = draws.normal(size=(FIELDS, SIDE, SIDE, 2)).astype(np.float32)
    # Few different shapes are enough: the report reads a few segments and all of the tables.
    flow_of = [field[:1], field[:2]]
    writer = MotionWriter(
        folders["motion"] / "motion.zarr",
        segments=segments,
        max_fields=FIELDS,
        segments_per_shard=PER_SHARD,
        attributes={},
    )
    screened = []
    for shard in range(spec.grid.num_shards):
        members = spec.grid.segments_of(shard)
        FlowShardWriter(folders["extract"] / "flow.zarr", shard).write([flow_of[i % 2] for i in members])
        FrameShardWriter(folders["extract"] / "frames", shard).write([[picture] * 2 for _ in members])
        stats = []
        for segment in members:
            d_M = draws.random(FIELDS, dtype=np.float32)
            stats.append(MotionStats(d_M, d_M, 5 * d_M))
            scores = clip_scores(d_M, length=8, stride=1)
            chosen = tuple(chosen_starts(scores).tolist())
            screened.append(ScreenRow(segment, "chosen", "", len(scores), chosen, tuple(scores.tolist())))
        writer.write(shard, stats)
    finalise_flow_store(folders["extract"] / "flow.zarr")
    writer.finalise()
    write_screen(folders["screen"] / "screen.parquet", screened)
    test, train = np.arange(0, segments, 4), np.setdiff1d(np.arange(segments), np.arange(0, segments, 4))
    found = {
        "query_rows": test.tolist(),
        "gallery_rows": draws.choice(train, (len(test), 10)).tolist(),
        "similarity": np.sort(draws.random((len(test), 10)))[:, ::-1].round(5).tolist(),
    }
    (folders["retrieve"] / "neighbours.json").write_text(json.dumps({"trained": found}))
    metrics = {"trained": {"R@1": 0.5, "mAP": 0.2}, "chance": {"R@1": 0.01, "mAP": 0.01}}
    config = {name: section.model_dump(mode="json") for name, section in ExperimentConfig()}
    return [
        StageView(name, "0" * 16, folder, config, metrics=metrics if name == "retrieve" else {})
        for name, folder in folders.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--segments", type=int, default=10_000)
    segments = parser.parse_args().segments
    with tempfile.TemporaryDirectory() as folder:
        views = write_stages(Path(folder), segments)
        started = time.perf_counter()
        page = build_report(views, Path(folder) / "report.html", stages=PIPELINE[:-1])
        seconds = time.perf_counter() - started
        text = page.read_text()
        print(
            f"{segments} segments: {seconds:.1f} s, {page.stat().st_size / 1e6:.2f} MB, {text.count('<img')} pictures"
        )
        if "No pictures" in text:
            raise SystemExit("a section could not be drawn")


if __name__ == "__main__":
    main()
