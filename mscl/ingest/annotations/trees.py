"""The files under a root, walked or listed once: of a folder, and in object storage."""

import os
from collections import Counter, defaultdict
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Protocol

from mscl.errors import DataError
from mscl.ingest.bucket import is_plain, listing
from mscl.video.places import BucketPath, Place

VIDEO_SUFFIXES = frozenset((
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".gif", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mkv",
    ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogm", ".ogv", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv",
    ".y4m",
))  # fmt: skip
"""File types that are videos without being listed; a list may name any file."""
_LOOKED_AT = 1000
"""Entries of a folder beside the root, before it counts as one without videos."""
_NOT_THE_USERS = frozenset(("#recycle", "$RECYCLE.BIN", "@eaDir", "System Volume Information", "__MACOSX"))
"""Folders of systems: what was deleted, thumbnails, forks of files."""


class Tree(Protocol):
    """What a root holds."""

    root: Place
    roots: tuple[str, ...]
    """Ways to write the root in front of an absolute path."""
    videos: list[str]
    """Relative paths with forward slashes, sorted."""
    unreadable: list[str]
    """Folders, or names, that cannot be used, with the reason."""
    others: dict[str, Counter[str]]
    """Files that are no videos by their type: folder, down to the second level -> type -> how many; no hidden ones."""

    def has_file(self, path: str) -> bool:
        """Whether there is a file, which is not among the videos: of any type.

        Raises:
            DataError: `path` leads out of the root through a link.
        """

    def refuse_outside(self, path: str) -> None:
        """Raises DataError if `path` leads out of the root through a link."""

    def refuse_links_outside(self) -> None:
        """Raises DataError if any video or folder is a link that leads out of the root."""


def tree_of(root: Place) -> Tree:
    """What lies under a root.

    Raises:
        DataError: the root is no folder, cannot be read, or its storage does not answer.
    """
    return FolderTree(root) if isinstance(root, Path) else BucketTree(root)


def folders_of_videos_beside(root: Path) -> list[str]:
    """Names of the folders next to a root that hold videos themselves; none where they may not be looked at."""
    try:
        folders = [folder for folder in sorted(root.resolve().parent.iterdir()) if not folder.name.startswith(".")]
        return [folder.name for folder in folders if folder != root.resolve() and _holds_videos(folder)]
    except OSError:
        return []


def _holds_videos(folder: Path) -> bool:
    if not folder.is_dir() or folder.name in _NOT_THE_USERS:
        return False
    with os.scandir(folder) as entries:  # the folder above a root may be anything, with millions of files in it
        return any(_is_video(entry.name) for entry in islice(entries, _LOOKED_AT))


def _count_other(others: dict[str, Counter[str]], path: str) -> None:
    *folders, name = path.split("/")
    others["/".join(folders[:2])][os.path.splitext(name)[1].lower()] += 1


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _NOT_THE_USERS


def _is_video(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES


class BucketTree:
    """Objects under a prefix; storage has no links, and what it calls folders are parts of names."""

    def __init__(self, root: BucketPath) -> None:
        self.root: Place = root
        self.roots: tuple[str, ...] = (root.url,)
        names = [name for name in listing(root) if is_plain(name)]
        self._files = set(names)
        seen = [name for name in names if not any(map(_is_hidden, name.split("/")))]
        self.videos = sorted(name for name in seen if _is_video(name.rpartition("/")[2]))
        self.others: dict[str, Counter[str]] = defaultdict(Counter)
        for name in set(seen).difference(self.videos):
            _count_other(self.others, name)
        odd = [name for name in listing(root) if not is_plain(name) and not name.endswith("/")]
        self.unreadable = [f"{name!r} (no path of a file)" for name in odd]

    def has_file(self, path: str) -> bool:
        return path in self._files

    def refuse_outside(self, path: str) -> None: ...

    def refuse_links_outside(self) -> None: ...


class FolderTree:
    """A folder of this machine, links in it followed as far as they stay inside."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            what = "is a file" if root.exists() else "does not exist"
            raise DataError(f"data.root {root} {what}; give the folder that holds the videos")
        self.root: Place = root
        self._folder, self._real_root = root, os.path.realpath(root)
        self.roots: tuple[str, ...] = tuple(
            dict.fromkeys(path.rstrip("/") for path in (str(root), os.path.abspath(root), self._real_root))
        )
        self._outside: dict[str, str] = {}
        """Links that lead out of the root: relative path -> target."""
        self.videos: list[str] = []
        self.unreadable: list[str] = []
        self.others: dict[str, Counter[str]] = defaultdict(Counter)
        self._with_others: set[str] = set()
        """Folders that hold files of other types, too, which a list may name."""
        self._walk("", [self._real_root])
        self.videos.sort()

    def has_file(self, path: str) -> bool:
        if path.rpartition("/")[0] not in self._with_others:
            return False
        try:
            if not (self._folder / path).is_file():
                return False
        except OSError:  # a name too long, a folder that may not be read
            return False
        if not self._is_inside(os.path.realpath(self._folder / path)):
            raise DataError(self._link_message(path, os.path.realpath(self._folder / path)))
        return True

    def refuse_links_outside(self) -> None:
        for path in self._outside:
            self.refuse_outside(path)

    def refuse_outside(self, path: str) -> None:
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
            with os.scandir(self._folder / folder) as entries:
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
        if _is_hidden(entry.name) or not (is_folder or _is_video(entry.name)):
            self._with_others.add(path.rpartition("/")[0])
            if not _is_hidden(entry.name):
                _count_other(self.others, path)
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
