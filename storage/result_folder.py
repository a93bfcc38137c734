"""The folder of one result: its record, what it was made with, and the marks of damage and of a killed removal.

The record is written last and removed first. A mark of damage makes of a finished result unfinished work, which its
stage mends.
"""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.atomic import digest_file, disk_errors, write_atomic
from storage.errors import LockedError, UnreadableError
from storage.record import RECORD_NAME, Record, missing_files, read_record, short_key

BEGUN = ".begun.json"
DAMAGED = ".damaged"
HALF_REMOVED = ".half-removed"
"""There while everything else goes: what a kill leaves beside it is nothing to go on from."""


@dataclass(frozen=True)
class Result:
    """A finished stage result: its folder and its record."""

    folder: Path
    record: Record

    @property
    def key(self) -> str:
        return self.record.key

    @property
    def short_key(self) -> str:
        return short_key(self.key)


def whole(folder: Path) -> Result | None:
    """The finished result in `folder`, all its files there and none known to be damaged; or None."""
    record = read_record(folder)
    if record is None or (folder / DAMAGED).exists() or missing_files(folder, record):
        return None
    return Result(folder, record)


def whole_if_readable(folder: Path) -> Result | None:
    """As `whole`; None where it may not be read, too."""
    try:
        return whole(folder)
    except UnreadableError:
        return None


def mark_damaged(folder: Path, lines: Sequence[str]) -> None:
    """Keep a result from being used again as it is: from now on it is unfinished work, for its stage to mend."""
    write_atomic(folder / DAMAGED, "".join(f"{line}\n" for line in lines).encode())


def is_damaged(folder: Path) -> bool | None:
    """Whether the result in `folder` was finished once and is no longer whole; None: it may not be read."""
    try:
        return (folder / DAMAGED).exists() or ((folder / RECORD_NAME).exists() and whole(folder) is None)
    except (UnreadableError, PermissionError):
        return None


def known_damage(folder: Path) -> list[str]:
    """What `mark_damaged` was told; empty where files are merely missing, or nothing is wrong."""
    try:
        return (folder / DAMAGED).read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []


def clear_damaged(folder: Path) -> None:
    """Take back `mark_damaged`: everything was checked, and is whole."""
    if (folder / DAMAGED).exists():
        with disk_errors(folder):
            (folder / DAMAGED).unlink()


def is_half_removed(folder: Path) -> bool:
    """Whether a process that removed the result in `folder` was killed over it."""
    return (folder / HALF_REMOVED).exists()


def is_left_over(folder: Path) -> bool:
    """Whether nothing can be resumed in `folder`: a removal of its result was killed, or there is nothing in it."""
    with suppress(OSError):
        return is_half_removed(folder) or not any(folder.iterdir())
    return False


def is_foreign(folder: Path) -> bool:
    """Whether something lies in `folder`, and nothing says that it is a result: it is somebody's, and stays.

    Of a copy that somebody has put beside a result (`KEY.old`) the record says the same key.
    """
    if not folder.name.isalnum():
        return True
    with suppress(OSError):  # what may not be looked at may be a result
        if not any((folder / mark).exists() for mark in (RECORD_NAME, BEGUN, DAMAGED, HALF_REMOVED)):
            return any(not path.name.startswith(".") for path in folder.iterdir())
    return False


def clear(folder: Path) -> None:
    """Remove all in the folder of a result; its record goes first, and last what says that it is half removed.

    Raises:
        LockedError: another program has a file of it open, on a file system that then keeps it (NFS).
        StorageError: the disk refuses.
    """
    with disk_errors(folder), _open_elsewhere(folder):
        (folder / RECORD_NAME).unlink(missing_ok=True)
        with suppress(OSError):  # of a disk that is full things may be removed all the same
            (folder / HALF_REMOVED).touch()
        for path in sorted(folder.iterdir(), key=lambda path: (path.name == HALF_REMOVED, path.name == BEGUN)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


@contextmanager
def _open_elsewhere(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise
        raise LockedError(
            f"{folder} is half removed, for another program has {error.filename} open; end it (TensorBoard, a "
            "notebook), then run the same command again"
        ) from error


def remove_changed(folder: Path) -> None:
    """Remove files of a result that lacks others and that are not as its record says: no new one may vouch for them."""
    record = read_record(folder)
    for file in record.files if record is not None else ():
        path = folder / file.path
        if path.is_file() and digest_file(path) != file.digest:
            with disk_errors(path):
                path.unlink()


def made_with(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """(settings, inputs) of the result in `folder`, finished or begun; empty as far as that is not known."""
    record = read_record(folder)
    if record is not None:
        return record.config, record.inputs
    begun = _begun(folder)
    return begun.get("config", {}), begun.get("inputs", {})


def contents_read(folder: Path) -> dict[str, str]:
    """Stage name -> `content_of` what the result in `folder`, finished or begun, was made from, as far as is known."""
    record = read_record(folder)
    return record.contents if record is not None else _begun(folder).get("contents", {})


def forced_by(folder: Path) -> str:
    """Who had the result in `folder` computed again, as `Workspace.begin` was told; empty where nobody had."""
    return str(_begun(folder).get("forced_by", {}).get("run", ""))


def _begun(folder: Path) -> dict[str, dict[str, Any]]:
    try:
        begun = json.loads((folder / BEGUN).read_bytes())
        return {name: dict(begun.get(name, {})) for name in ("config", "inputs", "contents", "forced_by")}
    except PermissionError as error:
        raise UnreadableError(f"cannot read {folder / BEGUN}: {error.strerror}; ask its owner") from error
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
