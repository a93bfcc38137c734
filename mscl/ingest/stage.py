"""Stage ingest: annotations and videos -> manifest, one row per segment, with a verdict per video."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from hashlib import sha256
from itertools import compress
from typing import TYPE_CHECKING, Any

from mscl.config import ExperimentConfig
from mscl.display.blocks import Block
from mscl.ingest.annotations import Annotations, read_annotations
from mscl.ingest.annotations.index import as_text
from mscl.ingest.config import DataConfig
from mscl.ingest.left_out import by_video, left_out, refuse_too_bad
from mscl.ingest.places import content_marks, dataset_root, places
from mscl.stage.contract import Stage, StageRun
from mscl.stage.view import Stages
from mscl.video.segments import shot_segments
from storage.atomic import write_atomic
from storage.layout import Ingested
from storage.manifest import USABLE_VERDICTS, SegmentRow, write_manifest
from storage.splits import write_splits

if TYPE_CHECKING:
    from mscl.ingest.twins import Twins
    from mscl.video.video_info import VideoInfo

MISSING_NAME = "missing.txt"
"""Videos that the lists name and the root lacks, a line each; there is no such file where none is missing."""

_LONGER = 2.0
"""A clip may be cut at the key frames around its times, or be a second off; a whole film is many times as long."""


def _settings(config: ExperimentConfig) -> dict[str, Any]:
    """The files stand in the key by relative name and content, so that a dataset may be copied elsewhere."""
    annotations = read_annotations(config.data)
    marks = content_marks(dataset_root(config), [sample.video for sample in annotations.samples])
    listing = sha256()
    for sample, mark in zip(annotations.samples, marks, strict=True):
        line = (sample.video, mark, sample.class_name, sample.splits or sample.split)
        listing.update(json.dumps(line).encode())
    listing.update(json.dumps([annotations.missing, annotations.classes]).encode())
    # How many may be bad changes nothing of a result that there is: it counts as what it is by default.
    same = config.data.model_copy(update={"max_bad_fraction": DataConfig().max_bad_fraction})
    data = same.model_dump(mode="json", exclude={"root", "annotations", "group_pattern", "group_list", "group_column"})
    if annotations.split_numbers:
        # All official splits are in the result: which of them is used is the business of the stages that train and
        # test, and the videos are decoded once for all.
        data |= {"split": list(annotations.split_numbers)}
    return {"data": data, "min_frames": config.flow.span_frames + 1, "files": listing.hexdigest()}


def _run(run: StageRun) -> dict[str, Any]:
    from mscl.ingest.inspection import inspect_videos  # the decoder, which a run that reuses all need not wait for
    from mscl.ingest.twins import find_twins

    config = run.config.data
    annotations = read_annotations(config)
    notes = list(annotations.notes)
    for note in notes:
        run.progress.say(note)
    if annotations.missing:
        lines = "".join(f"{video}\n" for video in annotations.missing)
        run.digests[MISSING_NAME] = write_atomic(run.folder / MISSING_NAME, lines.encode("utf-8", "surrogateescape"))
        run.progress.say(f"the missing videos are listed in {run.folder / MISSING_NAME}")
    infos = inspect_videos(run, annotations, version=INGEST.version)
    twins = find_twins(annotations, infos, keep_tests=config.test_twins == "keep")
    for note in twins.notes():
        run.progress.say(note)
        notes.append(note)
    for note in _longer_than_listed(annotations, infos):
        run.progress.say(note)
        notes.append(note)
    rows = _rows(annotations, infos, twins, config, min_frames=run.config.flow.span_frames + 1)
    cut = [info for info in infos.values() if info.cuts]
    if cut:
        do = "segments end there" if config.cuts == "split" else "segments cross them, as data.cuts says"
        notes.append(f"{sum(len(info.cuts) for info in cut):,} cuts in {len(cut):,} videos; {do}")
        run.progress.say(notes[-1])
    result = Ingested(run.folder)
    digest = write_manifest(result.manifest_path, rows, classes=annotations.classes)
    run.digests[result.manifest_path.name] = digest
    if splits := _splits(annotations, rows):
        run.digests[result.splits_path.name] = write_splits(run.folder, splits)
    found = by_video((row.video, row.verdict, row.reason) for row in rows)
    verdicts = Counter(verdict for _, verdict, _ in found)
    refuse_too_bad(verdicts, config, run.folder)
    for line in left_out(found):
        run.progress.say(line)
    usable = [row for row in rows if row.verdict in USABLE_VERDICTS]
    may_use = [row.verdict in USABLE_VERDICTS for row in rows]
    in_split = {str(number): dict(Counter(compress(names, may_use))) for number, names in splits.items()}
    return {
        "videos": len(annotations.samples), "segments": len(usable), "classes": len(annotations.classes),
        "verdicts": dict(verdicts), "missing": len(annotations.missing),
        "train": sum(row.split == "train" for row in usable), "test": sum(row.split == "test" for row in usable),
        "format": annotations.format, **({"splits": in_split} if in_split else {}),
        **({"notes": notes} if notes else {}),
    }  # fmt: skip


def _longer_than_listed(annotations: Annotations, infos: dict[str, VideoInfo]) -> list[str]:
    """A note where videos are whole films of which the lists name a part: all of each has its class then."""
    found: list[str] = []
    for sample in annotations.samples:
        info = infos[sample.video]
        if sample.seconds and info.fps and (seconds := info.num_frames / info.fps) > _LONGER * sample.seconds:
            found.append(f"{as_text(sample.video)} has {seconds:.0f} s, and its line is of {sample.seconds:.0f}")
    if not found:
        return []
    return [
        f"{len(found)} videos are longer than the times that the lists give, the first: {found[0]}; the class of each "
        "is taken for all of it: cut the videos to these times"
    ]


def _rows(
    annotations: Annotations, infos: dict[str, VideoInfo], twins: Twins, config: DataConfig, *, min_frames: int
) -> list[SegmentRow]:
    labels = {name: label for label, name in enumerate(annotations.classes)}
    rows = []
    for sample in annotations.samples:
        info = infos[sample.video]
        verdict: str = info.verdict
        reason = info.reason
        if verdict == "truncated" and config.partial == "drop":
            verdict, reason = "dropped", f"decodes only partly, and data.partial is drop: {reason}"
        elif sample.video in twins.duplicates:
            verdict, reason = "duplicate", f"same bytes as {twins.duplicates[sample.video]}"
        elif sample.video in twins.tested_and_trained:
            twin = f"same bytes as {twins.tested_and_trained[sample.video]}, a train video"
            reason = f"{reason}; {twin}" if reason else twin
        parts = [(0, info.num_frames)]
        if verdict in USABLE_VERDICTS:
            parts = _parts(info, config, min_frames=min_frames)
        video = as_text(sample.video)
        for number, (first, count) in enumerate(parts):
            is_short = verdict in USABLE_VERDICTS and count < min_frames
            short = f"a shot of {count} frames, {min_frames} are needed"
            rows.append(
                SegmentRow(
                    segment_id=f"{video}#{number}", video=video, class_name=sample.class_name or "",
                    label=labels.get(sample.class_name or "", -1), split=sample.split, num_frames=count,
                    first_frame=first, fps=info.fps, height=info.height, width=info.width, rotation=info.rotation,
                    size_bytes=info.size_bytes, digest=info.digest,
                    verdict="too_short" if is_short else verdict, reason=short if is_short else reason,
                    cuts=tuple(cut - first for cut in info.cuts if first <= cut < first + count),
                )
            )  # fmt: skip
    return rows


def _parts(info: VideoInfo, config: DataConfig, *, min_frames: int) -> list[tuple[int, int]]:
    """(first frame, frames) of each segment of a video, and of each shot that is too short to be one."""
    cuts = info.cuts if config.cuts == "split" else []
    return shot_segments(
        info.num_frames, cuts, fps=info.fps, max_seconds=config.max_segment_seconds, min_frames=min_frames
    )


def _splits(annotations: Annotations, rows: list[SegmentRow]) -> dict[int, list[str]]:
    """Number of each official split -> what every row is in it; empty where the dataset has one split."""
    of_video = {as_text(sample.video): sample.splits for sample in annotations.samples}
    return {
        number: [of_video[row.video][place] for row in rows] for place, number in enumerate(annotations.split_numbers)
    }


def _blocks(stages: Stages) -> list[Block]:
    from mscl.ingest.blocks import ingest_blocks

    return ingest_blocks(stages)


def _headline(metrics: Mapping[str, Any]) -> str:
    videos, good = metrics["videos"], sum(metrics["verdicts"].get(verdict, 0) for verdict in USABLE_VERDICTS)
    of = f"{good:,} of {videos:,}" if good < videos else f"{videos:,}"
    return f"{of} videos, {metrics['classes']} classes"


INGEST = Stage(
    name="ingest",
    version=6,
    needs=(),
    settings=_settings,
    places=places,
    run=_run,
    summary="Annotations and videos to a manifest: every video decoded once, with a verdict and a reason.",
    headline=_headline,
    title="Dataset",
    lead="Every video gets a verdict; what does not decode is left out, and this says why.",
    blocks=_blocks,
)
