"""Which split a file's name, a folder's name or a cell speaks of."""

import re
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path

from mscl.errors import DataError
from mscl.ingest.annotations.samples import Split

_SPLIT_WORDS: tuple[Split, ...] = ("train", "val", "test")
_NUMBER_OF_SPLIT = re.compile(r"(?:split|list)[_-]?0?([1-9])(?![0-9])")
_SPLIT_CELL = re.compile(r"(train|val|test)(ing|id|idation|idate)?", re.IGNORECASE)
_SPLIT_CELL_NUMBERED = re.compile(_SPLIT_CELL.pattern + r"[ _-]?(set|split|list)?[ _-]?[0-9]*", re.IGNORECASE)


def splits_of_name(name: str) -> list[Split]:
    """The splits that a name speaks of (`kinetics-400_val.csv`, `jester-v1-train.csv`); of several none is meant."""
    return [word for word in _SPLIT_WORDS if re.search(rf"(?<![a-z]){word}", name.lower())]


def split_of_name(name: str) -> Split | None:
    """The one split that a name speaks of, or None."""
    words = splits_of_name(name)
    return words[0] if len(words) == 1 else None


def split_of_list(file: Path, files: Collection[Path]) -> Split | None:
    """The split of a list by its name, else by its folder's name where lists lie in several folders; or None.

    Args:
        files: all lists of the dataset.

    Raises:
        DataError: the name speaks of several splits.
    """
    by_folder = len({each.parent.name for each in files}) > 1
    for name in (file.name, file.parent.name) if by_folder else (file.name,):
        words = splits_of_name(name)
        if len(words) > 1:
            raise DataError(
                f"{file}: the name {name!r} speaks of {' and of '.join(words)}, and which is meant cannot be told; "
                "rename it, or write a CSV with a column 'split'"
            )
        if words:
            return words[0]
    return None


def split_or_train(file: Path, files: Collection[Path]) -> Split:
    """As `split_of_list`; a list alone that says no split is one of train.

    Raises:
        DataError: one of several lists says no split, or several.
    """
    split = split_of_list(file, files)
    if split is None and len(files) > 1:
        raise DataError(
            f"{file}: neither its name nor a column 'split' says whether it is of train, val or test; rename it, or "
            "leave it out of data.annotations"
        )
    return split or "train"


def is_split_cell(cell: str) -> bool:
    """Whether a cell is the name of a split and nothing else."""
    return _SPLIT_CELL.fullmatch(cell.strip()) is not None


@lru_cache(maxsize=1024)
def split_of_cell(cell: str) -> Split | None:
    """The split that a cell names (`train`, `Validation`, `test_set`, `train1`); None for any other word."""
    return split_of_name(cell) if _SPLIT_CELL_NUMBERED.fullmatch(cell.strip()) else None


def is_split_column(name: str) -> bool:
    """Whether a column's name holds a split's (`is_train`), in small letters."""
    return any(is_split_cell(word.removeprefix("is")) for word in re.split(r"[^a-z]+", name) if word != "valid")


def number_of_split(name: str) -> int | None:
    """The official split that a file's name speaks of (`ucf101_train_split_1_videos.txt`), or None."""
    found = _NUMBER_OF_SPLIT.search(name.lower())
    return int(found[1]) if found else None
