"""Every video decoded once, in decode workers; an interrupted ingest goes on where it was.

What was found is logged, a line a video: crc32c in hexadecimal, a blank, the finding as JSON. A line that was cut or
damaged is as good as none: its video is decoded again.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from mscl.devices import cores
from mscl.ingest.annotations import Annotations
from mscl.ingest.annotations.index import is_text
from mscl.ingest.places import dataset_root, file_sizes
from mscl.stage.contract import StageRun
from mscl.video.decode_pool import inspect_many
from mscl.video.video_info import VideoInfo
from storage.manifest import USABLE_VERDICTS
from storage.shards import crc32c

_LOG_NAME = ".inspected.log"  # hidden: work to resume from, not part of the result
_MIN_SIDE_PX = 16  # smaller pictures hold no flow
_NAME_REASON = "its name is not UTF-8; rename it, for example with `convmv -f latin1 -t utf8 --notest`"


def inspect_videos(run: StageRun, annotations: Annotations) -> dict[str, VideoInfo]:
    """What decoding found of each video, by its relative path."""
    root, log = dataset_root(run.config), run.folder / _LOG_NAME
    videos = [sample.video for sample in annotations.samples]
    sizes_bytes = {video: max(0, size) for video, size in file_sizes(root, videos).items()}
    infos = {video: info for video, info in _read_log(log) if info.size_bytes == sizes_bytes.get(video, 0)}
    for video in videos:
        if not is_text(video):
            infos[video] = VideoInfo("unreadable", _NAME_REASON, size_bytes=sizes_bytes[video])
    todo = [video for video in videos if video not in infos]
    run.progress.start("Looking at videos", len(todo), "videos")
    bad = 0
    with log.open("ab") as out:
        out.write(b"\n")  # what a kill left of a line stays a line of its own

        def keep(index: int, info: VideoInfo) -> None:
            nonlocal bad
            infos[todo[index]] = info
            text = json.dumps({"video": todo[index], **asdict(info)}).encode()
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


def _read_log(path: Path) -> Iterator[tuple[str, VideoInfo]]:
    if not path.is_file():
        return
    for line in path.read_bytes().split(b"\n"):
        if line[8:9] == b" " and line[:8] == b"%08x" % crc32c(line[9:]):
            row = json.loads(line[9:])
            yield row.pop("video"), VideoInfo(**row)
