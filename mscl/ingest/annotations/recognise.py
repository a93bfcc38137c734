"""Finding a dataset's lists: which format, and which files, by their names."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mscl.errors import DataError
from mscl.ingest.annotations import official, tables
from mscl.ingest.annotations.index import VideoIndex
from mscl.ingest.annotations.list_files import files_in, first_file, folders_in
from mscl.ingest.annotations.lists import read_list
from mscl.ingest.annotations.lists_at_hand import given_lists
from mscl.ingest.annotations.samples import Listing, is_number
from mscl.ingest.annotations.split_names import number_of_split, split_of_name, splits_of_name
from mscl.ingest.config import DataConfig
from storage.user_paths import user_path

_EXPECTED = {
    "ucf101": "classInd.txt with trainlist0N.txt and testlist0N.txt",
    "hmdb51": "*_test_splitN.txt",
    "kinetics": "a csv with the columns label, youtube_id, time_start, time_end",
    "ssv2": "*labels*.json with *train*.json or *validation*.json",
    "diving48": "Diving48*_train.json or Diving48*_test.json",
    "jester": "jester*labels.csv or categories.txt, with *train*, *val* lists",
    "list": "train, val or test in the name of a .txt or .csv with lines 'path label'",
}


_PLAIN_LIST = re.compile(
    r"(train|val|test)(_?list|_?videofolder)?\.(txt|csv|tsv)"
    r"|.*(train|val|test)_(list_|split_?[0-9]+_)?(videos?|rawframes)\.txt",
    re.IGNORECASE,
)
"""Names of plain lists in many repositories (SlowFast, VideoMAE, TSN), and in MMAction's."""


_NO_LIST = re.compile(
    r"(classInd|classes|label_?map.*|labels?|categories|read_?me.*|licen[cs]e.*)\.(txt|csv|tsv)", re.IGNORECASE
)
"""Names of text files that lie beside lists and are none."""
_MOST_NAMES = 6


@dataclass(frozen=True)
class FoundLists:
    """Lists of one dataset on disk."""

    format: str
    where: Path
    inside: bool
    """In the root, or in the place that the user named; else beside the root, which may be another dataset's."""
    files: tuple[Path, ...] = ()
    unread: tuple[Path, ...] = ()
    """What may be lists, too, and lies beside these under another kind of name."""

    @property
    def kind(self) -> str:
        """The format, for messages."""
        return "plain" if self.format == "list" else self.format


def expected_files(format: str) -> str:
    """What the lists of a format are called, for messages."""
    return _EXPECTED[format]


def find_lists(config: DataConfig, root: Path) -> FoundLists | None:
    """The lists that the configuration names or, if it names none, those in or beside the root."""
    wanted = None if config.format == "auto" else config.format
    if config.annotations:
        given = given_paths(config.annotations)
        if len(given) > 1:
            told = "kinetics" if all(map(tables.is_kinetics, given)) else "list"
            return FoundLists(wanted or told, given[0].parent, True, tuple(given))
        place = given[0]
        if place.is_file():
            return _of_file(place, wanted)
        here = _first_in([(place, True)], config.split, wanted, any_name=True)
        below = [_first_in([(folder, True)], config.split, wanted, any_name=True) for folder in folders_in(place)]
        several = [found.where.name for found in below if found]
        if here is None and len(several) > 1:
            raise DataError(
                f"data.annotations {place} has lists in {len(several)} folders, {', '.join(several[:5])}: give the one "
                "that is meant, or the lists themselves with commas between"
            )
        return here or next(filter(None, below), None)
    places = [(folder, True) for folder in (root, *folders_in(root))]
    places += [(folder, False) for folder in (root.parent, *folders_in(root.parent)) if folder != root]
    return _first_in(places, config.split, wanted, any_name=wanted == "list")


def _first_in(
    places: Sequence[tuple[Path, bool]], split: int, wanted: str | None, *, any_name: bool
) -> FoundLists | None:
    """The first lists of the format that is wanted, or of any.

    Args:
        places: folders, and whether each is in the root or named by the user.
        any_name: a folder that the user names holds lists under any name; elsewhere a text file may be anything.
    """
    for folder, inside in places:
        for name, files in _formats_in(folder, split, any_name=any_name):
            if wanted in (None, name):
                unread = _unread(folder, files, any_name=any_name) if name == "list" else []
                if name == "kinetics":
                    others = [file for file in files_in(folder, r".*\.csv") if file not in files]
                    unread = [file for file in others if splits_of_name(file.name)]
                return FoundLists(name, folder, inside, tuple(files), tuple(unread))
    return None


