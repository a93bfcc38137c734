"""Files that are there whole or not at all: stage, fsync, rename, fsync the folder.

A reader, or a run after a kill or a power cut, sees either the old file or the new one, never a part.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from storage.errors import DamagedError, StorageError, UnreadableError

STAGED_PREFIX = ".staged-"

Buffer = bytes | bytearray | memoryview
DISK_IS_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_ALLOWED = {errno.EROFS, errno.EACCES, errno.EPERM}


def fsync_folder(path: Path) -> None:
    """Make the names inside folder `path` durable (a rename is not, until its folder is synced)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def staged_path(final: Path) -> Path:
    """Where the content of `final` is gathered before it is published: same folder, so that renaming is atomic."""
    return final.with_name(f"{STAGED_PREFIX}{os.getpid()}-{final.name}")


def publish(staged: Path, final: Path) -> None:
    """Give the complete file or folder `staged` its name `final`, durably and at once.

    A file of that name is replaced; a folder must not exist or be empty. Both must be on one file system.
    """
    descriptor = os.open(staged, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(staged, final)
    fsync_folder(final.parent)


def write_atomic(path: Path, data: Buffer | Iterable[Buffer]) -> str:
    """Write `data` (bytes, or pieces in order) to `path` so that it appears whole or not at all.

    Returns:
        sha256 of the content in hexadecimal, of the bytes that were meant to be written.

    Raises:
        StorageError: no space, no permission, a file-size limit; nothing is left at `path` that was not there before.
    """
    pieces: Iterable[Buffer] = [data] if isinstance(data, Buffer) else data
    digest = hashlib.sha256()
    staged = staged_path(path)
    try:
        with staged.open("wb") as file:
            for piece in pieces:
                digest.update(piece)
                file.write(piece)
        publish(staged, path)
    except BaseException as error:
        with suppress(OSError):  # a file system that takes nothing does not remove anything either
            staged.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise cannot_write(path, error) from error
        raise
    return digest.hexdigest()


@contextmanager
def disk_errors(place: Path) -> Iterator[None]:
    """Turns what the file system refuses inside the block (full, read-only, another user's) into a StorageError.

    For writes by other means than `write_atomic`; the message names the file, or `place` where that is not known.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_IS_FULL | _NOT_ALLOWED:
            raise
        verb = "read or write" if error.errno in (errno.EACCES, errno.EPERM) else "write"
        path = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else place
        raise cannot_write(path, error, verb=verb) from error


def cannot_write(path: Path, error: OSError, *, verb: str = "write", needs_bytes: int | None = None) -> StorageError:
    """What the user is told of a file that the file system does not take, in one line."""
    what = "choose a place where you may" if error.errno in _NOT_ALLOWED else "check the path"
    room = []
    if error.errno in DISK_IS_FULL:
        what = "free space or choose another workspace"
        if needs_bytes is not None:
            room.append(f"it takes {needs_bytes / 1e6:,.1f} MB")
        if error.errno == errno.ENOSPC:
            with suppress(OSError):
                room.append(f"{shutil.disk_usage(path.parent).free / 1e6:,.1f} MB are free")
    why = error.strerror or str(error)
    if room:
        why += f"; {' and '.join(room)}"
    return StorageError(
        f"cannot {verb} {path}: {why}; {what}, then run the same command again: what is already stored is kept"
    )


def digest_file(path: Path) -> str:
    """sha256 of the file's content in hexadecimal.

    Raises:
        DamagedError: the file is missing, or the disk cannot read it.
        UnreadableError: the user may not read it.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except PermissionError as error:
        raise UnreadableError(f"cannot read {path}: {error.strerror}; ask its owner") from error
    except OSError as error:
        raise DamagedError(f"cannot read {path}: {error.strerror or error}") from error


def remove_staged(folder: Path) -> int:
    """Delete what killed writers left half-written in `folder` and below; returns how many files and folders.

    Only for the holder of the result's lock, before its own writers start: a living writer's file would go, too.
    """
    count = 0
    for path in list(folder.rglob(f"{STAGED_PREFIX}*")):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        count += 1
    return count
