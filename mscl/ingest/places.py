"""Where a dataset lies, which is not what it is: results are named by content and relative paths."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

from mscl.config import ExperimentConfig
from mscl.ingest.annotations.recognise import given_paths
from mscl.ingest.config import DataConfig
from storage.user_paths import user_path
from storage.workspace import Result

_BLOCK_BYTES = 4096
_READERS = 16
"""Threads: they wait for the disk, or for the network that it is on."""


def dataset_root(data: DataConfig) -> Path:
    """`data.root` as an absolute path."""
    return user_path(data.root).resolve()


def videos_root(config: ExperimentConfig, ingest: Result) -> Path:
    """Where the videos of an ingest result are now: where this run says, else where they were ingested."""
    return dataset_root(config.data) if config.data.root else Path(str(ingest.record.config["data"]["root"]))


def places(config: ExperimentConfig) -> dict[str, Any]:
    """What the record says of where the dataset was, beside the settings that decide the result."""
    data = config.data
    lists = ",".join(str(path.absolute()) for path in given_paths(data.annotations)) if data.annotations else ""
    return {"data": {"root": str(dataset_root(data)), "annotations": lists}}


def file_bytes(path: Path) -> int:
    """Size of a file; -1 where it is missing or may not be looked at."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def content_marks(paths: list[Path]) -> list[str]:
    """For each file what tells it from others, without reading it whole: its size and a digest of three blocks.

    The blocks are the first, the middle and the last 4 KiB. Time stamps are left out: they change when a dataset is
    copied. A file that cannot be read has a mark of its own.
    """
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(_content_mark, paths, chunksize=64))


def _content_mark(path: Path) -> str:
    try:
        status = path.stat()
        return f"{status.st_size} {_blocks(path, status.st_size, status.st_mtime_ns)}"
    except OSError as error:
        return str(error.strerror)


@lru_cache(maxsize=1 << 19)
def _blocks(path: Path, size: int, _mtime_ns: int) -> str:
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe of that name does not hold us up
    try:
        for start in sorted({0, max(0, (size - _BLOCK_BYTES) // 2), max(0, size - _BLOCK_BYTES)}):
            digest.update(os.pread(descriptor, _BLOCK_BYTES, start))
    finally:
        os.close(descriptor)
    return digest.hexdigest()[:32]
