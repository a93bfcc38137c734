"""Stage motion: flow store -> motion differences and magnitudes of every field (METHOD 1.2, steps 1 to 4)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mscl.config import ExperimentConfig
from mscl.display.blocks import Block
from mscl.motion.config import MotionConfig
from mscl.motion.scores import MOVING_PX
from mscl.stage.contract import Stage, StageRun
from mscl.stage.view import Stages
from storage.commits import CommitLog
from storage.flow_store import FlowReader
from storage.layout import Extracted, Measured
from storage.motion_store import MotionStats, MotionWriter
from storage.verify import changed_shards, take_back


@dataclass(frozen=True)
class _ShardTask:
    shard: int
    segments: range
    flow_store: Path
    config: MotionConfig


def _settings(config: ExperimentConfig) -> dict[str, Any]:
    return {"motion": config.motion.model_dump(mode="json")}


def _run(run: StageRun) -> dict[str, Any]:
    config = run.config.motion
    flow_store = Extracted(run.input("extract")).flow
    reader = FlowReader(flow_store)
    spec = reader.spec
    result = Measured(run.folder)
    writer = MotionWriter(
        result.motion, segments=spec.segments, max_fields=spec.max_fields,
        segments_per_shard=spec.segments_per_shard, attributes={"motion": config.model_dump(mode="json")},
    )  # fmt: skip
    log = CommitLog(result.commits)
    if shards := take_back(run.folder, changed_shards(run.folder)):
        run.progress.say(f"{len(shards)} damaged shards are done again: {', '.join(map(str, shards[:20]))}")
    done = {} if run.is_damaged else log.rows()  # which shards are damaged nobody knows, and doing all takes minutes
    tasks = [
        _ShardTask(shard, spec.grid.segments_of(shard), flow_store, config)
        for shard in range(spec.grid.num_shards)
        if shard not in done
    ]
    fields = sum(int(reader.num_fields[segment]) for task in tasks for segment in task.segments)
    run.progress.start("Motion statistics", fields, "fields")
    for shard, statistics in run.over_workers(_measure, tasks):
        written = writer.write(shard, statistics)
        log.append(shard, written.files)
    run.progress.done()
    writer.finalise()
    log.compact()  # the same bytes, whatever the order in which workers were done, and without damaged lines
    for row in log.rows().values():
        run.digests.update(row.files)
    return {"segments": spec.segments, "fields": int(reader.num_fields.sum())}


def _measure(task: _ShardTask, tick: Callable[[int], None]) -> tuple[int, list[MotionStats | None]]:
    """Statistics of every segment of a shard; runs in a worker process."""
    import torch

    from kernels.global_motion import global_motion
    from kernels.magnitudes import magnitudes
    from kernels.motion import field_differences

    torch.set_num_threads(1)
    reader = FlowReader(task.flow_store)
    statistics: list[MotionStats | None] = []
    # Read into one array: a fresh one for each segment costs more page faults than the decoder takes.
    room_N = np.empty(2 * max((math.prod(reader.valid(segment)) for segment in task.segments), default=0), np.float32)
    for segment in task.segments:
        count, height, width = reader.valid(segment)
        flow_MHW2 = room_N[: 2 * count * height * width].reshape(count, height, width, 2)
        reader.clip(segment, range(count), out=flow_MHW2)
        config = task.config
        differences_M = field_differences(
            flow_MHW2, weight=config.weight, attention=config.attention, pool=config.pool, window_px=config.window_px
        )
        camera_M, object_M = global_motion(flow_MHW2)
        length = magnitudes(flow_MHW2, moving_px=MOVING_PX)
        statistics.append(
            MotionStats(
                differences=np.asarray(differences_M, np.float32),
                magnitude_mean=length.mean,
                magnitude_p99=length.p99,
                moving_share=length.moving_share,
                camera_mean=camera_M,
                object_mean=object_M,
            )
        )
        tick(count)
    return task.shard, statistics


def _blocks(stages: Stages) -> list[Block]:
    from mscl.motion.blocks import motion_blocks

    return motion_blocks(stages)


def _headline(metrics: Mapping[str, Any]) -> str:
    return f"{metrics['fields']:,} fields of {metrics['segments']:,} segments"


MOTION = Stage(
    name="motion",
    version=3,
    needs=("extract",),
    settings=_settings,
    run=_run,
    summary="Motion differences and flow magnitudes of every field, the camera's motion told from the rest.",
    headline=_headline,
    title="Motion",
    blocks=_blocks,
)
