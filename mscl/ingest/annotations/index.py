"""The video files under a root, found by the paths that lists give."""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable

from mscl.ingest.annotations.trees import VIDEO_SUFFIXES, Tree


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
    """Finds videos by the paths that lists give, whatever their file type and the folders above them on this disk."""

    def __init__(self, tree: Tree) -> None:
        self.root, self.roots, self.videos = tree.root, tree.roots, tree.videos
        self.unreadable, self.others = tree.unreadable, tree.others
        self.refuse_links_outside = tree.refuse_links_outside
        self.ambiguous: list[str] = []
        """Paths asked for that are not there, while several other files could be meant."""
        self._tree = tree
        self._as_written = _Names(self.videos, str)
        self._folded: _Names | None = None

    def exact(self, path: str) -> str | None:
        """The file at `path`, whatever its type.

        Raises:
            DataError: `path` leads out of the root through a link.
        """
        self._tree.refuse_outside(path)
        return path if path in self._as_written.by_path or self._tree.has_file(path) else None

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