def given_paths(annotations: str) -> list[Path]:
    """The path that the user gives, or several with commas between."""
    return [user_path(part) for part in given_lists(annotations)]


def read_lists(found: FoundLists, split: int, index: VideoIndex) -> Listing:
    """What the lists say, and first of its notes which lists these are."""
    listing = _read(found, split, index)
    return replace(listing, notes=[*_said(found, listing), *listing.notes])


def _said(found: FoundLists, listing: Listing) -> Iterator[str]:
    """Which lists were read, in a line, and in another what may be lists and was not read."""
    where = f"{found.where}" + ("" if found.inside else ", beside data.root")
    if found.format in ("ucf101", "hmdb51"):
        yield f"{found.format} lists of {where}"
    else:
        apart = len({file.parent for file in found.files}) > 1
        names = [
            (str(file) if apart else file.name) + (f" ({told})" if told else "")
            for file in found.files
            for told in [listing.read.get(file) or split_of_name(file.name)]
        ]
        yield f"{found.kind} lists{'' if apart else f' of {where}'}: {_shortened(names)}"
    if found.unread:
        names = [file.name for file in found.unread]
        why = "lists are known by names such as train.csv" if found.format == "list" else "they have other columns"
        yield f"also in {found.where} and not read: {_shortened(names)}; {why}"


