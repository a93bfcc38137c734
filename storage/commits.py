"""The log of committed shards: what is done, and the digest of every file of it.

One line a commit: crc32c of the row in hexadecimal, a blank, the row as JSON. Lines are only ever appended, synced one
by one. A kill can tear the last line only, and a torn line counts as not written; the next append cuts it off.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from storage.atomic import fsync_folder, write_atomic
from storage.errors import StorageError, UnreadableError
from storage.shards import crc32c

FINAL = -1
"""Row of the files that are written once all shards are there."""


@dataclass(frozen=True)
class WrittenShard:
    """What writing a shard has made: the arguments of `CommitLog.append`."""

    files: dict[str, str]
    """sha256 by path relative to the folder of the stage result."""
    info: dict[str, int | float] = field(default_factory=dict)


@dataclass(frozen=True)
class CommitRow:
    """A committed shard: `files` maps path to sha256, `info` is what the writer wished to remember."""

    shard: int
    files: dict[str, str]
    info: dict[str, Any]


class CommitLog:
    """Log file at `path`; made by the first append. One writer at a time: the holder of the result's lock."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, shard: int, files: Mapping[str, str], **info: Any) -> None:
        """Record that `shard` is complete and durable; on return the row is durable, too.

        Raises:
            StorageError: no space; the log is as it was before.
        """
        self._write({"shard": shard, "files": dict(files), "info": info})

    def forget(self, shard: int) -> None:
        """Take back the commit of `shard`, so that resuming does it again."""
        self._write({"shard": shard, "forgotten": True})

    def rows(self) -> dict[int, CommitRow]:
        """Committed shards by number; the last row of a shard counts, `damaged_lines` do not."""
        committed: dict[int, CommitRow] = {}
        for _, row in self._lines():
            if row is None:
                continue
            if row.get("forgotten"):
                committed.pop(row["shard"], None)
            else:
                committed[row["shard"]] = CommitRow(row["shard"], row["files"], row["info"])
        return committed

    @property
    def damaged_lines(self) -> list[int]:
        """Numbers, from 1, of lines that fail their checksum; a torn last line among them."""
        return [number for number, (_, row) in enumerate(self._lines(), start=1) if row is None]

    def compact(self) -> str:
        """Rewrite the log with one line a shard, by number: its bytes no longer tell the order of the work.

        Returns:
            sha256 of the file.
        """
        rows = sorted(self.rows().values(), key=lambda row: row.shard)
        lines = [_line({"shard": row.shard, "files": row.files, "info": row.info}) for row in rows]
        return write_atomic(self.path, b"".join(lines))

    def _lines(self) -> list[tuple[int, dict[str, Any] | None]]:
        """(end position in bytes, row or None where the line is damaged) of every line."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except PermissionError as error:
            raise UnreadableError(f"cannot read {self.path}: {error.strerror}; ask its owner") from error
        except OSError as error:
            raise StorageError(f"cannot read {self.path}: {error.strerror or error}") from error
        lines: list[tuple[int, dict[str, Any] | None]] = []
        position = 0
        for line in _split(content):
            position += len(line)
            lines.append((position, _parse(line)))
        return lines

    def _write(self, row: dict[str, Any]) -> None:
        line = _line(row)
        is_new = not self.path.exists()
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StorageError(f"cannot write {self.path}: {error.strerror or error}") from error
        try:
            end = _end_of_last_whole_line(descriptor)
            try:
                os.ftruncate(descriptor, end)
                written = os.pwrite(descriptor, line, end)
                if written != len(line):
                    raise OSError(0, f"{written} of {len(line)} bytes written")
                os.fsync(descriptor)
            except OSError as error:
                os.ftruncate(descriptor, end)
                raise StorageError(
                    f"cannot write {self.path}: {error.strerror or error}; free space, then run the same command again"
                ) from error
        finally:
            os.close(descriptor)
        if is_new:
            fsync_folder(self.path.parent)


def _line(row: dict[str, Any]) -> bytes:
    try:
        text = json.dumps(row, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise StorageError(f"commit of shard {row['shard']} is not plain JSON: {error}") from error
    return b"%08x %s\n" % (crc32c(text), text)


def _parse(line: bytes) -> dict[str, Any] | None:
    """The row of a line, or None where the line is torn or fails its checksum."""
    if not line.endswith(b"\n") or line[8:9] != b" " or line[:8] != b"%08x" % crc32c(line[9:-1]):
        return None
    row: dict[str, Any] = json.loads(line[9:-1])
    return row


def _end_of_last_whole_line(descriptor: int) -> int:
    """Position after the last newline: where a torn tail begins, and the next line goes."""
    end = os.fstat(descriptor).st_size
    while end > 0:
        start = max(0, end - 65536)
        block = os.pread(descriptor, end - start, start)
        newline = block.rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _split(content: bytes) -> list[bytes]:
    """Lines with their newline; only b"\\n" ends one (a flipped bit may make any other control character)."""
    pieces = content.split(b"\n")
    return [piece + b"\n" for piece in pieces[:-1]] + ([pieces[-1]] if pieces[-1] else [])
