"""The video files under a root, walked once."""

import os
from collections import defaultdict
from pathlib import Path, PurePosixPath

from mscl.errors import DataError

VIDEO_SUFFIXES = frozenset((
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".gif", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mkv",
    ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogm", ".ogv", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv",
    ".y4m",
))  # fmt: skip


class VideoIndex:
    """Finds videos by the paths that lists give, whatever their file type and folder on this disk.

    Raises:
        DataError: the root is no folder, or a folder in it cannot be read.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            what = "is a file" if root.exists() else "does not exist"
            raise DataError(f"data.root {root} {what}; give the folder that holds the videos")
        self.root = root
        self._real_root = os.path.realpath(root)
        self._outside: dict[str, str] = {}
        """Links that lead out of the root: relative path -> target."""
        self.videos: list[str] = []
        """Relative paths with forward slashes, sorted."""
        self.ambiguous: list[str] = []
        """Paths asked for that are not there, while several files elsewhere have that name."""
        try:
            self._walk("", [self._real_root])
        except OSError as error:
            raise DataError(f"cannot read the folder {error.filename}: {error.strerror}") from error
        self.videos.sort()
        self._exact = set(self.videos)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for video in self.videos:
            stem = _stem(video)
            self._by_stem[stem].append(video)
            self._by_name[stem.rpartition("/")[2]].append(video)

    def find(self, path: str) -> str | None:
        """The video at `path`, or with another suffix there, or the only one of that name elsewhere.

        Of several with the same name the one in a folder of the same name as in `path` counts; else none does.

        Raises:
            DataError: `path` leads out of the root through a link.
        """
        self._refuse_outside(path)
        if path in self._exact:
            return path
        # Some names end in what looks like a suffix, so the whole path is tried as a stem, too.
        stems = (_stem(path), path)
        for stem in stems:
            if found := self._by_stem.get(stem):
                return found[0]
        for stem in stems:
            folder, _, name = stem.rpartition("/")
            found = self._by_name.get(name, [])
            near = [video for video in found if video.split("/")[-2:-1] == folder.split("/")[-1:]]
            if len(found) == 1 or len(near) == 1:
                return (near or found)[0]
            if found:
                self.ambiguous.append(path)
                return None
        return None

    def refuse_links_outside(self) -> None:
        """Raises DataError if any video or folder is a link that leads out of the root."""
        for path in self._outside:
            self._refuse_outside(path)

    def _refuse_outside(self, path: str) -> None:
        if not self._outside:
            return
        for part in (path, *map(str, PurePosixPath(path).parents)):
            if part in self._outside:
                raise DataError(
                    f"{path} under data.root {self.root} is a link to {self._outside[part]}, outside the root; "
                    "copy or hard-link the files, or give the folder that holds them as data.root"
                )

    def _walk(self, folder: str, above: list[str]) -> None:
        with os.scandir(self.root / folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                path = f"{folder}/{entry.name}" if folder else entry.name
                is_video = os.path.splitext(entry.name)[1].lower() in VIDEO_SUFFIXES
                is_folder = entry.is_dir()
                if not is_folder and not is_video:
                    continue
                real = above[-1] + "/" + entry.name
                if entry.is_symlink():
                    real = os.path.realpath(entry.path)
                    if os.path.commonpath([real, self._real_root]) != self._real_root:
                        self._outside[path] = real
                        continue
                if not is_folder:
                    self.videos.append(path)
                elif real not in above:
                    self._walk(path, [*above, real])


def _stem(path: str) -> str:
    return os.path.splitext(path)[0]
