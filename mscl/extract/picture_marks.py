"""What tells one state of a folder of flow pictures from another: part of the key of a result that was read from it.

Of every folder the names of its pictures, and of the first, the middle and the last the size and parts of the content:
a tool that ran again, or with another bound, changes all of them. To read all would take as long as the stage.
"""

import hashlib
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from mscl.extract.denseflow import is_flow_picture
from mscl.ingest.places import content_marks
from storage.errors import UnreadableError

_PICTURES = (".jpg", ".jpeg", ".png")


def pictures_mark(root: Path) -> str:
    """The mark of all pictures below `root`, the same wherever it lies.

    Raises:
        UnreadableError: a folder that may not be read.
    """
    digest = hashlib.sha256()
    samples: list[str] = []
    for folder, names, chosen in _folders(root):
        digest.update(f"{folder}\n{names}\n".encode("utf-8", "surrogateescape"))
        samples += [os.path.join(folder, name) for name in chosen]
    for mark in content_marks(root, samples):
        digest.update(f"{mark}\n".encode())
    return digest.hexdigest()


def _folders(root: Path) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Of every folder with pictures, by name: its path below the root, a digest of their names, and three of them."""
    waiting, seen = [""], set[str]()
    while waiting:
        folder = waiting.pop()
        path = root / folder
        if (real := os.path.realpath(path)) in seen:  # a link to a folder above
            continue
        seen.add(real)
        try:
            below, names, chosen = _listed(path, path.stat().st_mtime_ns)
        except OSError as error:
            raise UnreadableError(f"flow.pictures: cannot list {path}: {error.strerror}; ask its owner") from error
        waiting += [os.path.join(folder, name) for name in reversed(below)]
        if chosen:
            yield folder, names, chosen


@lru_cache(maxsize=1 << 17)
def _listed(path: Path, _mtime_ns: int) -> tuple[tuple[str, ...], str, tuple[str, ...]]:
    """Folders in a folder, a digest of its pictures' names, and the first, middle and last of them."""
    below: list[str] = []
    files: list[str] = []
    with os.scandir(path) as entries:
        for entry in entries:
            (below if entry.is_dir() else files).append(entry.name)
    pictures = sorted(name for name in files if name.lower().endswith(_PICTURES))
    # Frames lie beside the flow as MMAction lays it out.
    pictures = [name for name in pictures if is_flow_picture(name)] or pictures
    digest = hashlib.sha256("\n".join(pictures).encode("utf-8", "surrogateescape")).hexdigest()
    chosen = dict.fromkeys(pictures[place] for place in (0, len(pictures) // 2, -1)) if pictures else {}
    return tuple(sorted(below)), digest, tuple(chosen)
