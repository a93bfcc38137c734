"""Plain lists, a line a video: `path label` with blanks between, or CSV with commas, tabs or semicolons.

What can be read in two ways is refused with the line as it was typed; what was guessed is noted.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from mscl.errors import DataError
from mscl.ingest.annotations.class_names import class_spelling
from mscl.ingest.annotations.columns import cell, looks_like_videos
from mscl.ingest.annotations.index import VideoIndex, one_spelling
from mscl.ingest.annotations.list_columns import LABEL_COLUMNS, column_word, columns_of, is_header
from mscl.ingest.annotations.list_labels import Entry, classes_of
from mscl.ingest.annotations.list_lines import NUMBER, Line, cut_at_blanks, inside, is_comment, is_there, read_table
from mscl.ingest.annotations.samples import ListedVideo, Listing, Split, listed_path
from mscl.ingest.annotations.split_names import is_split_cell, is_split_column, split_of_cell, split_of_list

_NUMBERS_BEFORE = re.compile(rf"(?P<numbers>({NUMBER}\s+)+)(?P<name>[^0-9\s].*)")
_NUMBERS_AFTER = re.compile(rf"(?P<name>\S.*?)(?P<numbers>(\s+{NUMBER})+)")
_NO_SPLIT = ("unlabelled", "unused")
"""What our own lists say of videos in no split."""


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
        none = not any(entry.label for entry in of_file[unlabelled.line.file])
        raise unlabelled.line.refused(
            "has no label, as all lines of this list, and those of other lists have one; leave it out: give the others "
            "as data.annotations, with commas between"
            if none
            else "has no label and other lines have one; write 'path label' in each line"
        )
    shown, order = ({}, []) if unlabelled is not None else classes_of(entries, names, notes)
    splits: list[Split] = _splits(of_file) if unlabelled is None else ["unlabelled"] * len(entries)
    for entry, split in zip(entries, splits, strict=True):
        source = f"{entry.line.place}: {entry.line.typed[:200]!r}"
        name = shown[entry.label] if unlabelled is None else None
        rows.append(ListedVideo((entry.path,), name, split, source=source))
    read = {file: Counter[str]() for file in files}
    for entry, row in zip(entries, rows, strict=True):
        read[entry.line.file][row.split] += 1
    return Listing(rows, order, notes, read={file: _parts(counts) for file, counts in read.items()})


def _splits(of_file: dict[Path, list[Entry]]) -> list[Split]:
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
    if not any(splits):
        _refuse_splits_in_paths(of_file)
    return [split or "train" for split in splits]


def _refuse_splits_in_paths(of_file: dict[Path, list[Entry]]) -> None:
    """Refuse videos in folders train and test where nothing else says a split: all would be trained on."""
    folders: dict[Split, str] = {}
    for entry in (entry for entries in of_file.values() for entry in entries):
        for folder in filter(is_split_cell, entry.path.split("/")[:-1]):
            folders.setdefault(split_of_cell(folder) or "train", folder)
        if len(folders) > 1:
            raise entry.line.refused(
                f"and lines before it are in folders {' and '.join(folders.values())}, and nothing else says a split; "
                "write a column 'split', or a list for each, named train and test"
            )


def _parts(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {split}" for split, count in counts.items()) or "no video"


def _entries(file: Path, index: VideoIndex, notes: list[str]) -> Iterator[Entry]:
    table = read_table(file, index)
    lines = table or cut_at_blanks(file, index)
    comments = [line for line in lines if is_comment(line, index)]
    if comments:
        notes.append(f"{len(comments)} lines of {file.name} that begin with # are taken as comments")
        told = {line.number for line in comments}
        lines = [line for line in lines if line.number not in told]
    header: list[str] = []
    if lines and is_header(lines, index):
        notes.append(f"the first line of {file.name} is taken as a header: {lines[0].typed!r}")
        header, typed = list(map(column_word, lines[0].cells)), lines[0].cells
        others = [line for line in lines if line.cells != typed]
        if repeated := len(lines) - 1 - len(others):
            notes.append(f"{repeated} lines of {file.name} that repeat its header are left out")
        lines = others
    if table or header:
        path_at, label_at, split_at = columns_of(header, lines, index)
    else:  # with blanks between, the path comes first
        path_at, label_at, split_at = 0, 1 if any(len(line.cells) > 1 for line in lines) else -1, -1
    if not table:
        _refuse_splits_in_labels(lines)
        _refuse_numbers_beside_labels(lines)
    if not header:
        _refuse_no_classes(lines, label_at)
    elif label_at >= 0 and header[label_at] not in LABEL_COLUMNS:
        notes.append(f"the column {header[label_at] or label_at + 1!r} of {file.name} is taken as the class")
    spare = [place for place, word in enumerate(header) if word and place not in (path_at, label_at, split_at)]
    if split_at < 0:
        _refuse_unknown_splits(header, spare, lines)
    if spare:
        notes.append(f"columns of {file.name} that are not used: {', '.join(header[place] for place in spare)}")
    if header and label_at < 0:
        notes.append(f"no column of {file.name} is known to be the class (label, class): its videos are unlabelled")
    unused = 0
    for line in lines:
        path = _path_in(line, path_at, index)
        label = one_spelling(line.cells[label_at].strip()) if 0 <= label_at < len(line.cells) else ""
        if not path:
            raise line.refused("names no video")
        if ("\n" in path and not is_there(path, index)) or "\n" in label:
            raise line.refused("begins a quoted field that goes over several lines; is a quote missing?")
        split = None
        if (word := cell(line.cells, split_at)) and word not in _NO_SPLIT:
            split = split_of_cell(word)
            if split is None:
                raise line.refused(f"has the split {word!r}, which is none of train, val, test")
        if word == "unused":
            unused += 1
            continue
        label = "" if word == "unlabelled" else label
        yield Entry(line, listed_path(path, line.place, roots=index.roots), label, split)
    if unused:
        notes.append(f"{unused} lines of {file.name} are left out, for their split is 'unused'")


def _path_in(line: Line, place: int, index: VideoIndex) -> str:
    """The path without outer blanks, unless a file's name has them."""
    typed = line.cells[place] if place < len(line.cells) else ""
    path = typed.strip()
    return typed if path != typed and path and index.exact(inside(typed, index)) is not None else path


