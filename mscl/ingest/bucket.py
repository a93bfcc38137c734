"""A dataset in object storage: listed once, and told from others by the bytes that a folder's files are told by."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from mscl.errors import DataError
from mscl.ingest.content_mark import content_mark, marked_parts
from mscl.video.object_storage import AT_ONCE, asked, not_allowed
from mscl.video.places import BucketPath, is_versioned, version_of
from storage.atomic import write_atomic
from storage.errors import StorageError

T = TypeVar("T")
Info = Mapping[str, Any]
"""What storage says of an object: `size`, and what its library adds."""

_SETTING = "data.root"
_FRESH_SECONDS = 60.0
"""A run reads its dataset's names several times before it begins; so long one listing serves."""
_BATCH, _BATCHES_KEPT = 256, 32
"""Objects whose parts are asked for together; and after how many of these what was read is written down."""
_remembered: dict[str, tuple[float, Any]] = {}


def forget_listings() -> None:
    """List anew: something was changed, and is to be seen at once."""
    _remembered.clear()


def _fresh(name: str, ask: Callable[[], T]) -> T:
    known = _remembered.get(name)
    if known is None or time.monotonic() - known[0] > _FRESH_SECONDS:
        known = _remembered[name] = (time.monotonic(), ask())
    found: T = known[1]
    return found


def listing(root: BucketPath) -> dict[str, Info]:
    """Relative path -> object, of all that lie under the root.

    Raises:
        DataError: there is none, or storage does not answer.
    """
    return _fresh(str(root), lambda: _listed_by_server(root) if root.listed_in else _listed(root))


def entries(folder: str) -> tuple[list[str], list[str]]:
    """Names of the folders and of the objects directly in a folder; none where it may not be looked at.

    Raises:
        DataError: storage does not answer.
    """

    def ask() -> tuple[list[str], list[str]]:
        try:
            found = asked(folder, lambda files: files.ls(folder, detail=True), setting=_SETTING)
        except (FileNotFoundError, PermissionError):
            return [], []
        names: tuple[list[str], list[str]] = [], []
        for one in found:
            names[one["type"] != "directory"].append(one["name"].rstrip("/").rpartition("/")[2])
        return names

    return _fresh(f"{folder}/", ask)


def _listed(root: BucketPath) -> dict[str, Info]:
    prefix = root.url.partition("://")[2]
    try:
        found = asked(root.url, lambda files: files.find(root.url, detail=True), setting=_SETTING, is_first=True)
    except FileNotFoundError:
        raise DataError(f"{_SETTING} {root} does not exist; check the names of bucket and folder") from None
    except PermissionError as error:
        raise not_allowed(str(root), error, setting=_SETTING) from error
    if prefix in found:
        raise DataError(f"{_SETTING} {root} is one object; give the folder that holds the videos")
    if not found:
        raise DataError(f"{_SETTING} {root} holds nothing; check the names of bucket and folder")
    return {name.removeprefix(f"{prefix}/"): info for name, info in found.items()}


def _listed_by_server(root: BucketPath) -> dict[str, Info]:
    """What the file of names has; an object that is not there has size -1."""

    def look(relative: str) -> Info:
        url = (root / relative).url
        try:
            info: Info = asked(url, lambda files: files.info(url), setting=_SETTING)
        except (FileNotFoundError, PermissionError):
            return {"size": -1}
        if info["size"] is None:
            raise DataError(
                f"{_SETTING} {root}: its server does not say how many bytes {relative} has (Content-Length)"
            )
        return info

    lines = read_object(root.listed_in, setting=_SETTING, is_first=True).decode("utf-8-sig", "replace").splitlines()
    names = sorted({line.strip() for line in lines if line.strip()})
    if odd := next((name for name in names if "://" in name or not is_plain(name)), None):
        raise DataError(f"{root}: {odd[:200]!r} is no path relative to this file, like class/video.mp4")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(names, pool.map(look, names), strict=True))


def is_plain(relative: str) -> bool:
    """Whether the name of an object is also a path of a file in a folder: storage knows no folders and takes any."""
    return not {"", ".", ".."} & set(relative.split("/")) and "\0" not in relative


def read_object(url: str, *, setting: str, is_first: bool = False) -> bytes:
    """The content of a small object, a list.

    Raises:
        DataError: there is none, it may not be read, or storage does not answer.
    """
    try:
        content: bytes = asked(url, lambda files: files.cat_file(url), setting=setting, is_first=is_first)
    except FileNotFoundError:
        raise DataError(f"{setting} {url} does not exist; check the name") from None
    except PermissionError as error:
        raise not_allowed(url, error, setting=setting) from error
    return content


def object_marks(root: BucketPath, videos: Sequence[str]) -> list[str]:
    """`content_marks` of objects, of which parts are read; what was read is remembered until an object changes.

    Raises:
        DataError: storage does not answer.
    """
    infos = listing(root)
    memory = root.cache.folder / f".marks-{hashlib.sha256(str(root).encode()).hexdigest()[:20]}.json"
    remembered = _marks_in(memory)
    versions = {video: version_of((root / video).url, infos.get(video, {"size": -1})) for video in videos}
    marks = {video: remembered[version] for video, version in versions.items() if version in remembered}
    todo = [video for video in videos if video not in marks]
    for first in range(0, len(todo), _BATCH):
        batch = todo[first : first + _BATCH]
        marks |= _read_marks(root, {video: infos[video]["size"] if video in infos else -1 for video in batch})
        if first // _BATCH % _BATCHES_KEPT == _BATCHES_KEPT - 1 or first + _BATCH >= len(todo):
            sure = {
                versions[video]: mark
                for video, mark in marks.items()
                if is_versioned(infos.get(video, {})) and mark[0].isdigit()  # else why it could not be read
            }
            with suppress(StorageError, OSError):  # they are read again then
                memory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_atomic(memory, json.dumps(sure).encode())
    return [marks[video] for video in videos]


def _read_marks(root: BucketPath, sizes_bytes: Mapping[str, int]) -> dict[str, str]:
    """Marks of a few objects, whose parts are asked for together."""
    parts = [(video, *part) for video, size in sizes_bytes.items() for part in marked_parts(max(0, size)) if size > 0]
    urls, starts, ends = ([(root / video).url for video, _, _ in parts], [p[1] for p in parts], [p[2] for p in parts])

    def read(files: Any) -> list[bytes | Exception]:
        got: list[bytes | Exception] = files.cat_ranges(urls, starts, ends, on_error="return", batch_size=AT_ONCE)
        for one in got:
            if isinstance(one, Exception) and not isinstance(one, FileNotFoundError | PermissionError):
                raise one
        return got

    content: dict[str, bytes] = {}
    errors = {video: os.strerror(errno.ENOENT) for video, size in sizes_bytes.items() if size < 0}
    for (video, start, end), got in zip(parts, asked(root.url, read, setting=_SETTING) if parts else (), strict=True):
        if isinstance(got, Exception):
            errors[video] = os.strerror(errno.ENOENT if isinstance(got, FileNotFoundError) else errno.EACCES)
            continue
        # A web server may know no ranges, and send all.
        content[video] = content.get(video, b"") + (got[start:end] if len(got) == sizes_bytes[video] else got)
    return {v: errors.get(v) or content_mark(size, content.get(v, b"")) for v, size in sizes_bytes.items()}


def _marks_in(memory: Path) -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(memory.read_bytes())
    except (OSError, ValueError):
        return {}
    return found
