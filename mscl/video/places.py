"""Where a video is: a file of this machine, or an object that is brought to it while it is read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from mscl.addresses import check_url, is_url
from mscl.errors import DataError
from mscl.stage.config import RuntimeConfig
from mscl.video.config import DecodeLimits
from mscl.video.object_storage import asked
from storage.file_cache import FileCache
from storage.user_paths import user_path

_SETTING = "data.root"
_VERSION = ("ETag", "etag", "generation", "md5Hash", "Content-MD5", "LastModified", "last_modified", "Last-Modified")
"""What storages say that changes with an object's content, by the names of their libraries."""


@dataclass(frozen=True)
class BucketPath:
    """A folder or an object in object storage; goes to workers of other machines as it is."""

    url: str
    cache: FileCache
    listed_in: str = ""
    """Of the root of a web server: the address of the file that lists what it has, which is how users name it."""

    def __str__(self) -> str:
        return self.listed_in or self.url

    def __truediv__(self, relative: str) -> BucketPath:
        return BucketPath(f"{self.url}/{quote(relative) if self.url.startswith('http') else relative}", self.cache)

    @property
    def name(self) -> str:
        """The last part."""
        return self.url.rpartition("/")[2]

    @contextmanager
    def held(self, limits: DecodeLimits) -> Iterator[Path]:
        """The object as a file, which stays while the block runs.

        Raises:
            FileNotFoundError: there is no such object.
            PermissionError: it may not be read.
            VideoError: it is larger than the limit; it is not fetched.
            DataError: storage does not answer, or the object does not fit into the cache.
            StorageError: the cache cannot be written.
        """
        # Here, for it brings the decoder, which whoever only names places need not wait for.
        from mscl.video.opening import check_bytes

        info = asked(self.url, lambda files: files.info(self.url), setting=_SETTING)
        if info["size"] is None:
            raise DataError(f"{self}: its server does not say how many bytes it has (Content-Length)")
        size_bytes = int(info["size"])
        check_bytes(size_bytes, limits)
        if size_bytes > self.cache.max_bytes:
            raise DataError(
                f"{self} has {size_bytes / 1e9:.3g} GB, and runtime.video_cache_gb is "
                f"{self.cache.max_bytes / 1e9:.3g}; raise it"
            )
        suffix = PurePosixPath(self.url).suffix[:16]  # FFmpeg looks at it, too
        name = hashlib.sha256(version_of(self.url, info).encode()).hexdigest()[:40] + suffix

        def fetch(to: Path) -> None:
            asked(self.url, lambda files: files.get_file(self.url, str(to)), setting=_SETTING)
            if to.stat().st_size != size_bytes:
                raise DataError(f"{self} was changed while it was read; run the same command again")

        with self.cache.hold(name, size_bytes, fetch) as path:
            yield path


Place = Path | BucketPath


def version_of(url: str, info: Mapping[str, Any]) -> str:
    """An object at one moment: its address, its size, and all that changes with its content."""
    return " ".join([url, str(info["size"]), *(str(info[name]) for name in _VERSION if info.get(name))])


def is_versioned(info: Mapping[str, Any]) -> bool:
    """Whether storage says when an object changes."""
    return any(info.get(name) for name in _VERSION)


def place_of(root: str, runtime: RuntimeConfig) -> Place:
    """A folder as users and records name it.

    Raises:
        ConfigError: an address that is not taken.
        DataError: a web server, without a file that lists what it has.
    """
    if not is_url(root):
        return user_path(root).resolve()
    check_url(root, setting=_SETTING)
    url, cache = root.rstrip("/"), video_cache(runtime)
    if not url.startswith("http"):
        return BucketPath(url, cache)
    if not url.endswith(".txt"):
        raise DataError(
            f"{_SETTING} {url}: a web server does not say what it has; put a file with the relative path of a video in "
            f"each line beside them and give its address, {_SETTING}={url}/videos.txt"
        )
    return BucketPath(url.rpartition("/")[0], cache, listed_in=url)


def video_cache(runtime: RuntimeConfig) -> FileCache:
    """Where videos are kept that were fetched."""
    folder = runtime.video_cache or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "mscl" / "videos"
    return FileCache(user_path(folder).absolute(), int(1e9 * runtime.video_cache_gb), setting="runtime.video_cache")


@contextmanager
def at_hand(place: Place, *, limits: DecodeLimits) -> Iterator[Path]:
    """A video as a file of this machine.

    Raises:
        as `BucketPath.held`; nothing for a path, of which nothing is asked.
    """
    if isinstance(place, Path):
        yield place
    else:
        with place.held(limits) as path:
            yield path
