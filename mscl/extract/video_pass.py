"""One pass through a video, handed out segment by segment; whoever decodes what ingest saw decodes it so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mscl.errors import DataError
from mscl.video.config import DecodeLimits
from mscl.video.decoding import decode
from mscl.video.opening import VideoError
from mscl.video.places import Place, at_hand
from storage.atomic import digest_file
from storage.manifest import USABLE_VERDICTS

if TYPE_CHECKING:
    from storage.manifest import Manifest

Frame = NDArray[np.uint8]
_TIMES_LONGER = 10
"""What ingest decoded within its limit may take so many times longer: pictures are made of all frames, and flow shares
the cores. With a higher limit every video would be another, and all that is done would be done again."""


@dataclass(frozen=True)
class Segment:
    """A stretch of one video, as the manifest has it; sizes are those of the displayed picture."""

    path: Place
    first_frame: int
    num_frames: int
    height: int
    width: int
    size_bytes: int
    video: str = ""
    """Path relative to the dataset's root."""
    video_frames: int = 0
    """Of the whole video."""
    digest: str = ""
    """sha256 of the video file; empty: not known."""


class VideoPass:
    """The frames of a video, in order, at `short_side_px` or the video's own size where that is smaller.

    Args:
        file: what is decoded, `segment.path` or where that was fetched to.

    Raises:
        DataError: the video is no longer what ingest saw.
    """

    def __init__(self, segment: Segment, file: Path, *, limits: DecodeLimits, short_side_px: int) -> None:
        self._path = segment.path
        size = file.stat().st_size if file.exists() else 0
        if size != segment.size_bytes:
            raise _changed(segment, size)
        if segment.digest and digest_file(file) != segment.digest:
            raise DataError(
                f"{segment.path} is not the file that was ingested, though it has the same size; run ingest again "
                "(--force ingest), or bring the old file back"
            )
        try:
            longer = limits.model_copy(update={"timeout_seconds": _TIMES_LONGER * limits.timeout_seconds})
            self._decoding = decode(file, limits=longer, short_side=short_side_px)
        except VideoError as error:
            raise _cannot_open(segment, error) from error
        self._frames = iter(self._decoding)
        self._position = 0

    def continues_with(self, segment: Segment) -> bool:
        """Whether the segment lies ahead in this pass."""
        return segment.path == self._path and segment.first_frame >= self._position

    def frames_of(self, segment: Segment) -> Iterator[Frame]:
        """The frames of the segment."""
        end = segment.first_frame + segment.num_frames
        while self._position < end:
            frame = next(self._frames, None)
            if frame is None:
                why = f" ({self._decoding.reason})" if self._decoding.reason else ""
                advice = "run ingest again (--force ingest)"
                if self._decoding.verdict == "timeout":
                    advice = "run the same command again when this machine has less to do; what is done is kept"
                raise DataError(
                    f"{self._path} gives {self._position} frames{why}, and gave {end} when it was ingested; {advice}"
                )
            self._position += 1
            if self._position > segment.first_frame:
                yield frame


def passes(
    segments: Sequence[Segment], *, limits: DecodeLimits, short_side_px: int
) -> Iterator[tuple[Segment, Iterator[Frame]]]:
    """Each segment and its frames, to be read before the next is asked for: one pass serves segments in a row.

    Raises:
        DataError: a video is no longer what ingest saw.
    """
    video: VideoPass | None = None
    with ExitStack() as held:
        for segment in segments:
            if video is None or not video.continues_with(segment):
                held.close()
                try:
                    file = held.enter_context(at_hand(segment.path, limits=limits))
                except FileNotFoundError:
                    raise _changed(segment, 0) from None
                except (PermissionError, VideoError) as error:
                    raise _cannot_open(segment, error) from error
                video = VideoPass(segment, file, limits=limits, short_side_px=short_side_px)
            yield segment, video.frames_of(segment)


def _cannot_open(segment: Segment, error: Exception) -> DataError:
    return DataError(f"{segment.path} cannot be opened any more: {error}; run ingest again (--force ingest)")


def _changed(segment: Segment, size_bytes: int) -> DataError:
    if not size_bytes:
        return DataError(
            f"{segment.path} is gone or empty, and had {segment.size_bytes} bytes when it was ingested; bring it back, "
            "or run ingest again (--force ingest)"
        )
    return DataError(
        f"{segment.path} has {size_bytes} bytes, and had {segment.size_bytes} when it was ingested; "
        "run ingest again (--force ingest), or bring the old file back"
    )


def segments_of(manifest: Manifest, root: Place) -> list[Segment]:
    """The usable segments of a whole manifest, whose videos lie under `root`."""
    rows = list(manifest.rows())
    video_frames: dict[str, int] = {}
    for row in rows:
        video_frames[row.video] = max(video_frames.get(row.video, 0), row.first_frame + row.num_frames)
    return [
        Segment(
            root / row.video, row.first_frame, row.num_frames, row.height, row.width, row.size_bytes, row.video,
            video_frames[row.video], row.digest,
        )
        for row in rows
        if row.verdict in USABLE_VERDICTS
    ]  # fmt: skip
