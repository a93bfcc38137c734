"""UCF101 and HMDB51: the official split lists."""

import re
from collections.abc import Mapping
from pathlib import Path

from mscl.errors import DataError
from mscl.ingest.annotations.class_names import read_class_names
from mscl.ingest.annotations.list_files import files_in, first_file
from mscl.ingest.annotations.samples import ListedVideo, Listing, Split, is_number, listed_path, read_lines

_HMDB_FILE = re.compile(r"(?P<name>.+)_test_split(?P<split>[123])\.txt", re.IGNORECASE)


def is_ucf101(folder: Path) -> bool:
    """Whether `folder` holds UCF101's lists."""
    return bool(files_in(folder, r"classInd\.txt") and files_in(folder, r"trainlist0[123]\.txt"))


def read_ucf101(folder: Path, split: int) -> Listing:
    """`classInd.txt` (1-based labels), `trainlist0N.txt` (`path label`), `testlist0N.txt` (paths only)."""
    notes: list[str] = []
    classes = read_class_names(first_file(folder, r"classInd\.txt") or folder / "classInd.txt", notes, first=None)
    rows: list[ListedVideo] = []
    parts: tuple[Split, Split] = ("train", "test")
    for part in parts:
        name = f"{part}list0{split}.txt"
        file = first_file(folder, re.escape(name)) or folder / name
        rows += _ucf101_rows(file, classes, part)
    return Listing(rows, list(classes.values()), notes)


def _ucf101_rows(file: Path, classes: dict[int, str], split: Split) -> list[ListedVideo]:
    known = set(classes.values())
    rows = []
    for line in read_lines(file):
        # The class is the folder; the label, where there is one, must agree with it.
        path, _, label = line.rpartition(" ") if is_number(line.rpartition(" ")[2]) else (line, "", "")
        video = listed_path(path.strip(), file)
        name = video.split("/")[-2] if "/" in video else classes.get(int(label or 0), "")
        if name not in known or (label and classes.get(int(label)) != name):
            raise DataError(
                f"{file}: {line!r} has label {label or 'none'} and folder {name!r}, "
                f"which do not agree with classInd.txt (label {label or 'none'}: {classes.get(int(label or 0))!r})"
            )
        rows.append(ListedVideo((video,), name, split, also=(video.split("/")[-1],)))
    return rows


def is_hmdb51(folder: Path) -> bool:
    """Whether `folder` holds HMDB51's split files."""
    return bool(files_in(folder, _HMDB_FILE.pattern))


def read_hmdb51(folder: Path, split: int) -> Listing:
    """`<class>_test_splitN.txt`: `name flag` with 0 unused, 1 train, 2 test; the class is in the file's name."""
    rows: list[ListedVideo] = []
    classes: list[str] = []
    for file in files_in(folder, rf".+_test_split{split}\.txt"):
        match = _HMDB_FILE.fullmatch(file.name)
        if match is None:
            continue
        classes.append(match["name"])
        for line in read_lines(file):
            name, _, flag = line.rpartition(" ")
            if flag not in ("0", "1", "2"):
                raise DataError(f"{file}: {line!r} does not end in 0 (unused), 1 (train) or 2 (test)")
            if flag != "0":
                path = listed_path(f"{match['name']}/{name.strip()}", file)
                also = (path.split("/", 1)[1],)
                rows.append(ListedVideo((path,), match["name"], "train" if flag == "1" else "test", also=also))
    if not classes:
        raise DataError(f"{folder} has no file *_test_split{split}.txt; take another data.split")
    return Listing(rows, classes)


def splits_there(folder: Path, format: str) -> list[int]:
    """Numbers of the official splits of which all lists are in `folder`."""
    if format == "ucf101":
        both = [[files_in(folder, rf"{name}list0{n}\.txt") for name in ("train", "test")] for n in (1, 2, 3)]
        return [n for n, files in enumerate(both, start=1) if all(files)]
    return [n for n in (1, 2, 3) if files_in(folder, rf".+_test_split{n}\.txt")]


_Listed = tuple[tuple[str, ...], str | None, tuple[str, ...]]


def _row(listed: _Listed, parts: list[Split]) -> ListedVideo:
    paths, class_name, also = listed
    return ListedVideo(paths, class_name, parts[0], tuple(parts), also=also)


def merged(listings: Mapping[int, Listing]) -> Listing:
    """One listing of all videos that take part in any split: a row has its part in each, and as its own the first.

    A line that a list repeats is repeated here, with its own part in that split, so that the caller sees a conflict.
    """
    parts: dict[_Listed, list[Split]] = {}
    repeated: list[tuple[_Listed, int, Split]] = []
    for place, listing in enumerate(listings.values()):
        seen = set()
        for row in listing.rows:
            name = (row.paths, row.class_name, row.also)
            if name in seen:
                repeated.append((name, place, row.split))
                continue
            seen.add(name)
            parts.setdefault(name, ["unused"] * len(listings))[place] = row.split
    rows = [_row(name, each) for name, each in parts.items()]
    for name, place, split in repeated:
        each = [*parts[name][:place], split, *parts[name][place + 1 :]]
        rows.append(_row(name, each))
    classes = list(dict.fromkeys(name for listing in listings.values() for name in listing.classes))
    notes = list(dict.fromkeys(note for listing in listings.values() for note in listing.notes))
    return Listing(rows, classes, notes, tuple(listings))
