"""UCF101 and HMDB51: the official split lists."""

import re
from collections.abc import Mapping
from pathlib import Path

from mscl.errors import DataError
from mscl.ingest.annotations.samples import Listing, Row, Split, listed_path, read_lines

_HMDB_FILE = re.compile(r"(?P<name>.+)_test_split(?P<split>[123])\.txt")


def is_ucf101(folder: Path) -> bool:
    """Whether `folder` holds UCF101's lists."""
    return (folder / "classInd.txt").is_file() and any(folder.glob("trainlist0[123].txt"))


def read_ucf101(folder: Path, split: int) -> Listing:
    """`classInd.txt` (1-based labels), `trainlist0N.txt` (`path label`), `testlist0N.txt` (paths only)."""
    classes: dict[int, str] = {}
    for line in read_lines(folder / "classInd.txt"):
        number, _, name = line.partition(" ")
        if not number.isdigit() or not name.strip():
            raise DataError(f"{folder / 'classInd.txt'}: {line!r} is not of the form 'number name'")
        classes[int(number)] = name.strip()
    rows: list[Row] = []
    for split_name, file in (("train", f"trainlist0{split}.txt"), ("test", f"testlist0{split}.txt")):
        rows += _ucf101_rows(folder / file, classes, "train" if split_name == "train" else "test")
    return Listing(rows, [classes[number] for number in sorted(classes)])


def _ucf101_rows(file: Path, classes: dict[int, str], split: Split) -> list[Row]:
    known = set(classes.values())
    rows = []
    for line in read_lines(file):
        # The class is the folder; the label, where there is one, must agree with it.
        path, _, label = line.rpartition(" ") if line.rpartition(" ")[2].isdigit() else (line, "", "")
        video = listed_path(path.strip(), file)
        name = video.split("/")[-2] if "/" in video else classes.get(int(label or 0), "")
        if name not in known or (label and classes.get(int(label)) != name):
            raise DataError(
                f"{file}: {line!r} has label {label or 'none'} and folder {name!r}, "
                f"which do not agree with classInd.txt (label {label or 'none'}: {classes.get(int(label or 0))!r})"
            )
        rows.append(Row((video,), name, split))
    return rows


def is_hmdb51(folder: Path) -> bool:
    """Whether `folder` holds HMDB51's split files."""
    return any(_HMDB_FILE.fullmatch(file.name) for file in folder.glob("*_test_split[123].txt"))


def read_hmdb51(folder: Path, split: int) -> Listing:
    """`<class>_test_splitN.txt`: `name flag` with 0 unused, 1 train, 2 test; the class is in the file's name."""
    rows: list[Row] = []
    classes: list[str] = []
    for file in sorted(folder.glob(f"*_test_split{split}.txt")):
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
                rows.append(Row((path,), match["name"], "train" if flag == "1" else "test"))
    if not classes:
        raise DataError(f"{folder} has no file *_test_split{split}.txt; take another data.split")
    return Listing(rows, classes)


def splits_there(folder: Path, format: str) -> list[int]:
    """Numbers of the official splits of which all lists are in `folder`."""
    if format == "ucf101":
        pairs = ((n, (folder / f"trainlist0{n}.txt", folder / f"testlist0{n}.txt")) for n in (1, 2, 3))
        return [n for n, files in pairs if all(file.is_file() for file in files)]
    return [n for n in (1, 2, 3) if any(folder.glob(f"*_test_split{n}.txt"))]


def merged(listings: Mapping[int, Listing]) -> Listing:
    """One listing of all videos that take part in any split: a row has its part in each, and as its own the first.

    A line that a list repeats is repeated here, with its own part in that split, so that the caller sees a conflict.
    """
    parts: dict[tuple[tuple[str, ...], str | None], list[Split]] = {}
    repeated: list[tuple[tuple[tuple[str, ...], str | None], int, Split]] = []
    for place, listing in enumerate(listings.values()):
        seen = set()
        for row in listing.rows:
            name = (row.paths, row.class_name)
            if name in seen:
                repeated.append((name, place, row.split))
                continue
            seen.add(name)
            parts.setdefault(name, ["unused"] * len(listings))[place] = row.split
    rows = [Row(*name, each[0], tuple(each)) for name, each in parts.items()]
    for name, place, split in repeated:
        each = [*parts[name][:place], split, *parts[name][place + 1 :]]
        rows.append(Row(*name, each[0], tuple(each)))
    classes = list(dict.fromkeys(name for listing in listings.values() for name in listing.classes))
    notes = list(dict.fromkeys(note for listing in listings.values() for note in listing.notes))
    return Listing(rows, classes, notes, tuple(listings))
