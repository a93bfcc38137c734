"""Kinetics, Something-Something v2, Diving48 and Jester."""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mscl.errors import DataError
from mscl.ingest.annotations.class_names import class_spelling, read_class_names, refuse_equal_names
from mscl.ingest.annotations.samples import ListedVideo, Listing, Split, is_number, listed_path, read_lines
from mscl.ingest.annotations.split_names import split_of_cell, split_or_train


def read_kinetics(files: list[Path]) -> Listing:
    """csv with label, youtube_id, time_start, time_end, split; videos `ID_SSSSSS_EEEEEE` or `ID`, in any folder."""
    rows: list[ListedVideo] = []
    notes: list[str] = []
    for file in files:
        unlabelled = 0
        for record in _csv_records(file):
            label = (record.get("label") or "").strip()
            if not label:
                unlabelled += 1
                continue
            word = record.get("split") or ""
            split = split_of_cell(word) if word else split_or_train(file, files)
            if split is None:
                raise DataError(f"{file}: line {record} has the split {word!r}, which is none of train, val, test")
            start, end = _kinetics_times(record, file)
            paths, names = _kinetics_paths(record["youtube_id"], start, end, label, file)
            rows.append(ListedVideo(paths, class_spelling(label), split, also=names, seconds=max(0, end - start)))
        if unlabelled:
            notes.append(f"{unlabelled} lines of {file.name} have no label and are left out")
    return Listing(rows, sorted({row.class_name or "" for row in rows}), notes)


def is_kinetics(file: Path) -> bool:
    """Whether a csv has Kinetics' columns."""
    try:
        with file.open(encoding="utf-8-sig", errors="replace") as lines:
            first = lines.readline(1000)
    except OSError:
        return False
    header = next(csv.reader([first], delimiter=_delimiter(first), skipinitialspace=True), [])
    return {"youtube_id", "time_start", "time_end"} <= {name.strip().lower() for name in header}


def _delimiter(header: str) -> str:
    return max(",;\t", key=header.count)


def _kinetics_times(record: dict[str, str], file: Path) -> tuple[int, int]:
    """Begin and end in the film that the video was cut from, in whole seconds."""
    try:
        start, end = (int(float(record[name])) for name in ("time_start", "time_end"))
        _ = record["youtube_id"]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{file}: line {record} lacks youtube_id, time_start or time_end") from error
    return start, end


