"""Every video decoded once, in decode workers; an interrupted ingest goes on where it was.

What decoding finds of a file depends neither on what becomes of it nor on the files beside it: another ingest, with
other cuts, labels or a video more, takes over what was found.

What was found is logged, a line a video: crc32c in hexadecimal, a blank, the finding as JSON. A line that was cut or
damaged is as good as none: its video is decoded again. So is one that was bad and has been written since: a file
that was mended may have the size and the mark that it had. And so is one that ran out of time or took its decoder with
it: on a machine with less to do it may come out whole.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mscl.devices import cores
from mscl.ingest.annotations import Annotations
from mscl.ingest.annotations.index import is_text
from mscl.ingest.places import content_marks, dataset_root, file_sizes
from mscl.stage.contract import StageRun
from mscl.video.decode_pool import inspect_many
from mscl.video.places import Place
from mscl.video.video_info import VideoInfo
from storage.atomic import write_atomic
from storage.errors import UnreadableError
from storage.manifest import USABLE_VERDICTS
from storage.result_folder import made_with
from storage.shards import crc32c

_LOG_NAME = ".inspected-{version}.log"  # hidden: work to resume from, not part of the result
_MIN_SIDE_PX = 16  # smaller pictures hold no flow
_OF_THE_MACHINE = ("timeout", "crashed")
_NOTED = {"video", "mark", "began_ns"}
_NAME_REASON = "its name is not UTF-8; rename it, for example with `convmv -f latin1 -t utf8 --notest`"


def inspect_videos(run: StageRun, annotations: Annotations, *, version: int) -> dict[str, VideoInfo]:
    """What decoding found of each video, by its relative path.

    Args:
        version: of the stage; what another version found is not taken over.
    """
    root, log = dataset_root(run.config), run.folder / _LOG_NAME.format(version=version)
    videos = [sample.video for sample in annotations.samples]
    marks = dict(zip(videos, content_marks(root, videos), strict=True))
    if not log.exists() and not run.is_forced:
        _take_over(run, log, marks)
    sizes_bytes = {video: max(0, size) for video, size in file_sizes(root, videos).items()}
    infos: dict[str, VideoInfo] = {}
    for row in _read_log(log):
        video, began_ns = row.pop("video"), row.pop("began_ns")
        del row["mark"]
        info = VideoInfo(**row)
        is_mended = info.verdict not in USABLE_VERDICTS and _written_ns(root, video) > began_ns
        is_known = info.verdict not in _OF_THE_MACHINE and not is_mended
        if is_known and info.size_bytes == sizes_bytes.get(video, 0):
            infos[video] = info
    for video in videos:
        if not is_text(video):
            infos[video] = VideoInfo("unreadable", _NAME_REASON, size_bytes=sizes_bytes[video])
    todo = [video for video in videos if video not in infos]
    run.progress.start("Looking at videos", len(todo), "videos")
    bad, began_ns = 0, time.time_ns()
    with log.open("ab") as out:
        out.write(b"\n")  # what a kill left of a line stays a line of its own

        def keep(index: int, info: VideoInfo) -> None:
            nonlocal bad
            infos[todo[index]] = info
            row = {"video": todo[index], "mark": marks[todo[index]], "began_ns": began_ns, **asdict(info)}
            out.write(_line(row))
            out.flush()
            bad += info.verdict not in USABLE_VERDICTS
            run.progress.advance(1, **({"bad": bad} if bad else {}))

        inspect_many(
            [root / video for video in todo], limits=run.config.data.limits,
            workers=run.config.runtime.workers or cores(), min_frames=run.config.flow.span_frames + 1,
            min_side_px=_MIN_SIDE_PX, on_result=keep,
        )  # fmt: skip
    run.progress.done()
    return infos


def _take_over(run: StageRun, log: Path, marks: Mapping[str, str]) -> None:
    """Begin the log with what other ingests found of the same files, where they looked in the same way.

    Args:
        marks: `content_marks` by video.
    """
    others: list[tuple[float, Path]] = []
    for other in run.folder.parent.glob(f"*/{log.name}"):
        with suppress(OSError, UnreadableError):  # another user's, or removed meanwhile
            if _looked(other.parent) == _looked(run.folder):
                others.append((other.stat().st_mtime, other))
    found: dict[str, bytes] = {}
    for _, other in sorted(others):  # what was found last counts
        with suppress(OSError):
            found |= {row["video"]: _line(row) for row in _read_log(other) if marks.get(row["video"]) == row["mark"]}
    if found:
        write_atomic(log, b"".join(found.values()))
        run.progress.say(f"{len(found):,} of {len(marks):,} videos were looked at for another ingest")


def _looked(folder: Path) -> tuple[Any, ...]:
    """How an ingest looks at a video, as far as that decides what is found."""
    settings, _ = made_with(folder)
    return settings.get("min_frames"), settings.get("data", {}).get("limits")


def _written_ns(root: Place, video: str) -> int:
    """When a file was last written or put there, which a copy that keeps times cannot hide; 0 where nobody says."""
    if isinstance(root, Path):
        with suppress(OSError):
            return (root / video).stat().st_ctime_ns
    return 0


def _read_log(path: Path) -> Iterator[dict[str, Any]]:
    """Its rows: `video`, its `mark`, `began_ns` when the looking began, and what is in `VideoInfo`."""
    if not path.is_file():
        return
    for line in path.read_bytes().split(b"\n"):
        if line[8:9] == b" " and line[:8] == b"%08x" % crc32c(line[9:]):
            row = json.loads(line[9:])
            if row.keys() >= _NOTED:  # else an earlier version's
                yield row


def _line(row: Mapping[str, Any]) -> bytes:
    text = json.dumps(row).encode()
    return b"%08x %s\n" % (crc32c(text), text)
