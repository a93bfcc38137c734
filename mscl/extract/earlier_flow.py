"""Flow that earlier extracts of the workspace have: a video more or other labels compute nothing again.

A segment is the same where its file has the same bytes and it is the same stretch of it; the flow of one depends on
nothing else but the settings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mscl.extract.video_pass import Segment, segments_of
from mscl.stage.contract import StageRun
from storage.commits import CommitLog
from storage.errors import StorageError
from storage.flow_store import FlowSpec, StoredSegment, read_spec, read_stored_segment
from storage.frame_store import FrameReader
from storage.layout import Extracted, Ingested
from storage.record import content_of
from storage.result_folder import contents_read, is_damaged, made_with, whole_if_readable

KeyOf = Callable[[Mapping[str, str]], str]
"""Keys of inputs -> key of the extract of our settings that was made from them: it names its folder."""


@dataclass(frozen=True)
class EarlierSegment:
    """Where another extract has a segment."""

    folder: Path
    """Of that result."""
    segment: int


def earlier_segments(run: StageRun, segments: Sequence[Segment], *, key_of: KeyOf) -> dict[int, EarlierSegment]:
    """Number of a segment -> where another extract of the same settings has it, finished or not; newest first."""
    wanted: dict[tuple[object, ...], list[int]] = {}
    for number, segment in enumerate(segments):
        if segment.digest:
            wanted.setdefault(_identity(segment), []).append(number)
    found: dict[int, EarlierSegment] = {}
    for folder in _newest_first(run.folder):
        if not wanted:
            break
        with suppress(OSError, StorageError):  # another user's, damaged, or removed meanwhile: as good as none
            for number, segment in _committed(folder, run, key_of):
                for own in wanted.pop(_identity(segment), ()):
                    found[own] = EarlierSegment(folder, number)
    return found


def read_earlier(place: EarlierSegment, num_fields: int, *, to: FlowSpec) -> tuple[StoredSegment, list[bytes]] | None:
    """Flow and JPEG frames of a segment; None where they are not whole, and are to be computed."""
    result = Extracted(place.folder)
    try:
        flow = read_stored_segment(result.flow, place.segment, to=to)
        frames = FrameReader(result.frames)
        jpegs = [frames.jpeg(place.segment, index) for index in range(frames.num_frames(place.segment))]
        frames.close()
    except (OSError, StorageError):  # damaged, removed meanwhile, or of another user: as good as none
        return None
    return (flow, jpegs) if flow is not None and len(flow.chunks) == len(jpegs) == num_fields else None


def _identity(segment: Segment) -> tuple[object, ...]:
    return segment.digest, segment.first_frame, segment.num_frames, segment.height, segment.width


def _newest_first(own: Path) -> list[Path]:
    dated: list[tuple[float, Path]] = []
    for folder in own.parent.iterdir():
        with suppress(OSError):  # it was removed meanwhile
            if folder != own and folder.is_dir():
                dated.append((folder.stat().st_mtime, folder))
    return [folder for _, folder in sorted(dated, reverse=True)]


def _committed(folder: Path, run: StageRun, key_of: KeyOf) -> Iterator[tuple[int, Segment]]:
    """Segments (number, what it is) of the result in `folder` that are there, where its settings are those of `run`."""
    _, inputs = made_with(folder)
    if key_of(inputs) != folder.name or is_damaged(folder) is not False:
        return
    ingest = whole_if_readable(run.inputs["ingest"].folder.parent / inputs["ingest"])
    if ingest is None or contents_read(folder).get("ingest") != content_of(ingest.record):
        return
    result = Extracted(folder)
    grid = read_spec(result.flow).grid
    segments = segments_of(Ingested(ingest.folder).manifest(), Path())
    committed = CommitLog(result.commits).rows()
    if grid.segments == len(segments):
        for number, segment in enumerate(segments):
            if grid.place_of(number)[0] in committed:
                yield number, segment
