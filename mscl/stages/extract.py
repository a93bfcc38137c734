"""Stage extract: manifest and videos -> flow store and frame store; every video is decoded once, here.

The unit of work is a shard of segments. Worker processes compute and publish shards; this process alone writes
the commit log, so a kill at any moment loses at most the shards in flight, and a resumed run skips the others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kernels.tvl1 import resolve_backend
from mscl.config import ExperimentConfig, FlowConfig
from mscl.stages.base import Stage, StageRun
from mscl.stages.extract_shard import Segment, ShardTask, extract_shard, num_fields, stored_size
from storage.atomic import remove_staged
from storage.commits import FINAL, CommitLog
from storage.flow_store import FlowSpec, create_flow_store, finalise_flow_store
from storage.frame_store import FrameSpec, create_frame_store
from storage.manifest import Manifest, read_manifest


def _settings(config: ExperimentConfig) -> dict[str, Any]:
    return {"flow": _resolved(config).model_dump(mode="json")}


def _device(config: ExperimentConfig) -> str:
    """Where flow is computed: OpenCV's methods know the CPU only."""
    if config.flow.method in ("dis", "farneback") or config.runtime.device == "cpu":
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _resolved(config: ExperimentConfig) -> FlowConfig:
    """Backends agree to float32 accuracy only, so the one that is used is part of the result's name."""
    flow = config.flow
    backend = resolve_backend(flow.backend, _device(config)) if flow.method == "tvl1" else ""
    return flow.model_copy(update={"backend": backend})


def _run(run: StageRun) -> dict[str, Any]:
    flow = _resolved(run.config)
    manifest = read_manifest(run.input("ingest") / "manifest.parquet").ok()
    segments = _segments(manifest, Path(run.inputs["ingest"].record.config["data"]["root"]))
    shards = [
        tuple(segments[first : first + flow.segments_per_shard])
        for first in range(0, len(segments), flow.segments_per_shard)
    ]
    remove_staged(run.folder)  # what a killed run left half written
    spec = _spec(segments, flow)
    create_flow_store(run.folder / "flow.zarr", spec)
    create_frame_store(
        run.folder / "frames",
        FrameSpec(
            segments=spec.segments, max_frames=spec.max_fields, segments_per_shard=spec.segments_per_shard,
            attributes={"jpeg_quality": flow.jpeg_quality},
        ),
    )  # fmt: skip
    log = CommitLog(run.folder / "commits.jsonl")
    done = log.rows()
    if done:
        run.progress.say(f"{len(done)} of {len(shards)} shards are there already")
    tasks = [
        ShardTask(shard, members, flow, run.config.data.limits, _device(run.config), run.folder)
        for shard, members in enumerate(shards)
        if shard not in done
    ]
    to_do = sum(num_fields(segment.num_frames, flow) for task in tasks for segment in task.segments)
    run.progress.start(f"Optical flow ({flow.method})", to_do, "fields")
    for result in run.over_workers(extract_shard, tasks):
        log.append(result.shard, result.files, **result.info)
    run.progress.done()
    log.append(FINAL, finalise_flow_store(run.folder / "flow.zarr"))
    log.compact()  # the same bytes, whatever the order in which workers were done
    for row in log.rows().values():
        run.digests.update(row.files)
    fields = sum(num_fields(segment.num_frames, flow) for segment in segments)
    return {"segments": len(segments), "fields": fields, "shards": len(shards), "method": flow.method}


def _segments(manifest: Manifest, root: Path) -> list[Segment]:
    rows = [manifest.row(index) for index in range(len(manifest))]
    return [
        Segment(root / row.video, row.first_frame, row.num_frames, row.height, row.width, row.size_bytes)
        for row in rows
    ]


def _spec(segments: list[Segment], flow: FlowConfig) -> FlowSpec:
    sizes = [stored_size(segment.height, segment.width, flow.store_short_side) for segment in segments]
    return FlowSpec(
        segments=len(segments),
        max_fields=max(num_fields(segment.num_frames, flow) for segment in segments),
        height=max(height for height, _ in sizes),
        width=max(width for _, width in sizes),
        segments_per_shard=flow.segments_per_shard,
        quantiser=flow.quantiser,
        attributes={"flow": flow.model_dump(mode="json")},
    )


EXTRACT = Stage(
    name="extract",
    version=1,
    needs=("ingest",),
    settings=_settings,
    run=_run,
    summary="Optical flow and the frames beside it, every video decoded once, shard by shard over processes.",
)
