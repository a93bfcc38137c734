"""Groups of videos that are not independent: cut from one recording, of one person.

Where they come from is said with every score: a pattern on the file names, a column of a list, or what the names of a
dataset are known to say. Without any of these every video counts as a group of its own, which is said, too.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mscl.addresses import is_url
from mscl.array_types import Ints
from mscl.errors import DataError
from mscl.ingest.annotations.index import one_spelling
from storage.user_paths import user_path

if TYPE_CHECKING:
    from mscl.ingest.config import DataConfig


KNOWN = {
    "ucf101": (r"([^/]+_g\d+)_c\d+\.[^/.]+$", "gNN in UCF101's file names, class by class"),
    "hmdb51": (r"([^/]+)_[a-z]_[cn]m_np\d_[a-z]{2}_[a-z]+_\d+\.[^/.]+$", "source video in HMDB51's file names"),
}
"""Format of the annotations -> pattern of its file names, and what that is called."""
_VIDEO_COLUMNS = ("video", "path", "file", "filename", "name")
_NO_GROUP = ("nan", "none", "null", "na", "n/a")
"""What other programs write where there is none."""


@dataclass(frozen=True)
class Grouping:
    """How the videos of a dataset fall into groups."""

    pattern: str = ""
    """What it matches in a video's path is the video's group: its brackets, else all of it."""
    listed: tuple[tuple[str, str], ...] = ()
    """Video -> group, of a list."""
    source: str = ""
    """Where groups come from; empty: there are none."""
    chosen: bool = True
    """Whether the user chose it, so that a video without a group is an oversight."""

    @classmethod
    def of(cls, config: DataConfig, *, format: str) -> Grouping:
        """The one that the settings name, else what is known of the names of a dataset of this format.

        Raises:
            DataError: a list that cannot be read or lacks the column.
        """
        if config.group_list:
            source = f"column {config.group_column!r} of {Path(config.group_list).name}"
            return cls(listed=tuple(_read(config.group_list, config.group_column).items()), source=source)
        if config.group_pattern:
            return cls(pattern=config.group_pattern, source=f"data.group_pattern {config.group_pattern!r}")
        pattern, source = KNOWN.get(format, ("", ""))
        return cls(pattern=pattern, source=source, chosen=False)

    def names(self, videos: Sequence[str], *, may_lack: bool = False) -> list[str]:
        """The group of each video; a video without one is its own.

        Args:
            may_lack: whether no video need have one, as where a list groups the test videos alone.

        Raises:
            DataError: the user's pattern or list gives a group to none of them.
        """
        found = [self._name(video) for video in videos]
        if self.chosen and self.source and videos and not any(found) and not may_lack:
            raise DataError(
                f"{self.source} gives none of the {len(videos)} videos a group; paths are like {videos[0]!r}"
            )
        return [name if name else f"\0{video}" for name, video in zip(found, videos, strict=True)]

    def note(self, videos: Sequence[str]) -> str:
        """What a reader of the intervals must know."""
        names = self.names(videos)
        alone = sum(name.startswith("\0") for name in names)
        if alone == len(videos):
            known = next((p for p, _ in KNOWN.values() if all(re.search(p, video) for video in videos)), "")
            hint = f"; their names are like those of a known dataset: data.group_pattern='{known}'" if known else ""
            return (
                "intervals take every video as independent; if several come from one recording or person, say which "
                f"by data.group_pattern or data.group_list{hint}"
            )
        without = f"; {alone} videos have none and count one by one" if alone else ""
        return f"videos of one group count together: {len(set(names))} groups, by {self.source}{without}"

    def shared(self, train: Sequence[str], test: Sequence[str]) -> str:
        """What to say where groups of test videos are trained on; empty where none is."""
        tested = set(self.names(test))
        both = len(tested & set(self.names(train, may_lack=True)))
        if not both:
            return ""
        return (
            f"{both} of the {len(tested)} groups of the test split are in the train split, too, which flatters the "
            "scores; data.test_pattern or lists keep them apart"
        )

    def numbers(self, videos: Sequence[str], *, may_lack: bool = False) -> Ints | None:
        """Group of each video as a number; None where every video is its own. `may_lack`: as in `names`."""
        names = self.names(videos, may_lack=may_lack)
        if len(set(names)) == len(names):
            return None
        return np.unique(np.array(names), return_inverse=True)[1].astype(np.int64).ravel()

    @cached_property
    def _group_of(self) -> dict[str, str]:
        return dict(self.listed)

    def _name(self, video: str) -> str:
        if self.listed:
            return self._group_of.get(one_spelling(video), "")
        if not self.pattern or not (match := re.search(self.pattern, video)):
            return ""
        if not match.groups():
            return match[0]
        return " ".join(part or "" for part in match.groups()) if any(match.groups()) else ""


INDEPENDENT = Grouping()
"""Every video by itself."""


def group_settings(config: Any) -> dict[str, Any]:
    """The part of a result's key that says which videos count together; empty where no setting does."""
    data = config.data
    if data.group_list:
        return {"groups": sorted(_read(data.group_list, data.group_column).items())}
    return {"groups": data.group_pattern} if data.group_pattern else {}


def _as_path(video: str) -> str:
    """A listed path as those of videos are written."""
    parts = one_spelling(video.strip()).replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", "."))


def _read(path: str, column: str) -> dict[str, str]:
    """Video -> group of a CSV file."""
    from mscl.ingest.annotations.samples import read_lines

    lines = read_lines(path if is_url(path) else user_path(path), setting="data.group_list")
    header = lines[0] if lines else ""
    delimiter = next((mark for mark in ("\t", ";", ",") if mark in header), ",")
    try:
        records = list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True))
    except csv.Error as error:
        raise DataError(f"data.group_list {path} is not CSV: {error}") from error
    columns = [name.strip() for name in records[0]] if records else []
    videos = [name for name in columns if name.lower() in _VIDEO_COLUMNS]
    if columns.count(column) != 1 or len(videos) != 1:
        raise DataError(
            f"data.group_list {path} has the columns {', '.join(columns) or 'none'}; it needs {column!r} "
            f"(data.group_column) and one of {', '.join(_VIDEO_COLUMNS)}"
        )
    video_at, group_at = columns.index(videos[0]), columns.index(column)
    found: dict[str, str] = {}
    for number, cells in enumerate(records[1:], 2):
        if len(cells) != len(columns):
            raise DataError(
                f"data.group_list {path}, line {number}: {len(cells)} columns, the header has {len(columns)}; put what "
                f"holds a {delimiter!r} into quotes"
            )
        video, group = _as_path(cells[video_at]), cells[group_at].strip()
        group = "" if group.lower() in _NO_GROUP else group
        if found.setdefault(video, group) != group:
            raise DataError(
                f"data.group_list {path}, line {number}: {video!r} is in group {found[video]!r} and {group!r}"
            )
    return found
