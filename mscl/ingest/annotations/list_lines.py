"""The lines of a plain list with their cells: CSV with commas, tabs or semicolons, or `path label` with blanks between.

How a list is separated is told by which reading names videos that are there.
"""

import csv
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mscl.errors import DataError
from mscl.ingest.annotations.columns import cell
from mscl.ingest.annotations.index import VideoIndex
from mscl.ingest.annotations.samples import is_number, listed_path, read_text
from mscl.ingest.annotations.trees import VIDEO_SUFFIXES

_SAMPLED_LINES = 200
_SUFFIXES = tuple(VIDEO_SUFFIXES)
NUMBER = r"[+-]?[0-9][0-9.,:]*"
"""A count, a time in seconds or as 00:01:30.5, or several numbers with commas between."""
csv.field_size_limit(1 << 24)  # a quote that is missing gives one field that is a whole file: said below, not here


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a list, and the columns that it has in some reading."""

    file: Path
    number: int
    typed: str
    cells: tuple[str, ...]

    @property
    def place(self) -> str:
        return f"{self.file}, line {self.number}"

    def refused(self, why: str) -> DataError:
        return DataError(f"{self.place}: {self.typed[:200]!r} {why}")


def is_comment(line: Line, index: VideoIndex) -> bool:
    """A line that begins with # is a video only if that is there, or looks like one that is missing."""
    if not line.typed.startswith("#") or any(is_there(cell.strip(), index) for cell in line.cells):
        return False
    path = line.cells[0].strip()
    looks = not path.startswith("# ") and path.lower().endswith(_SUFFIXES)
    return not looks or is_there(path.removeprefix("#"), index)


def read_table(file: Path, index: VideoIndex) -> list[Line]:
    """The list read as CSV with the separator that names most videos; empty where blanks separate it better."""
    text = read_text(file)
    best: list[Line] = []
    best_found, ragged, ragged_found = -1, None, 0
    for separator in "\t,;":
        lines = _csv_lines(file, text, separator) if separator in text else []
        data = sampled([line for line in lines if not line.typed.startswith("#")])
        widths = Counter(len(line.cells) for line in lines if not line.typed.startswith("#"))
        if max(widths, default=0) < 2:
            continue
        found = max(found_by_column(data, index).values(), default=0)
        if len(widths) > 1:
            usual = widths.most_common(1)[0][0]
            odd = next(line for line in lines if len(line.cells) != usual and not line.typed.startswith("#"))
            if found > ragged_found:
                ragged_found = found
                ragged = odd.refused(
                    f"has {len(odd.cells)} columns between {separator!r}, and other lines have {usual}; "
                    "put a name that holds the separator into quotes"
                )
        elif found > best_found:
            best, best_found = lines, found
    if not best and ragged is None:
        return []
    numbers = {line.number for line in sampled(best)} if best else None
    blanks = cut_at_blanks(file, index, strict=False, numbers=numbers)
    by_blanks = max(found_by_column(sampled(blanks), index).values(), default=0)
    if best and best_found >= by_blanks and (by_blanks or best_found or _looks_like_csv(best)):
        return best
    if ragged is not None and ragged_found > by_blanks:
        raise ragged
    return []


def _looks_like_csv(lines: list[Line]) -> bool:
    """Whether a list of which nothing is there is CSV: its first column looks like videos, or it has no blanks."""
    return lines[-1].cells[0].strip().lower().endswith(_SUFFIXES) or " " not in lines[-1].typed