def _refuse_splits_in_labels(lines: list[Line]) -> None:
    """Refuse `path label split` lines: with blanks between, a label is all that follows the path."""
    labels = [line.cells[1].split() for line in lines if len(line.cells) > 1]
    if labels and any(all(len(words) > 1 and is_split_cell(words[end]) for words in labels) for end in (0, -1)):
        raise lines[0].refused(
            "has a label and a split after the path, and a list with blanks has a label alone; write a CSV with the "
            "header path,label,split"
        )


def _refuse_no_classes(lines: list[Line], label_at: int) -> None:
    """Refuse `path split` and `path path` lines without a header, which would name what they are."""
    labels = [cell(line.cells, label_at) for line in lines]
    if labels and looks_like_videos(labels):
        raise lines[0].refused("names two videos, and so do other lines; write 'path,label'")
    if labels and all(map(is_split_cell, labels)):
        raise lines[0].refused(
            "has the name of a split in the place of the class, as all lines here: write a CSV with the header "
            "path,label,split, or path,label where that is the class"
        )


def _refuse_numbers_beside_labels(lines: list[Line]) -> None:
    """Refuse `path frames label`, `path begin end label` and `path label begin end` lines: all of it is the label."""
    labels = [line.cells[1] for line in lines if len(line.cells) > 1]
    for form, where in ((_NUMBERS_BEFORE, "between the path and the label"), (_NUMBERS_AFTER, "after the label")):
        matches = [match for label in labels if (match := form.fullmatch(label))]
        if not labels or len(matches) < len(labels):
            continue
        several = all(len(match["numbers"].split()) > 1 for match in matches)
        # `1 finger` and `2 fingers` are classes, each of many videos; and so are `level 1` and `level 2`.
        counts = len(set(labels)) > len({match["name"] for match in matches}) and 2 * len(set(labels)) > len(labels)
        if several or (counts and form is _NUMBERS_BEFORE):
            raise lines[0].refused(
                f"has numbers {where}, and a list with blanks has a label alone; write a CSV with the header path,label"
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
