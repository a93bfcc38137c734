"""Finding what is damaged in a result, and taking back the commits of just that in the result of extraction.

Every file is compared with the digest in the commit log, every field and frame is decoded. What is found is named by
file, shard, segment and field; `take_back` then makes the next run of extraction redo the damaged shards and nothing
else.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import simplejpeg
from numcodecs import zstd

from storage.atomic import digest_file
from storage.commits import FINAL, CommitLog, CommitRow
from storage.errors import DamagedError, StorageError
from storage.flow_store.spec import FlowSpec, read_spec, shard_key
from storage.flow_store.writer import read_preamble
from storage.frame_store import FrameSpec, frame_shard_key, read_frame_spec
from storage.layout import COMMITS_NAME, FLOW_NAME, FRAMES_NAME
from storage.record import RECORD_NAME, Record, content_of, read_record
from storage.result_folder import Result
from storage.shards import Scratch, ShardFile, without_crc32c
from storage.user_paths import in_workspace

Depth = Literal["index", "digests", "chunks"]
"""What is read of a committed shard. `index`: its end, which tells a truncated, empty or missing file, as after a
restored backup; `digests`: all of it; `chunks`: every field and frame is decoded, too, which names single segments."""
Spec = TypeVar("Spec")


@dataclass(frozen=True)
class Damage:
    """One thing that is wrong."""

    file: str
    """Path relative to the result's folder."""
    shard: int | None
    """None: not part of a shard (metadata, tables, the log)."""
    segments: tuple[int, ...]
    """Segments whose data cannot be trusted; empty where the data of none is concerned."""
    what: str

    @property
    def segments_text(self) -> str:
        """Numbers of the segments, a row of them as first-last; "" for none."""
        if len(self.segments) > 1 and self.segments == tuple(range(self.segments[0], self.segments[-1] + 1)):
            return f"{self.segments[0]}-{self.segments[-1]}"
        return ", ".join(map(str, self.segments))

    def __str__(self) -> str:
        place = "" if self.shard is None else f" (shard {self.shard}, segments {self.segments_text or 'none'})"
        return f"{self.file}{place}: {self.what}"


def verify_result(
    folder: Path, record: Record, *, in_shards: bool = False, advance: Callable[[int], None] | None = None
) -> list[Damage]:
    """All damage in a finished result, file by file.

    Args:
        in_shards: the result holds a flow store, a frame store and their commit log: these are looked at by
            `verify_extract`, shard by shard.
        advance: called with the number of files that were checked, for a progress bar.
    """
    tell = advance or (lambda _: None)
    found: list[Damage] = []
    covered: set[str] = set()
    if in_shards:
        found = verify_extract(folder, advance=lambda: tell(2))
        covered = {file for row in CommitLog(folder / COMMITS_NAME).rows().values() for file in row.files}
    named = {damage.file for damage in found}
    for file in record.files:
        if file.path in covered:
            continue
        tell(1)
        what = _differs(folder / file.path, file.digest)
        if what and file.path not in named:
            found.append(Damage(file.path, None, (), what))
    return found


def refuse_changed(*results: Result) -> None:
    """Compare the files of results that have no checksums of their own, before something is computed from them.

    Shards of flow and frames have, and are left out: reading all of them would take minutes.

    Raises:
        DamagedError: one is not as it was written.
        StorageError: a result is not there any more.
    """
    for result in results:
        _refuse_changed(result)


def _refuse_changed(result: Result) -> None:
    folder, record = result.folder, result.record
    there = read_record(folder)
    made_again = there is not None and content_of(there) != content_of(record)
    if made_again or not (folder / RECORD_NAME).exists():
        raise StorageError(
            f"{record.stage} {record.key} in {folder.parents[1]} was removed, or is made again, since it was found; "
            "run the same command again"
        )
    rows = CommitLog(folder / COMMITS_NAME).rows()
    in_shards = {file for row in rows.values() if row.shard != FINAL for file in row.files}
    for file in record.files:
        what = "" if file.path in in_shards else _differs(folder / file.path, file.digest)
        if what:
            raise DamagedError(
                f"{record.stage} {record.key} is damaged: {file.path}: {what}; "
                f"`mscl verify {record.key} --repair{in_workspace(folder.parents[1])}` makes it again"
            )