def _shortened(names: list[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _read(found: FoundLists, split: int, index: VideoIndex) -> Listing:
    """What the lists say; all official splits where there are several, `split` alone where only its lists are there."""
    folder, files = found.where, list(found.files)
    if found.format in ("ucf101", "hmdb51"):
        read = official.read_ucf101 if found.format == "ucf101" else official.read_hmdb51
        there = official.splits_there(folder, found.format)
        if split not in there or len(there) == 1:
            return read(folder, split)
        return official.merged({number: read(folder, number) for number in there})
    if found.format == "kinetics":
        return tables.read_kinetics(files)
    if found.format == "ssv2":
        return tables.read_ssv2(files[0], files[1:], first_file(folder, r".*answers.*\.csv"))
    if found.format == "diving48":
        return tables.read_diving48(files, first_file(folder, r".*vocab.*\.json"))
    if found.format == "jester":
        return tables.read_jester(files[1:], files[0])
    names = _names_of_classes(folder)
    listing = read_list(files, names, index)
    if names is None and listing.classes and all(map(is_number, listing.classes)):
        listing.notes += _other_names(folder)
    return listing


def _formats_in(folder: Path, split: int, *, any_name: bool = False) -> Iterator[tuple[str, list[Path]]]:
    """Formats whose lists lie directly in `folder`, the most telling names first."""
    if official.is_ucf101(folder):
        yield "ucf101", []
    # A train list beside what HMDB51 calls `<class>_test_split1.txt` is somebody's own, as are both.
    if official.is_hmdb51(folder) and not files_in(folder, r".+_train_split[0-9]+\.txt"):
        yield "hmdb51", []
    json_files, csv_files, txt_files = (files_in(folder, rf".*\.{suffix}") for suffix in ("json", "csv", "txt"))
    dives = [file for file in json_files if re.fullmatch(r"(?i)diving48.*(train|test).*", file.name)]
    if dives:
        yield "diving48", dives
    labels = [file for file in json_files if "label" in file.name.lower()]
    records = [file for file in json_files if file not in [*labels, *dives] and splits_of_name(file.name)]
    if labels and records:
        # The shortest name is the dataset's own; others are variants of it.
        yield "ssv2", [min(labels, key=lambda file: len(file.name)), *records]
    kinetics = [file for file in csv_files if tables.is_kinetics(file)]
    if kinetics:
        yield "kinetics", kinetics
    names = [file for file in csv_files if re.fullmatch(r"(?i)jester.*labels\.csv", file.name)]
    names += [file for file in txt_files if file.name.lower() == "categories.txt"]
    if names:
        lists = [f for f in [*csv_files, *txt_files] if f not in names and splits_of_name(f.name)]
        if lists and all(map(tables.is_jester, lists)):
            yield "jester", [names[0], *lists]
    lists = [file for file in files_in(folder, r".*\.(txt|csv|tsv)") if splits_of_name(file.name)]
    lists = [file for file in lists if any_name or _PLAIN_LIST.fullmatch(file.name)]
    if lists := _of_split(lists, split):
        yield "list", lists


def _unread(folder: Path, lists: list[Path], *, any_name: bool) -> list[Path]:
    """Files that may be lists, too; those of another official split, or of raw frames, are left out on purpose."""
    others = files_in(folder, r".*\.(txt|csv|tsv)" if any_name else r".*\.(csv|tsv)")
    known = splits_of_name if any_name else _PLAIN_LIST.fullmatch
    return [file for file in others if not (file in lists or known(file.name) or _NO_LIST.fullmatch(file.name))]


def unknown_tables(root: Path, *, beside: bool) -> list[str]:
    """A note where tables in the root, or beside it, may be lists and are not known by their names."""
    files = [
        file
        for folder in (root, root.parent)[: 1 + beside]
        for file in files_in(folder, r"(?!read_?me|licen).*\.(csv|tsv)")
    ]
    names = _shortened([str(file) for file in files])
    return [f"not read: {names}; a list of the videos is given as data.annotations"] if files else []


def _of_split(lists: list[Path], split: int) -> list[Path]:
    """The lists of one official split, and of videos where there are some of raw frames, too.

    Raises:
        DataError: lists of other splits only.
    """
    lists = [file for file in lists if "rawframe" not in file.name.lower()] or lists
    numbers = {number_of_split(file.name) for file in lists} - {None}
    chosen = [file for file in lists if number_of_split(file.name) in (None, split)]
    if numbers and split not in numbers:
        shown = ", ".join(str(number) for number in sorted(number for number in numbers if number))
        raise DataError(f"{lists[0].parent} has lists of the splits {shown} and none of {split}; set data.split")
    return chosen


def _of_file(file: Path, wanted: str | None) -> FoundLists:
    """One file given: its folder's format if it belongs to it, else a table or a plain list."""
    for name, files in _formats_in(file.parent, number_of_split(file.name) or 1):
        belongs = name in ("ucf101", "hmdb51") and re.fullmatch(
            r"(?i)classInd\.txt|(train|test)list0\d\.txt|.+_test_split\d\.txt", file.name
        )
        if name in (wanted, None if wanted else name) and (belongs or (file in files and name != "list")):
            only = (file,) if name in ("kinetics", "diving48") else tuple(files)
            return FoundLists(name, file.parent, True, only)
    if wanted in (None, "kinetics") and file.suffix.lower() == ".csv" and tables.is_kinetics(file):
        return FoundLists("kinetics", file.parent, True, (file,))
    if wanted == "diving48":
        return FoundLists("diving48", file.parent, True, (file,))
    if file.suffix.lower() == ".json" or wanted not in (None, "list"):
        fitting = [name for name in _EXPECTED if name == wanted or (wanted is None and ".json" in _EXPECTED[name])]
        expected = "; ".join(f"{name} has {_EXPECTED[name]}" for name in fitting)
        raise DataError(f"{file} is not known by its name: {expected}. Rename it, or write lines 'path label' instead")
    return FoundLists("list", file.parent, True, (file,))


def _other_names(folder: Path) -> list[str]:
    """A note where files beside a list with numbers may say what these are called."""
    files = files_in(folder, r"((class|label|action|category)[_-]?)?(names?|labels?|list|map.*|index)\.(txt|csv)")
    files += files_in(folder, r"(classes|categories|class[_-]?ind)\.csv")
    names = _shortened([file.name for file in files])
    return [f"classes are called by their numbers; if {names} names them, call it classes.txt"] if files else []


def _names_of_classes(folder: Path) -> Path | None:
    """The file of class names beside plain lists. Of several label maps nobody can say which one is meant."""
    maps = files_in(folder, r"label_map.*\.txt")
    return first_file(folder, r"classInd\.txt", r"classes\.txt") or (maps[0] if len(maps) == 1 else None)
