"""Where a dataset lies, which is not what it is: results are named by content and relative paths."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

from mscl.addresses import is_url
from mscl.config import ExperimentConfig
from mscl.ingest.annotations.lists_at_hand import given_lists
from mscl.ingest.bucket import listing, object_marks
from mscl.ingest.content_mark import content_mark, marked_parts
from mscl.video.places import Place, place_of
from storage.result_folder import Result
from storage.user_paths import user_path

_READERS = 16
"""Threads: they wait for the disk, or for the network that it is on."""


def dataset_root(config: ExperimentConfig) -> Place:
    """`data.root` as an absolute path, or as the place in object storage that it names."""
    return place_of(config.data.root, config.runtime)


def videos_root(config: ExperimentConfig, ingest: Result) -> Place:
    """Where the videos of an ingest result are now: where this run says, else where they were ingested."""
    return place_of(config.data.root or str(ingest.record.config["data"]["root"]), config.runtime)


def places(config: ExperimentConfig) -> dict[str, Any]:
    """What the record says of where the dataset was, and of what may be bad, beside the settings that decide it."""
    lists = [
        given if is_url(given) else str(user_path(given).absolute()) for given in given_lists(config.data.annotations)
    ]
    return {
        "data": {
            "root": str(dataset_root(config)), "annotations": ",".join(lists),
            "max_bad_fraction": config.data.max_bad_fraction,
        }
    }  # fmt: skip


def file_sizes(root: Place, videos: Sequence[str]) -> dict[str, int]:
    """Size of each file in bytes; -1 where it is missing or may not be looked at."""
    if isinstance(root, Path):
        return {video: _file_bytes(root / video) for video in videos}
    infos = listing(root)
    return {video: infos[video]["size"] if video in infos else -1 for video in videos}


def _file_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def content_marks(root: Place, videos: Sequence[str]) -> list[str]:
    """The mark of each file (`mscl.ingest.content_mark`), the same wherever it lies.

    A file that cannot be read has a mark of its own.
    """
    if not isinstance(root, Path):
        return object_marks(root, videos)
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(_mark, [root / video for video in videos], chunksize=64))


def _mark(path: Path) -> str:
    try:
        status = path.stat()
        return _mark_of(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        return str(error.strerror)


@lru_cache(maxsize=1 << 19)
def _mark_of(path: Path, size_bytes: int, _mtime_ns: int) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe of that name does not hold us up
    try:
        return content_mark(
            size_bytes, b"".join(os.pread(descriptor, end - start, start) for start, end in marked_parts(size_bytes))
        )
    finally:
        os.close(descriptor)
