"""Which split a file's name, a folder's name or a cell speaks of."""

import re

from mscl.ingest.annotations.samples import Split

_SPLIT_WORDS: tuple[tuple[str, Split], ...] = (("train", "train"), ("val", "val"), ("test", "test"))
_NUMBER_OF_SPLIT = re.compile(r"(?:split|list)[_-]?0?([1-9])(?![0-9])")


def split_of_name(name: str) -> Split | None:
    """The split that a name speaks of (`kinetics-400_val.csv`, `jester-v1-train.csv`), or None."""
    words = [split for word, split in _SPLIT_WORDS if re.search(rf"(?<![a-z]){word}", name.lower())]
    return words[-1] if words else None


def number_of_split(name: str) -> int | None:
    """The official split that a file's name speaks of (`ucf101_train_split_1_videos.txt`), or None."""
    found = _NUMBER_OF_SPLIT.search(name.lower())
    return int(found[1]) if found else None
