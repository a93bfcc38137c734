"""Files of JSON lines: one object a line, added to while others read; a killed writer may leave the last one cut."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from storage.json_files import JsonObject


def append_json_line(path: Path, row: JsonObject) -> None:
    """Add one object, in one write: lines of several processes do not mix."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, json.dumps(row).encode() + b"\n")
    finally:
        os.close(descriptor)


def read_json_lines(path: Path) -> list[JsonObject]:
    """Objects of a file, in order; none without the file.

    What is no object is left out: the last line of a writer that was killed, a line that was damaged.
    """
    return list(_objects(path.read_bytes().split(b"\n"))) if path.is_file() else []


class JsonLinesFollower:
    """Reads what is added to a file, from its beginning; the file may come later, or be replaced.

    A replaced file (a resumed run writes its own anew) is read from its beginning, too.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None
        self._rest = b""

    def new_rows(self) -> Iterator[JsonObject]:
        """Objects whose lines were finished since the last call."""
        try:
            now = self.path.stat()
        except FileNotFoundError:
            return
        if self._file is None or os.fstat(self._file.fileno()).st_ino != now.st_ino:
            self.close()
            self._file, self._rest = self.path.open("rb"), b""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        yield from _objects(lines)

    def close(self) -> None:
        """Close the file, if it is open."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _objects(lines: list[bytes]) -> Iterator[JsonObject]:
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):  # no JSON, no UTF-8, a number of thousands of digits
            continue
        if isinstance(row, dict):
            yield row
