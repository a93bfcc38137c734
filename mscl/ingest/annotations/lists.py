"""Plain lists, a line a video: `path label` with blanks between, or CSV with commas, tabs or semicolons.

What can be read in two ways is refused with the line as it was typed; what was guessed is noted.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from mscl.errors import DataError
from mscl.ingest.annotations.class_names import class_spelling, read_class_names
from mscl.ingest.annotations.columns import cell, disagreement, likest_to_videos
from mscl.ingest.annotations.index import VideoIndex, one_spelling
from mscl.ingest.annotations.list_lines import (
    Line,
    cells_of,
    cut_at_blanks,
    found_by_column,
    inside,
    is_comment,
    is_there,
    read_table,
    sampled,
)
from mscl.ingest.annotations.samples import ListedVideo, Listing, Split, is_number, listed_path
from mscl.ingest.annotations.split_names import is_split_cell, is_split_column, split_of_list, split_of_name
from mscl.ingest.annotations.trees import VIDEO_SUFFIXES

_PATH_COLUMNS = frozenset((
    "video", "videos", "path", "file", "filename", "file_name", "filepath", "file_path", "name", "clip", "video_path",
    "video_name", "video_file", "video_id", "videoname", "videopath", "vid", "vid_name", "clip_path", "clip_name", "id",
))  # fmt: skip
_LABEL_COLUMNS = frozenset((
    "label", "labels", "class", "class_name", "classname", "category", "action", "activity", "target", "class_id",
    "label_id", "label_name", "class_label", "label_idx", "class_idx", "class_index", "y", "tag",
))  # fmt: skip
_SPLIT_COLUMNS = frozenset(("split", "subset", "set", "partition", "usage", "fold"))
_NUMBER_OR_NOTHING = re.compile(
    r"[+-]?[0-9]{1,9}(\.[0-9]*)?(e[+-]?[0-9]+)?|nan|none|null|n/a|na|unknown|\?", re.IGNORECASE
)
_SUFFIXES = tuple(VIDEO_SUFFIXES)


@dataclass(frozen=True, slots=True)
class _Entry:
    line: Line
    path: str
    label: str
    split: Split | None = None


def read_list(files: list[Path], names: Path | None, index: VideoIndex) -> Listing:
    """Lists of one dataset; a label is a name, or a number of a class in `names` where that is there.

    Every line of the dataset has a label, or none has: then the videos are unlabelled.

    Raises:
        DataError: a line that can be read in several ways, that has no label while others have one, or a label that
            `names` does not have; with the line.
    """
    notes: list[str] = []
    of_file = {file: list(_entries(file, index, notes)) for file in files}
    entries = [entry for each in of_file.values() for entry in each]
    if not entries:
        raise DataError(
            f"{', '.join(map(str, files))}: there is no line that names a video; write 'path label' in each"
        )
    typed = {entry.label for entry in entries}
    if merged := len(typed) - len(set(map(class_spelling, typed))):
        notes.append(f"{merged} labels differ from others in blanks alone: they are the same classes")
    entries = [replace(entry, label=class_spelling(entry.label)) for entry in entries]
    rows: list[ListedVideo] = []
    unlabelled = next((entry for entry in entries if not entry.label), None)
    if unlabelled is not None and any(entry.label for entry in entries):
        raise unlabelled.line.refused("has no label and other lines have one; write 'path label' in each line")
    shown, order = ({}, []) if unlabelled is not None else _classes(entries, names, notes)
    splits: list[Split] = _splits(of_file) if unlabelled is None else ["unlabelled"] * len(entries)
    for entry, split in zip(entries, splits, strict=True):
        source = f"{entry.line.place}: {entry.line.typed[:200]!r}"
        name = shown[entry.label] if unlabelled is None else None
        rows.append(ListedVideo((entry.path,), name, split, source=source))
    read = {file: Counter[str]() for file in files}
    for entry, row in zip(entries, rows, strict=True):
        read[entry.line.file][row.split] += 1
    return Listing(rows, order, notes, read={file: _parts(counts) for file, counts in read.items()})


def _splits(of_file: dict[Path, list[_Entry]]) -> list[Split]:
    """The split of each line: by its column, else by its list's name; train where nothing says any.

    Raises:
        DataError: a line of which nothing says the split, while others have one; a name that speaks of several.
    """
    splits: list[Split | None] = []
    untold: Line | None = None
    for file, entries in of_file.items():
        in_cells = all(entry.split for entry in entries)
        of_list = None if in_cells else split_of_list(file, of_file)
        splits += [entry.split or of_list for entry in entries]
        if untold is None and of_list is None:
            untold = next((entry.line for entry in entries if entry.split is None), None)
    if untold is not None and any(splits):
        raise untold.refused(
            "is of no split: neither a column 'split' nor the list's name says train, val or test, and others have "
            "one; name the list after its split, as in test.csv, or fill in a column 'split'"
        )
    return [split or "train" for split in splits]


def _parts(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {split}" for split, count in counts.items()) or "no video"


def _classes(entries: list[_Entry], names: Path | None, notes: list[str]) -> tuple[dict[str, str], list[str]]:
    """What each label is called, and the names in label order."""
    labels = {entry.label for entry in entries}
    whole = {label: label.removesuffix(".0") for label in labels}  # a column of numbers as pandas writes it
    odd = next((entry for entry in entries if not is_number(whole[entry.label])), None)
    if odd is not None and all(_NUMBER_OR_NOTHING.fullmatch(label) for label in labels):
        raise odd.line.refused(
            f"has label {odd.label}, and labels here are numbers, which count classes from 0 up; take the line out if "
            "nobody knows its class (what -1 and nan mostly mean), or write names in place of numbers"
        )
    if odd is not None:
        for file in dict.fromkeys(entry.line.file for entry in entries):
            if all(is_number(entry.label) for entry in entries if entry.line.file == file):
                raise DataError(
                    f"the labels of {file} are numbers, and those of other lists beside it are names; "
                    "write them in one way, or give one list as data.annotations"
                )
        return {label: label for label in labels}, sorted(labels)
    if names is None:
        shown = {label: str(int(number)) for label, number in whole.items()}
        return shown, sorted(set(shown.values()), key=int)
    known = read_class_names(names, notes)
    unknown = next((entry for entry in entries if int(whole[entry.label]) not in known), None)
    if unknown is not None:
        raise unknown.line.refused(
            f"has label {unknown.label}, which is none of the {len(known)} numbers, {min(known)} to {max(known)}, that "
            f"{names} gives its classes"
        )
    if list(known) != list(range(len(known))) or "0" not in whole.values():
        notes.append(
            f"labels are the numbers that {names.name} gives its classes, {min(known)} to {max(known)}: "
            f"{min(known)} is {known[min(known)]!r}"
        )
    return {label: known[int(number)] for label, number in whole.items()}, list(known.values())


def _entries(file: Path, index: VideoIndex, notes: list[str]) -> Iterator[_Entry]:
    table = read_table(file, index)
    lines = table or cut_at_blanks(file, index)
    comments = [line for line in lines if is_comment(line, index)]
    if comments:
        notes.append(f"{len(comments)} lines of {file.name} that begin with # are taken as comments")
        lines = [line for line in lines if line not in comments]
    header: list[str] = []
    if lines and _is_header(lines, index):
        notes.append(f"the first line of {file.name} is taken as a header: {lines[0].typed!r}")
        header, lines = [cell.strip().lower() for cell in lines[0].cells], lines[1:]
    path_at, label_at, split_at = _columns(header, lines, index)
    if not table:
        _refuse_splits_in_labels(lines)
    spare = [place for place, word in enumerate(header) if word and place not in (path_at, label_at, split_at)]
    if split_at < 0:
        _refuse_unknown_splits(header, spare, lines)
    if spare:
        notes.append(f"columns of {file.name} that are not used: {', '.join(header[place] for place in spare)}")
    for line in lines:
        path = line.cells[path_at].strip() if path_at < len(line.cells) else ""
        label = one_spelling(line.cells[label_at].strip()) if 0 <= label_at < len(line.cells) else ""
        if not path:
            raise line.refused("names no video")
        if "\n" in path or "\n" in label:
            raise line.refused("begins a quoted field that goes over several lines; is a quote missing?")
        split = None
        if 0 <= split_at < len(line.cells) and (word := line.cells[split_at].strip()):
            split = split_of_name(word)
            if split is None:
                raise line.refused(f"has the split {word!r}, which is none of train, val, test")
        yield _Entry(line, listed_path(path, line.place, roots=index.roots), label, split)


def _refuse_splits_in_labels(lines: list[Line]) -> None:
    """Refuse `path label split` lines: with blanks between, a label is all that follows the path."""
    labels = [line.cells[1].split() for line in lines if len(line.cells) > 1]
    if labels and any(all(len(words) > 1 and is_split_cell(words[end]) for words in labels) for end in (0, -1)):
        raise lines[0].refused(
            "has a label and a split after the path, and a list with blanks has a label alone; write a CSV with the "
            "header path,label,split"
        )


def _refuse_unknown_splits(header: list[str], spare: list[int], lines: list[Line]) -> None:
    """Refuse a column that seems to say the split, in a list where none is called so."""
    for place in spare:
        cells = [line.cells[place] for line in lines if place < len(line.cells) and line.cells[place].strip()]
        if is_split_column(header[place]) or (cells and all(map(is_split_cell, cells))):
            raise lines[0].refused(
                f"has a column {header[place]!r}, which seems to say the split: if it does, call it 'split' and write "
                "train, val or test into it, else take it out"
            )


def _is_header(lines: list[Line], index: VideoIndex) -> bool:
    """Whether the first line names columns: in known words, or no video where each other line names one."""
    first, rest = lines[0], lines[1:]
    words = [cell.strip().lower() for cell in first.cells]
    if any(is_there(cell.strip(), index) for cell in first.cells):
        return False
    known = _PATH_COLUMNS | _LABEL_COLUMNS | _SPLIT_COLUMNS
    if sum(word in known for word in words) >= min(2, len(words)) and any(word in _PATH_COLUMNS for word in words):
        return True
    if not rest or len(first.cells) < 2 or any(word.endswith(_SUFFIXES) for word in words):
        return False
    if all(any(cell.strip().lower().endswith(_SUFFIXES) for cell in line.cells) for line in rest):
        return True
    return all(is_number(line.cells[-1].strip()) for line in rest) and not is_number(words[-1])


def _columns(header: list[str], lines: list[Line], index: VideoIndex) -> tuple[int, int, int]:
    """Places of the path, the label and the split; -1 for what there is not."""
    width = max((len(line.cells) for line in lines), default=0)
    paths, labels, splits = (
        [place for place, word in enumerate(header) if word in words]
        for words in (_PATH_COLUMNS, _LABEL_COLUMNS, _SPLIT_COLUMNS)
    )
    if paths:
        path_at, label_at = _path_column(paths, header, lines, index), _label_column(labels, header, lines)
        if label_at < 0 and width == 2:
            label_at = 1 - path_at
        return path_at, label_at, _split_column(splits, header, lines)
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
    names = [place for place in places if not all(map(_NUMBER_OR_NOTHING.fullmatch, filled[place]))]
    chosen = next(iter(names or places), -1)
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
            if split_of_name(one) != split_of_name(two):
                raise line.refused(
                    f"has the split {one!r} as {header[telling[0]]!r} and {two!r} as {header[other]!r}; take one of "
                    "these columns out"
                )
    return next(iter(telling or places), -1)


def _counts_lines(lines: list[Line], place: int) -> bool:
    return all(line.cells[place].strip() == str(number) for number, line in enumerate(lines[:20]))
