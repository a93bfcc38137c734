"""Every video decoded once, in decode workers; an interrupted ingest goes on where it was.

What decoding finds does not depend on what becomes of it: an ingest of the same videos with other cuts, segments or
bounds takes over what was found.

What was found is logged, a line a video: crc32c in hexadecimal, a blank, the finding as JSON. A line that was cut or
damaged is as good as none: its video is decoded again. So is one that was bad and has been written since: a file
that was mended may have the size and the mark that it had. And so is one that ran out of time or took its decoder with
it: on a machine with less to do it may come out whole.
"""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mscl.devices import cores
from mscl.ingest.annotations import Annotations
from mscl.ingest.annotations.index import is_text
from mscl.ingest.places import dataset_root, file_sizes
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
_NAME_REASON = "its name is not UTF-8; rename it, for example with `convmv -f latin1 -t utf8 --notest`"


def inspect_videos(run: StageRun, annotations: Annotations, *, version: int) -> dict[str, VideoInfo]:
    """What decoding found of each video, by its relative path.

    Args:
        version: of the stage; what another version found is not taken over.
    """
    root, log = dataset_root(run.config), run.folder / _LOG_NAME.format(version=version)
    if not log.exists() and not run.is_forced:
        _take_over(run, log)
    videos = [sample.video for sample in annotations.samples]
    sizes_bytes = {video: max(0, size) for video, size in file_sizes(root, videos).items()}
    infos: dict[str, VideoInfo] = {}
    for video, info, began_ns in _read_log(log):
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
            text = json.dumps({"video": todo[index], "began_ns": began_ns, **asdict(info)}).encode()
            out.write(b"%08x %s\n" % (crc32c(text), text))
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


def _take_over(run: StageRun, log: Path) -> None:
    """Copy the newest log of another ingest that looked at the same videos in the same way, if there is one."""
    found: list[tuple[float, Path]] = []
    own = _looked_at(run.folder)
    for other in run.folder.parent.glob(f"*/{log.name}"):
        with suppress(OSError, UnreadableError):  # another user's, or removed meanwhile
            if own[0] and any(_read_log(other)) and _looked_at(other.parent) == own:
                found.append((other.stat().st_mtime, other))
    if found:
        _, newest = max(found)
        write_atomic(log, newest.read_bytes())
        run.progress.say(f"{sum(1 for _ in _read_log(log)):,} videos were looked at for ingest {newest.parent.name}")


def _looked_at(folder: Path) -> tuple[Any, ...]:
    """What decides what is found of videos: which they are, and how they are looked at."""
    settings, _ = made_with(folder)
    return settings.get("files"), settings.get("min_frames"), settings.get("data", {}).get("limits")


def _written_ns(root: Place, video: str) -> int:
    """When a file was last written or put there, which a copy that keeps times cannot hide; 0 where nobody says."""
    if isinstance(root, Path):
        with suppress(OSError):
            return (root / video).stat().st_ctime_ns
    return 0


def _read_log(path: Path) -> Iterator[tuple[str, VideoInfo, int]]:
    """Video, what was found of it, and when the looking had begun, in ns (0: not noted)."""
    if not path.is_file():
        return
    for line in path.read_bytes().split(b"\n"):
        if line[8:9] == b" " and line[:8] == b"%08x" % crc32c(line[9:]):
            row = json.loads(line[9:])
            video, began_ns = row.pop("video"), row.pop("began_ns", 0)
            yield video, VideoInfo(**row), began_ns
