"""The header of a plain list, and which of its columns are the video, the class and the split."""

import re
from pathlib import PurePath

from mscl.ingest.annotations.columns import cell, disagreement, likest_to_videos
from mscl.ingest.annotations.index import VideoIndex
from mscl.ingest.annotations.list_lines import Line, cells_of, found_by_column, inside, is_there, sampled
from mscl.ingest.annotations.split_names import is_split_cell, split_of_cell
from mscl.ingest.annotations.trees import VIDEO_SUFFIXES

_PATH_COLUMNS = frozenset((
    "video", "videos", "path", "file", "filename", "file_name", "filepath", "file_path", "name", "clip", "video_path",
    "video_name", "video_file", "video_id", "videoname", "videopath", "vid", "vid_name", "clip_path", "clip_name", "id",
    "youtube_id",
))  # fmt: skip
_NAME_COLUMNS = ("class_name", "classname", "label_name", "class", "category", "action", "activity", "tag")
LABEL_COLUMNS = frozenset((
    *_NAME_COLUMNS, "label", "labels", "target", "class_id", "label_id", "class_label", "label_idx", "class_idx",
    "class_index", "y",
))  # fmt: skip
_SPLIT_COLUMNS = frozenset(("split", "subset", "set", "partition", "usage", "fold"))
NUMBER_OR_NOTHING = re.compile(
    r"[+-]?[0-9]{1,9}(\.[0-9]*)?(e[+-]?[0-9]+)?|nan|none|null|n/a|na|unknown|\?", re.IGNORECASE
)
_SUFFIXES = tuple(VIDEO_SUFFIXES)


def column_word(name: str) -> str:
    """The name of a column in small letters, with _ for blanks."""
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def is_header(lines: list[Line], index: VideoIndex) -> bool:
    """Whether the first line names columns: in known words, or no video where each other line names one."""
    first, rest = lines[0], lines[1:]
    words = list(map(column_word, first.cells))
    if any(is_there(cell.strip(), index) for cell in first.cells):
        return False
    known = _PATH_COLUMNS | LABEL_COLUMNS | _SPLIT_COLUMNS
    if sum(word in known for word in words) >= min(2, len(words)) and any(word in _PATH_COLUMNS for word in words):
        return True
    if not rest or len(first.cells) < 2 or any(word.endswith(_SUFFIXES) for word in words):
        return False
    some = sampled(rest)
    if any(word in LABEL_COLUMNS for word in words) and max(found_by_column(some, index).values()) == len(some):
        return True
    if all(any(cell.strip().lower().endswith(_SUFFIXES) for cell in line.cells) for line in rest):
        return True
    return all(NUMBER_OR_NOTHING.fullmatch(line.cells[-1].strip()) for line in rest) and not (
        NUMBER_OR_NOTHING.fullmatch(words[-1])
    )


def columns_of(header: list[str], lines: list[Line], index: VideoIndex) -> tuple[int, int, int]:
    """Places of the path, the label and the split; -1 for what there is not."""
    width = max((len(line.cells) for line in lines), default=0)
    paths, labels, splits = (
        [place for place, word in enumerate(header) if word in words]
        for words in (_PATH_COLUMNS, LABEL_COLUMNS, _SPLIT_COLUMNS)
    )
    if paths:
        path_at, label_at = _path_column(paths, header, lines, index), _label_column(labels, header, lines)
        split_at = _split_column(splits, header, lines)
        if label_at < 0 and width == 2 and path_at + split_at != 1:
            label_at = 1 - path_at
        if label_at < 0 and split_at >= 0 and lines:
            raise lines[0].refused(
                "has a split and no class: the header names none; write the header path,label,split, or a list of "
                "paths alone"
            )
        return path_at, label_at, split_at
    counted = [place for place in range(width) if width > 2 and _counts_lines(lines, place)]  # as pandas writes them
    empty = [place for place in range(2, width) if not any(line.cells[place].strip() for line in lines)]
    places = [place for place in range(width) if place not in (*counted, *empty)]
    others = places
    places = likest_to_videos(cells_of(sampled(lines)), places, lambda path: is_there(path, index))
    found = found_by_column(lines, index)
    path_at = max(places, key=lambda place: found.get(place, 0), default=0)
    if places and 2 * found.get(places[0], 0) >= found.get(path_at, 0):
        path_at = places[0]
    others = [place for place in others if place != path_at]
    if len(others) > 1:
        raise lines[0].refused(
            f"has {width} columns, and there is no header that says which is the label; write 'path,label' lines, or a "
            "header with path and label"
        )
    return path_at, others[0] if others else -1, -1


def _path_column(places: list[int], header: list[str], lines: list[Line], index: VideoIndex) -> int:
    """Of the columns that are called as videos are, the one that holds them; `id` only if no other does.

    Raises:
        DataError: two of them name different videos.
    """
    rows = cells_of(sampled(lines))
    fitting = likest_to_videos(rows, places, lambda path: is_there(path, index))
    fitting = [place for place in fitting if header[place] != "id"] or fitting
    found = {
        place: (
            sum(is_there(cell(row, place), index) for row in rows),
            sum(index.exact(inside(cell(row, place), index)) is not None for row in rows),
        )
        for place in fitting
    }
    chosen = max(fitting, key=lambda place: found[place])
    for other in fitting:
        if found[other] != found[chosen] or not any(found[chosen]):
            continue
        for line in lines:
            one, two = (cell(line.cells, place) for place in (chosen, other))
            if PurePath(one).stem.lower() != PurePath(two).stem.lower():
                raise line.refused(
                    f"names two videos, {one!r} as {header[chosen]!r} and {two!r} as {header[other]!r}; take one of "
                    "these columns out"
                )
    return chosen


def _label_column(places: list[int], header: list[str], lines: list[Line]) -> int:
    """Of the columns that are called as classes are, the first with names, else the first; -1 where there is none.

    Raises:
        DataError: another of them says other classes.
    """
    rows = cells_of(lines)
    places = [place for place in places if any(cell(row, place) for row in rows)] or places
    filled = {place: [each for row in rows if (each := cell(row, place))] for place in places}
    names = [place for place in places if not all(map(NUMBER_OR_NOTHING.fullmatch, filled[place]))]
    telling = names or places
    chosen = next((place for place in telling if header[place] in _NAME_COLUMNS), next(iter(telling), -1))
    for other in places:
        odd = disagreement(rows, chosen, other)
        if odd is not None:
            raise lines[odd].refused(
                f"has {cell(rows[odd], chosen)!r} as {header[chosen]!r} and {cell(rows[odd], other)!r} as "
                f"{header[other]!r}, and other lines put these together in another way; take one of these columns out"
            )
    return chosen


def _split_column(places: list[int], header: list[str], lines: list[Line]) -> int:
    """Of the columns that are called as splits are, the one that says them; -1 where there is none.

    Raises:
        DataError: another of them says other splits.
    """
    telling = [place for place in places if any(is_split_cell(cell(line.cells, place)) for line in lines)]
    for other in telling[1:]:
        for line in lines:
            one, two = (cell(line.cells, place) for place in (telling[0], other))
            if split_of_cell(one) != split_of_cell(two):
                raise line.refused(
                    f"has the split {one!r} as {header[telling[0]]!r} and {two!r} as {header[other]!r}; take one of "
                    "these columns out"
                )
    return next(iter(telling or places), -1)


def _counts_lines(lines: list[Line], place: int) -> bool:
    return all(line.cells[place].strip() == str(number) for number, line in enumerate(lines[:20]))