def sampled(lines: list[Line]) -> list[Line]:
    """Some of the lines, from all over the list."""
    return lines[:: max(1, len(lines) // _SAMPLED_LINES)]


def _csv_lines(file: Path, text: str, separator: str) -> list[Line]:
    typed = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    reader = csv.reader((line + "\n" for line in typed), delimiter=separator, skipinitialspace=True)
    lines: list[Line] = []
    before = 0
    try:
        for cells in reader:
            first, before = before, reader.line_num
            if any(cell.strip() for cell in cells):
                lines.append(Line(file, first + 1, typed[first].strip(), tuple(cells)))
    except csv.Error as error:
        raise DataError(f"{file}, line {before + 1}: {typed[before][:200]!r} is not CSV: {error}") from error
    return lines


def cut_at_blanks(file: Path, index: VideoIndex, *, strict: bool = True, numbers: set[int] | None = None) -> list[Line]:
    """Lines cut between the path and the label.

    Args:
        strict: refuse a line that can be cut in two ways; else take the first.
        numbers: of the lines that are wanted; None: all.
    """
    lines = []
    typed = read_text(file).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for number, each in enumerate(typed, start=1):
        if each.strip() and (numbers is None or number in numbers):
            line = Line(file, number, each.strip(), ())
            lines.append(Line(file, number, line.typed, _cut(line, index, strict=strict)))
    return lines


def _cut(line: Line, index: VideoIndex, *, strict: bool) -> tuple[str, ...]:
    """(path, label), or (path,): cut after what names a video, else after a file type, else at a number or a blank."""
    typed = line.typed
    if typed.startswith('"') and (quoted := re.match(r'"((?:[^"]|"")+)"(?:\s+(.+))?$', typed)):
        if strict and quoted[2] and re.match(r'"[^"]+"\s', quoted[2]):
            raise line.refused("has more than a path and a label in quotes; write 'path label', or a CSV with a header")
        return quoted[1].replace('""', '"'), *([_unquoted(quoted[2].strip())] if quoted[2] else [])
    if index.exact(typed) is not None:
        return (typed,)
    ends = [match.start() for match in re.finditer(r"\s+", typed)]
    paths = [end for end in ends if index.exact(inside(typed[:end], index)) is not None]
    typed_ends = [end for end in ends if typed[:end].lower().endswith(_SUFFIXES)]
    # `a b.mp4 run` is not video `a` of class `b.mp4 run`, though `a.mp4` is there and `a b.mp4` is not.
    # Nor is `run b.mp4` video `run` of class `b.mp4`, though `run.mp4` is there.
    others = [] if typed.lower().endswith(_SUFFIXES) else ends
    paths = paths or [end for end in typed_ends or others if is_there(typed[:end], index)] or typed_ends[:1]
    if len(paths) > 1 and strict:
        raise line.refused(
            f"can be cut in {len(paths)} places, after {typed[: paths[0]]!r} and after {typed[: paths[1]]!r}, and both "
            "are videos; write a CSV with the path in quotes"
        )
    if paths:
        path, label = typed[: paths[0]], typed[paths[0] :].strip()
        if strict and re.fullmatch(rf"{NUMBER}(\s+{NUMBER})+", label):
            raise line.refused(
                "has several numbers after the path; a list of raw frames or of several labels a video cannot be used: "
                "write 'path label'"
            )
        return path, _unquoted(label)
    if not ends or typed.lower().endswith(_SUFFIXES):
        return (typed,)
    at = ends[-1] if is_number(typed[ends[-1] :].strip()) else ends[0]
    return typed[:at], typed[at:].strip()


def _unquoted(label: str) -> str:
    return label[1:-1] if len(label) > 1 and label[0] == label[-1] == '"' else label


def inside(path: str, index: VideoIndex) -> str:
    """The path as the index has it, where it is an absolute one in the root."""
    try:
        return listed_path(path, "", roots=index.roots)
    except DataError:
        return path


def is_there(path: str, index: VideoIndex) -> bool:
    """Whether a listed path names a video that is there."""
    try:
        return bool(path) and index.names(listed_path(path, "", roots=index.roots))
    except DataError:
        return False


def found_by_column(lines: list[Line], index: VideoIndex) -> dict[int, int]:
    """Column -> how many of its cells name videos, in a sample of the lines."""
    counts: dict[int, int] = {}
    for line in sampled(lines):
        for place in range(min(len(line.cells), 8)):
            counts[place] = counts.get(place, 0) + is_there(cell(line.cells, place), index)
    return counts


def cells_of(lines: list[Line]) -> list[tuple[str, ...]]:
    """The cells alone."""
    return [line.cells for line in lines]