def verify_extract(folder: Path, *, depth: Depth = "chunks", advance: Callable[[], None] | None = None) -> list[Damage]:
    """All damage in the result of extraction in `folder`, as far as `depth` looks.

    Args:
        advance: called once a shard, for a progress bar.
    """
    found: list[Damage] = []
    log = CommitLog(folder / COMMITS_NAME)
    for line in log.damaged_lines:
        found.append(Damage(COMMITS_NAME, None, (), f"line {line} fails its checksum"))
    rows = log.rows()
    flow_spec = _read_or_report(lambda: read_spec(folder / FLOW_NAME), f"{FLOW_NAME}/zarr.json", found)
    frame_spec = _read_or_report(lambda: read_frame_spec(folder / FRAMES_NAME), f"{FRAMES_NAME}/frames.json", found)
    if FINAL in rows and depth != "index":
        found += _compare_digests(folder, rows[FINAL], shard=None, segments=())
    elif FINAL not in rows:
        found.append(Damage(COMMITS_NAME, None, (), "extraction is not complete: its last commit is missing"))
    num_shards = max((shard + 1 for shard in rows), default=0)
    if flow_spec is not None:
        num_shards = flow_spec.grid.num_shards
    for shard in range(num_shards):
        segments = () if flow_spec is None else tuple(flow_spec.grid.segments_of(shard))
        if shard not in rows:
            found.append(Damage(COMMITS_NAME, shard, segments, "this shard is not committed"))
        else:
            found += _verify_shard(folder, rows[shard], flow_spec, frame_spec, depth)
        if advance is not None:
            advance()
    return found


def damaged_shards(found: Iterable[Damage]) -> list[int]:
    """Shards to do again, ascending."""
    return sorted({damage.shard for damage in found if damage.shard is not None})


def take_back(folder: Path, found: Iterable[Damage]) -> list[int]:
    """Take back the commits of what is damaged, so that running extraction again mends it; returns the shards.

    Metadata and tables are cheap: their commit is taken back whatever was found, if anything was.
    The caller holds the lock of the result.
    """
    found = list(found)
    if not found:
        return []
    log = CommitLog(folder / COMMITS_NAME)
    rows = log.rows()
    shards = damaged_shards(found)
    for shard in (*shards, FINAL):
        if shard in rows:
            log.forget(shard)
    log.compact()
    return shards


def _read_or_report(read: Callable[[], Spec], file: str, found: list[Damage]) -> Spec | None:
    try:
        return read()
    except DamagedError as error:
        found.append(Damage(file, None, (), str(error)))
        return None


def torn_shards(folder: Path, flow_spec: FlowSpec, frame_spec: FrameSpec) -> list[Damage]:
    """Committed shards that are truncated, empty or missing: what resuming must not build upon. Reads their ends."""
    rows = CommitLog(folder / COMMITS_NAME).rows()
    return [
        damage
        for row in rows.values()
        if 0 <= row.shard < flow_spec.grid.num_shards
        for damage in _verify_shard(folder, row, flow_spec, frame_spec, "index")
    ]


def changed_shards(folder: Path) -> list[Damage]:
    """Committed shards of any result in `folder` whose files are missing or not as they were written. Reads them."""
    rows = CommitLog(folder / COMMITS_NAME).rows()
    return [damage for row in rows.values() for damage in _compare_digests(folder, row, shard=row.shard, segments=())]


