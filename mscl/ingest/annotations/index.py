"""The video files under a root, walked once."""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from pathlib import Path, PurePosixPath

from mscl.errors import DataError

VIDEO_SUFFIXES = frozenset((
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".gif", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mkv",
    ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogm", ".ogv", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv",
    ".y4m",
))  # fmt: skip
"""File types that are videos without being listed; a list may name any file."""


def one_spelling(text: str) -> str:
    """`text` with composed accents (NFC): names from a Mac come decomposed."""
    return unicodedata.normalize("NFC", text)


def is_text(name: str) -> bool:
    """Whether a name from the disk is UTF-8: Python keeps other bytes as lone surrogates."""
    return not any("\udc80" <= letter <= "\udcff" for letter in name)


def as_text(name: str) -> str:
    """A name from the disk with bytes that are not UTF-8 as `\\xe9`."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def folded(text: str) -> str:
    """`text` with one spelling, capitals or not."""
    return one_spelling(one_spelling(text).casefold())


class VideoIndex:
    """Finds videos by the paths that lists give, whatever their file type and the folders above them on this disk.

    Raises:
        DataError: the root is no folder, or cannot be read.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            what = "is a file" if root.exists() else "does not exist"
            raise DataError(f"data.root {root} {what}; give the folder that holds the videos")
        self.root = root
        self._real_root = os.path.realpath(root)
        self.roots = tuple(
            dict.fromkeys(path.rstrip("/") for path in (str(root), os.path.abspath(root), self._real_root))
        )
        """Ways to write the root in front of an absolute path."""
        self._outside: dict[str, str] = {}
        """Links that lead out of the root: relative path -> target."""
        self.videos: list[str] = []
        """Relative paths with forward slashes, sorted."""
        self.unreadable: list[str] = []
        """Folders that may not be read, with the reason."""
        self.ambiguous: list[str] = []
        """Paths asked for that are not there, while several other files could be meant."""
        self._with_others: set[str] = set()
        """Folders that hold files of other types, too, which a list may name."""
        self._walk("", [self._real_root])
        self.videos.sort()
        self._as_written = _Names(self.videos, str)
        self._folded: _Names | None = None

    def exact(self, path: str) -> str | None:
        """The file at `path`, whatever its type.

        Raises:
            DataError: `path` leads out of the root through a link.
        """
        self._refuse_outside(path)
        if path in self._as_written.by_path:
            return path
        if path.rpartition("/")[0] not in self._with_others:
            return None
        try:
            if not (self.root / path).is_file():
                return None
        except OSError:  # a name too long, a folder that may not be read
            return None
        if not self._is_inside(os.path.realpath(self.root / path)):
            raise DataError(self._link_message(path, os.path.realpath(self.root / path)))
        return path

    def find(self, path: str, *, taken: Collection[str] = ()) -> str | None:
        """The video at `path`, or with another file type there, or below other folders; spelled so or otherwise.

        A file of that name in another folder than `path` names is another file. Of several that fit, none is taken.

        Args:
            taken: videos that are listed under their own path, and so cannot be another one.

        Raises:
            DataError: `path` leads out of the root through a link.
        """
        found = self.exact(path)
        if found is not None:
            return found
        fitting = self._fitting(path, taken)
        if len(fitting) > 1:
            self.ambiguous.append(path)
        return fitting[0] if len(fitting) == 1 else None

    def names(self, path: str) -> bool:
        """Whether `path` names a video that is there, or several."""
        return self.exact(path) is not None or bool(self._fitting(path, ()))

    def _fitting(self, path: str, taken: Collection[str]) -> list[str]:
        if self._folded is None:
            self._folded = _Names(self.videos, folded)
        for names in (self._as_written, self._folded):
            fitting = [video for video in names.fitting(path, self.root.name) if video not in taken]
            if fitting:
                return fitting
        return []

    def refuse_links_outside(self) -> None:
        """Raises DataError if any video or folder is a link that leads out of the root."""
        for path in self._outside:
            self._refuse_outside(path)

    def _refuse_outside(self, path: str) -> None:
        if not self._outside:
            return
        for part in (path, *map(str, PurePosixPath(path).parents)):
            if part in self._outside:
                raise DataError(self._link_message(path, self._outside[part]))

    def _link_message(self, path: str, target: str) -> str:
        return (
            f"{path} under data.root {self.root} is a link to {target}, outside the root; "
            "copy or hard-link the files, or give the folder that holds them as data.root"
        )

    def _is_inside(self, real: str) -> bool:
        return os.path.commonpath([real, self._real_root]) == self._real_root

    def _walk(self, folder: str, above: list[str]) -> None:
        try:
            with os.scandir(self.root / folder) as entries:
                for entry in entries:
                    self._look(entry, f"{folder}/{entry.name}" if folder else entry.name, above)
        except OSError as error:
            if not folder:
                raise DataError(f"data.root {self.root} cannot be read: {error.strerror}") from error
            self.unreadable.append(f"{folder} ({error.strerror})")

    def _look(self, entry: "os.DirEntry[str]", path: str, above: list[str]) -> None:
        try:
            is_folder = entry.is_dir()
        except OSError:  # a link to itself, or into a folder that may not be read
            is_folder = False
        is_video = os.path.splitext(entry.name)[1].lower() in VIDEO_SUFFIXES
        if entry.name.startswith(".") or not (is_folder or is_video):
            self._with_others.add(path.rpartition("/")[0])
            return
        real = above[-1] + "/" + entry.name
        if entry.is_symlink():
            real = os.path.realpath(entry.path)
            # A link to what is not there leads nowhere: it is a video that is missing.
            if not self._is_inside(real) and os.path.exists(real):
                self._outside[path] = real
                return
        if not is_folder:
            self.videos.append(path)
        elif real not in above:
            self._walk(path, [*above, real])


class _Names:
    """Videos by their path, their path without the file type, and their name alone, in one kind of spelling."""

    def __init__(self, videos: Iterable[str], spell: Callable[[str], str]) -> None:
        self._spell = spell
        self.by_path: dict[str, list[str]] = defaultdict(list)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for video in videos:
            path = spell(video)
            stem = os.path.splitext(path)[0]
            self.by_path[path].append(video)
            self._by_stem[stem].append(video)
            self._by_name[stem.rpartition("/")[2]].append(video)

    def fitting(self, path: str, root_name: str) -> list[str]:
        """Videos that `path` may mean, the nearest kind of likeness alone."""
        path = self._spell(path)
        without_root = path.removeprefix(self._spell(root_name) + "/")
        for each in dict.fromkeys((path, without_root)):
            # What looks like a file type may be part of a name: `rec_2021.05`.
            stem, suffix = os.path.splitext(each)
            stems = (each, stem) if suffix.lower() in VIDEO_SUFFIXES else (each,)
            if each in self.by_path:
                return self.by_path[each]
            for candidate in stems:
                if candidate in self._by_stem:
                    return self._by_stem[candidate]
            for candidate in stems:
                below = [
                    video
                    for video in self._by_name.get(candidate.rpartition("/")[2], [])
                    if os.path.splitext("/" + self._spell(video))[0].endswith("/" + candidate)
                ]
                if below:
                    return below
        return []
