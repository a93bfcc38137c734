"""Flow and frames of a manifest's segments, shard by shard.

The unit of work is a shard of segments. Worker processes compute and publish shards; this process alone writes
the commit log, so a kill at any moment loses at most the shards in flight, and a resumed run skips the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from mscl.devices import device_of
from mscl.extract.config import FlowConfig
from mscl.extract.denseflow import refuse_shared_pictures
from mscl.extract.earlier_flow import EarlierSegment, KeyOf, earlier_segments
from mscl.extract.flow_process import flow_processes
from mscl.extract.shard import ShardTask, extract_shard, num_fields
from mscl.extract.video_pass import Segment, segments_of
from mscl.ingest.places import videos_root
from mscl.milestones import reached
from mscl.stage.contract import StageRun
from mscl.video.stored_size import stored_size
from storage.atomic import remove_staged
from storage.commits import FINAL, CommitLog
from storage.flow_store import FlowSpec, create_flow_store, finalise_flow_store
from storage.frame_store import FrameSpec, create_frame_store
from storage.layout import Extracted, Ingested
from storage.record import short_key
from storage.verify import take_back, torn_shards, verify_extract


def extract(run: StageRun, flow: FlowConfig, *, gpus: Sequence[int], key_of: KeyOf) -> dict[str, Any]:
    """Compute the shards that are not there yet; metrics of the stage.

    Args:
        flow: with the backend that is used.
        gpus: where flow is computed; none: on the CPU.
        key_of: the key of a result of the same settings, from the keys of what it was made from.
    """
    manifest = Ingested(run.input("ingest")).manifest()
    segments = segments_of(manifest, videos_root(run.config, run.inputs["ingest"]))
    shards = [
        tuple(segments[first : first + flow.segments_per_shard])
        for first in range(0, len(segments), flow.segments_per_shard)
    ]
    if flow.method == "denseflow":
        refuse_shared_pictures(Path(flow.pictures), dict.fromkeys(segment.video for segment in segments))
    result = Extracted(run.folder)
    remove_staged(run.folder)  # what a killed run left half written
    spec = _spec(segments, flow)
    frame_spec = FrameSpec(
        segments=spec.segments, max_frames=spec.max_fields, segments_per_shard=spec.segments_per_shard,
        attributes={"jpeg_quality": flow.jpeg_quality},
    )  # fmt: skip
    create_flow_store(result.flow, spec)
    create_frame_store(result.frames, frame_spec)
    log = CommitLog(result.commits)
    done = _sound_shards(run, log, spec, frame_spec)
    if done:
        run.progress.say(f"{len(done)} of {len(shards)} shards are there already")
    earlier = _earlier(run, segments, flow, done, key_of=key_of)
    tasks = [
        ShardTask(shard, members, flow, run.config.data.limits, run.folder, earlier=earlier.get(shard, {}))
        for shard, members in enumerate(shards)
        if shard not in done
    ]
    is_computed = any(len(task.earlier) < len(task.segments) for task in tasks)
    to_do = sum(num_fields(segment.num_frames, flow) for task in tasks for segment in task.segments)
    reached("work is known")
    run.progress.start(f"Optical flow ({flow.method})", to_do, "fields")
    with _flow_processes(run, flow, gpus if is_computed else ()) as addresses:
        tasks = [replace(task, flow_processes=addresses) for task in tasks]
        for shard in run.over_workers(extract_shard, tasks, gpus=gpus):
            log.append(shard.shard, shard.files, **shard.info)
        reached("all shards are there")
    reached("processes have ended")
    run.progress.done()
    log.append(FINAL, finalise_flow_store(result.flow))
    log.compact()  # the same bytes, whatever the order in which workers were done
    for row in log.rows().values():
        run.digests.update(row.files)
    infos = [row.info for shard, row in log.rows().items() if shard != FINAL]
    fields = sum(int(info["num_fields"]) for info in infos)
    clipped = sum(int(info["num_clipped"]) for info in infos)
    if clipped:
        run.progress.say(flow.clipped_note(clipped))
    return {
        "segments": len(segments), "fields": fields, "shards": len(shards), "method": flow.method,
        **({"clipped": clipped} if clipped else {}),
    }  # fmt: skip


def _earlier(
    run: StageRun, segments: Sequence[Segment], flow: FlowConfig, done: set[int], *, key_of: KeyOf
) -> dict[int, dict[int, EarlierSegment]]:
    """Shard that is not done -> place in it -> where another extract has that segment.

    Flow pictures belong to the name of a video, not to its bytes, and are read anew.
    """
    if run.is_forced or flow.method == "denseflow":
        return {}
    found: dict[int, dict[int, EarlierSegment]] = {}
    for number, place in earlier_segments(run, segments, key_of=key_of).items():
        shard, local = divmod(number, flow.segments_per_shard)
        if shard not in done:
            found.setdefault(shard, {})[local] = place
    if count := sum(map(len, found.values())):
        keys = sorted({short_key(place.folder.name) for places in found.values() for place in places.values()})
        run.progress.say(f"flow of {count:,} of {len(segments):,} segments is copied from extract {', '.join(keys)}")
    return found


def _flow_processes(run: StageRun, flow: FlowConfig, gpus: Sequence[int]) -> AbstractContextManager[dict[str, str]]:
    """One for each GPU of this machine; on a cluster each task computes its own flow."""
    if not gpus or run.spread is not None:
        return nullcontext({})
    return flow_processes(flow, [device_of(0, (gpu,)) for gpu in gpus])


def _sound_shards(run: StageRun, log: CommitLog, spec: FlowSpec, frame_spec: FrameSpec) -> set[int]:
    """Shards that need not be done again. The commits of damaged ones are taken back.

    A commit is durable, so after a kill the ends of the files are enough to look at: they tell a file that was cut,
    emptied or lost since. A result that was finished and is damaged is compared with its digests.
    """
    if run.is_damaged:
        run.progress.start("Looking for damage", spec.grid.num_shards, "shards")
        found = verify_extract(run.folder, depth="digests", advance=run.progress.advance)
        run.progress.done()
    else:
        found = torn_shards(run.folder, spec, frame_spec)
    if shards := take_back(run.folder, found):
        run.progress.say(f"{len(shards)} damaged shards are done again: {', '.join(map(str, shards[:20]))}")
    return {shard for shard in log.rows() if shard != FINAL}


def _spec(segments: list[Segment], flow: FlowConfig) -> FlowSpec:
    sizes = [stored_size(segment.height, segment.width, flow.store_short_side) for segment in segments]
    return FlowSpec(
        segments=len(segments),
        max_fields=max(num_fields(segment.num_frames, flow) for segment in segments),
        height=max(height for height, _ in sizes),
        width=max(width for _, width in sizes),
        segments_per_shard=flow.segments_per_shard,
        quantiser=flow.quantiser,
        coding=flow.coding,
        attributes={"flow": flow.noted()},
    )