def _kinetics_paths(
    video: str, start: int, end: int, label: str, file: Path
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Paths under a folder of the label, and the names alone, which are the dataset's own."""
    folder = listed_path(label, file)
    names = tuple(listed_path(name, file) for name in (f"{video}_{start:06d}_{end:06d}", video))
    return tuple(f"{folder}/{name}" for name in names), names


def _csv_records(file: Path) -> Iterator[dict[str, str]]:
    """Records by the names of their columns, in small letters, without outer blanks."""
    lines = read_lines(file)
    reader = csv.reader(lines, delimiter=_delimiter("".join(lines[:1])), skipinitialspace=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        for cells in reader:
            if len(cells) != len(header):
                raise DataError(
                    f"{file}: line {', '.join(cells)[:200]!r} has {len(cells)} columns, and the header has "
                    f"{len(header)}; put a name that holds a comma into quotes"
                )
            yield dict(zip(header, (cell.strip() for cell in cells), strict=False))
    except csv.Error as error:
        raise DataError(f"{file}, line {reader.line_num + 1}: not CSV: {error}") from error


def read_ssv2(labels: Path, lists: list[Path], answers: Path | None) -> Listing:
    """`labels.json` (template -> number, as text or integer), records with `id` and `template`, test answers as csv."""
    numbers = {str(name): _number(value, labels) for name, value in _json(labels, dict).items()}
    notes: list[str] = []
    rows: list[ListedVideo] = []
    for file in lists:
        split = split_or_train(file, lists)
        records = _records(file)
        if split == "test" and not any("template" in record for record in records):
            if answers is None:
                notes.append(f"{len(records)} test videos of {file.name} have no label and are left out")
            continue
        for record in records:
            name = re.sub(r"[\[\]]", "", str(record.get("template", "")))
            rows.append(_by_id(record.get("id"), name, split, numbers, file))
    for line in read_lines(answers) if answers else ():
        video, _, name = line.partition(";")
        rows.append(_by_id(video.strip('" '), name.strip('" '), "test", numbers, answers or labels))
    return Listing(rows, sorted(numbers, key=lambda name: numbers[name]), notes)


def _by_id(video: Any, name: str, split: Split, numbers: dict[str, int], file: Path) -> ListedVideo:
    if name not in numbers:
        raise DataError(f"{file}: video {video!r} has class {name!r}, which the labels file does not know")
    return ListedVideo((listed_path(str(video), file),), name, split)


def read_diving48(lists: list[Path], vocabulary: Path | None) -> Listing:
    """Records with `vid_name` and `label`; names of the labels from the vocabulary, else the numbers."""
    names = [_dive(entry) for entry in _json(vocabulary, list)] if vocabulary else []
    if vocabulary:
        refuse_equal_names(names, vocabulary)
    rows: list[ListedVideo] = []
    numbers: set[int] = set()
    for file in lists:
        split = split_or_train(file, lists)
        for record in _records(file):
            number = _number(record.get("label"), file)
            if names and not 0 <= number < len(names):
                raise DataError(f"{file}: label {number} of {record.get('vid_name')!r}, {len(names)} names are known")
            numbers.add(number)
            path = listed_path(str(record.get("vid_name")), file)
            rows.append(ListedVideo((path,), names[number] if names else str(number), split))
    return Listing(rows, names or [str(number) for number in sorted(numbers)])


def _dive(entry: Any) -> str:
    return "+".join(map(str, entry)) if isinstance(entry, list) else str(entry)


def is_jester(file: Path) -> bool:
    """Whether a list's first line is one of Jester's, `id;name`, `id number` or an `id`: ids are numbers."""
    try:
        with file.open(encoding="utf-8-sig", errors="replace") as lines:
            first = lines.readline(1000).strip()
    except OSError:
        return False
    return re.fullmatch(r"[0-9]+([ ;].*)?", first) is not None


def read_jester(lists: list[Path], categories: Path) -> Listing:
    """`id;name` csv with a file of names, or `id number` lists with `number name` categories."""
    notes: list[str] = []
    numbers = read_class_names(categories, notes, first=1)
    classes = list(numbers.values())
    rows: list[ListedVideo] = []
    unlabelled, by_number = 0, False
    for file in lists:
        split = split_or_train(file, lists)
        for line in read_lines(file):
            video, _, label = line.partition(";") if ";" in line else line.partition(" ")
            name = class_spelling(label)
            if not name:
                unlabelled += 1
                continue
            if is_number(name) and name not in classes:
                name, by_number = numbers.get(int(name), name), True
            if name not in classes:
                raise DataError(f"{file}: {line!r} has a class that {categories.name} does not know")
            rows.append(ListedVideo((listed_path(video.strip(), file),), name, split))
    if by_number:
        first = min(numbers)
        notes.append(f"labels are numbers of the names in {categories.name}: {first} is {numbers[first]!r}")
    if unlabelled:
        notes.append(f"{unlabelled} videos have no label and are left out")
    return Listing(rows, classes, notes)


def _json(file: Path, kind: type) -> Any:
    try:
        value = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"cannot read {file} as JSON: {error}") from error
    if not isinstance(value, kind):
        raise DataError(f"{file} must hold a JSON {kind.__name__}, found {type(value).__name__}")
    if isinstance(value, list) and kind is list and any(not isinstance(v, dict | list | str) for v in value):
        raise DataError(f"{file} must hold a list of records")
    return value


def _records(file: Path) -> list[dict[str, Any]]:
    records: list[Any] = _json(file, list)
    if not all(isinstance(record, dict) for record in records):
        raise DataError(f"{file} must hold a list of records")
    return records


def _number(value: Any, file: Path) -> int:
    if (isinstance(value, int) and value >= 0) or (isinstance(value, str) and is_number(value.strip())):
        return int(value)
    raise DataError(f"{file}: label {str(value)[:100]!r} is not a number from 0 up")