def _verify_shard(
    folder: Path, row: CommitRow, flow_spec: FlowSpec | None, frame_spec: FrameSpec | None, depth: Depth
) -> list[Damage]:
    """Damage of one committed shard; a file is named once per kind of damage."""
    shard = row.shard
    flow_file, frame_file = f"{FLOW_NAME}/{shard_key(shard)}", f"{FRAMES_NAME}/{frame_shard_key(shard)}"
    segments = () if flow_spec is None else tuple(flow_spec.grid.segments_of(shard))
    differing = [] if depth == "index" else _compare_digests(folder, row, shard=shard, segments=segments)
    by_digest = {damage.file: damage for damage in differing}
    for file in (flow_file, frame_file):
        if file not in row.files:
            by_digest[file] = Damage(file, shard, segments, "the commit does not name this file")
    found: list[Damage] = []
    checks: list[tuple[str, Callable[[], Iterator[tuple[int, str]]]]] = []
    if flow_spec is not None and (depth != "digests" or flow_file in by_digest):
        flow_check = _opens if depth == "index" else _flow_chunks
        checks.append((flow_file, lambda: flow_check(folder / flow_file, flow_spec, shard)))
    if frame_spec is not None and (depth != "digests" or frame_file in by_digest):
        frame_check = _opens if depth == "index" else _frame_chunks
        checks.append((frame_file, lambda: frame_check(folder / frame_file, frame_spec, shard)))
    for file, check in checks:
        try:
            bad = list(check())
        except DamagedError as error:
            found.append(Damage(file, shard, segments, str(error)))
            by_digest.pop(file, None)
            continue
        if bad:
            more = f", and {len(bad) - 1} more like it" if len(bad) > 1 else ""
            found.append(Damage(file, shard, tuple(dict.fromkeys(segment for segment, _ in bad)), bad[0][1] + more))
            by_digest.pop(file, None)
    return found + list(by_digest.values())


def _compare_digests(folder: Path, row: CommitRow, *, shard: int | None, segments: tuple[int, ...]) -> list[Damage]:
    differing = ((file, _differs(folder / file, stored)) for file, stored in row.files.items())
    return [Damage(file, shard, segments, what) for file, what in differing if what]


def _differs(path: Path, stored: str) -> str:
    """How the file's content differs from the one whose sha256 is `stored`; "" where it does not."""
    try:
        computed = digest_file(path)
    except DamagedError as error:
        return str(error)
    return f"digest {computed[:12]}, was {stored[:12]} when written" if computed != stored else ""


def _opens(path: Path, spec: FlowSpec | FrameSpec, shard: int) -> Iterator[tuple[int, str]]:
    """Nothing, or DamagedError where the file is not as long as its index says."""
    ShardFile(path, spec.grid.num_chunks).close()
    return iter(())


def _flow_chunks(path: Path, spec: FlowSpec, shard: int) -> Iterator[tuple[int, str]]:
    """(segment, what) of every field that is not as it was written."""
    file = ShardFile(path, spec.grid.num_chunks)
    try:
        num_fields = read_preamble(file)["num_fields"]
        codes_2HW = np.empty(spec.block_shape, spec.codes.numpy_dtype)
        scratch = Scratch()
        for local, segment in enumerate(spec.grid.segments_of(shard)):
            first = local * spec.max_fields
            count = int(num_fields[local])
            if int(file.stored[first : first + spec.max_fields].sum()) != count:
                yield segment, f"the shard promises {count} fields of segment {segment} and holds another number"
            for index in range(count):
                try:
                    zstd.decompress(file.read_chunks([first + index], scratch)[0], codes_2HW)
                except (DamagedError, RuntimeError, ValueError) as error:
                    yield segment, f"field {index} of segment {segment}: {error}"
    finally:
        file.close()


def _frame_chunks(path: Path, spec: FrameSpec, shard: int) -> Iterator[tuple[int, str]]:
    """(segment, what) of every frame that is not as it was written."""
    file = ShardFile(path, spec.grid.num_chunks)
    try:
        scratch = Scratch()
        for local, segment in enumerate(spec.grid.segments_of(shard)):
            first = local * spec.max_frames
            for index in range(int(file.stored[first : first + spec.max_frames].sum())):
                what = _frame_damage(file, first + index, scratch, where=f"frame {index} of segment {segment}")
                if what:
                    yield segment, what
    finally:
        file.close()


def _frame_damage(file: ShardFile, chunk: int, scratch: Scratch, *, where: str) -> str:
    """How a frame is not as it was written, with `where` it is; "" where it is."""
    try:
        stored = file.read_chunks([chunk], scratch)[0]
    except DamagedError as error:
        return f"{where}: {error}"
    try:
        jpeg = without_crc32c(stored, where=where)
    except DamagedError as error:
        return str(error)
    try:
        simplejpeg.decode_jpeg(jpeg)
    except ValueError as error:
        return f"{where}: {error}"
    return ""
