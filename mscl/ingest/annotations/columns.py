"""Which of several columns holds the videos, and which the classes."""

from collections.abc import Callable, Sequence

from mscl.ingest.annotations.class_names import class_spelling
from mscl.ingest.annotations.trees import VIDEO_SUFFIXES

_SUFFIXES = tuple(VIDEO_SUFFIXES)

Rows = Sequence[Sequence[str]]


def cell(row: Sequence[str], place: int) -> str:
    """A cell without outer blanks; empty where the row is shorter, or there is no such column (-1)."""
    return row[place].strip() if 0 <= place < len(row) else ""


def looks_like_videos(cells: Sequence[str]) -> bool:
    """Whether most cells end in a video's file type."""
    return 2 * sum(each.lower().endswith(_SUFFIXES) for each in cells) > len(cells)


def likest_to_videos(rows: Rows, places: Sequence[int], names: Callable[[str], bool]) -> list[int]:
    """The columns of `places` that are videos as well as any: that name some that are there, and their file types.

    A number or a word beside `a.mp4` may be the name of a video, too: the file type says which is meant.
    """
    likeness = {
        place: (any(names(cell(row, place)) for row in rows), looks_like_videos([cell(row, place) for row in rows]))
        for place in places
    }
    best = max(likeness.values(), default=None)
    return [place for place in places if likeness[place] == best]


def disagreement(rows: Rows, place: int, other: int) -> int | None:
    """The first row in which two columns are not the same classes, one to one; None: they are everywhere."""
    there: dict[str, str] = {}
    back: dict[str, str] = {}
    for number, row in enumerate(rows):
        one, two = class_spelling(cell(row, place)), class_spelling(cell(row, other))
        if there.setdefault(one, two) != two or back.setdefault(two, one) != one:
            return number
    return None
