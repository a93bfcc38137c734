"""A workspace: a folder of stage results, each at `<workspace>/<stage>/<key>/`.

The files are the truth. A result is done when its record is there and names files that are there; anything
else is unfinished work that its stage may resume. One process at a time works on a result: the lock is
an advisory `flock`, which the kernel drops when its holder dies, however it dies.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.atomic import digest_file, disk_errors, write_atomic
from storage.errors import LockedError, StorageError, UnreadableError
from storage.locks import is_locked, open_lock, take_lock
from storage.record import (
    RECORD_NAME,
    OutputFile,
    Record,
    canonical_json,
    missing_files,
    provenance,
    read_record,
    sealed,
)
from storage.user_paths import in_workspace, user_path

_BEGUN = ".begun.json"
_DAMAGED = ".damaged"
_HALF_REMOVED = ".half-removed"
"""There while everything else goes: what a kill leaves beside it is nothing to go on from."""
_LOCKS = ".locks"
_MARK = ".mscl-workspace"


@dataclass(frozen=True)
class Result:
    """A finished stage result: its folder and its record."""

    folder: Path
    record: Record

    @property
    def key(self) -> str:
        return self.record.key


class Workspace:
    """A folder of results. Made on first use; refuses a folder that holds other things."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = user_path(root).resolve()
        if self.root.exists() and not self.root.is_dir():
            raise StorageError(f"workspace {self.root} is a file; give a folder")
        if self.root.is_dir() and not (self.root / _MARK).exists() and _entries(self.root):
            raise StorageError(f"workspace {self.root} holds other files; give a new or empty folder")

    def folder(self, stage: str, key: str) -> Path:
        """Where the result of a stage lies or will lie."""
        return self.root / stage / key

    def find(self, stage: str, key: str) -> Result | None:
        """The finished result, or None."""
        return _whole(self.folder(stage, key))

    def results(self, stage: str | None = None, *, key: str = "") -> list[Result]:
        """Finished results, least recently used first.

        Args:
            key: only those whose key begins with it.
        """
        found = [
            result
            for folder in self.folders(stage)
            if folder.name.startswith(key) and (result := _whole_if_readable(folder)) is not None
        ]
        return sorted(found, key=lambda result: (result.folder / RECORD_NAME).stat().st_mtime_ns)

    def latest(self, stage: str) -> Result | None:
        """The finished result of a stage that was made or reused last."""
        results = self.results(stage)
        return results[-1] if results else None

    def by_key(self, key: str) -> Result:
        """The finished result whose key begins with `key` (at least 4 digits).

        Raises:
            StorageError: none, or more than one, or one that is not finished or damaged.
        """
        found = self.results(key=key) if len(key) >= 4 else []
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(f"{r.record.stage}/{r.key}" for r in found)
            raise StorageError(f"key {key!r} is ambiguous in {self.root}: {names}; give more digits")
        folder = self.locate(key)
        damaged = self.is_damaged(folder)
        if damaged is None:
            raise UnreadableError(f"{folder} may not be read; ask its owner")
        what = "is damaged" if damaged else "was begun and is not finished"
        verify = f"mscl verify {folder.name}{in_workspace(self.root)}"
        raise StorageError(f"{folder.parent.name} {folder.name} {what}; `{verify}` says what to do")

    def locate(self, key: str) -> Path:
        """Folder of the result whose key begins with `key` (at least 4 digits), be it finished, damaged or only begun.

        Raises:
            StorageError: none, or more than one.
        """
        found = [path for path in self.folders() if path.name.startswith(key)] if len(key) >= 4 else []
        if len(found) == 1:
            return found[0]
        what = "is ambiguous; give more digits" if found else "is unknown; `mscl ls` shows what is there"
        raise StorageError(f"key {key!r} {what} (workspace {self.root})")

    def unfinished(self) -> list[Path]:
        """Folders of results that were begun and not finished, are no longer whole, or may not be read."""
        done = {result.folder for result in self.results()}
        return [path for path in self.folders() if path not in done]

    def folders(self, stage: str | None = None) -> list[Path]:
        """Folders of all results, or of those of a stage, by name; UnreadableError where one may not be listed."""
        stages = [self.root / stage] if stage else [path for path in _entries(self.root) if path.name[0] != "."]
        return [folder for place in stages if place.is_dir() for folder in _entries(place) if folder.is_dir()]

    @contextmanager
    def claim(self, stage: str, key: str, *, on_wait: Callable[[str], None] | None = None) -> Iterator[Path]:
        """The folder of a result, for this process alone; waits (saying so) while another one has it.

        With `on_wait=None` a taken folder raises `LockedError` at once.
        """
        self.prepare()
        path = self._lock(stage, key)
        with disk_errors(path):
            path.parent.mkdir(exist_ok=True)
            lock = open_lock(path)
        try:
            if not take_lock(lock, wait=False):
                message = f"{stage} {key} is being computed by another process in {self.root}"
                if on_wait is None:
                    raise LockedError(f"{message}; wait for it or stop it") from None
                on_wait(f"{message}; waiting for it")
                take_lock(lock, wait=True)
            folder = self.folder(stage, key)
            with disk_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
            yield folder
        finally:
            os.close(lock)

    def is_claimed(self, stage: str, key: str) -> bool:
        """Whether a process has the folder of a result for itself; nothing is written for the question."""
        return is_locked(self._lock(stage, key))

    def _lock(self, stage: str, key: str) -> Path:
        return self.root / _LOCKS / f"{stage}-{key}"

    def begin(
        self,
        stage: str,
        key: str,
        *,
        config: Mapping[str, Any],
        inputs: Mapping[str, str],
        contents: Mapping[str, str] | None = None,
    ) -> bool:
        """Note what the result is made from, should its record be lost or never be written; the caller has claimed it.

        Args:
            contents: stage name -> `content_of` the result that is read.

        Returns:
            Whether it was finished once, and is damaged: then what its files say cannot be trusted unseen.
        """
        folder = self.folder(stage, key)
        was_finished = (folder / RECORD_NAME).exists() or (folder / _DAMAGED).exists()
        if was_finished:
            (folder / _DAMAGED).touch()  # a kill before the damage is mended must not make it forgotten
            (folder / RECORD_NAME).unlink(missing_ok=True)
        noted = {"config": dict(config), "inputs": dict(inputs), "contents": dict(contents or {})}
        write_atomic(folder / _BEGUN, canonical_json(noted).encode())
        return was_finished

    def mark_damaged(self, folder: Path, lines: Sequence[str]) -> None:
        """Keep a result from being used again as it is: from now on it is unfinished work, for its stage to mend."""
        write_atomic(folder / _DAMAGED, "".join(f"{line}\n" for line in lines).encode())

    def is_damaged(self, folder: Path) -> bool | None:
        """Whether the result in `folder` was finished once and is no longer whole; None: it may not be read."""
        try:
            return (folder / _DAMAGED).exists() or ((folder / RECORD_NAME).exists() and _whole(folder) is None)
        except (UnreadableError, PermissionError):
            return None

    def known_damage(self, folder: Path) -> list[str]:
        """What `mark_damaged` was told; empty where files are merely missing, or nothing is wrong."""
        try:
            return (folder / _DAMAGED).read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return []

    def clear_damaged(self, folder: Path) -> None:
        """Take back `mark_damaged`: everything was checked, and is whole."""
        if (folder / _DAMAGED).exists():
            with disk_errors(folder):
                (folder / _DAMAGED).unlink()

    def commit(
        self,
        stage: str,
        key: str,
        *,
        version: int,
        config: Mapping[str, Any],
        inputs: Mapping[str, str],
        metrics: Mapping[str, Any],
        timings: Mapping[str, float],
        contents: Mapping[str, str] | None = None,
        digests: Mapping[str, str] | None = None,
    ) -> Result:
        """Write the record, last: the result is done. `digests` of files already known are not computed again."""
        folder = self.folder(stage, key)
        known = digests or {}
        files = tuple(
            OutputFile(path=name, size=path.stat().st_size, digest=known.get(name) or digest_file(path))
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not (name := path.relative_to(folder).as_posix()).startswith(".")
            and name != RECORD_NAME
        )  # fmt: skip
        record = Record(
            stage=stage, key=key, version=version, config=dict(config), inputs=dict(inputs),
            contents=dict(contents or {}), files=files, metrics=dict(metrics), timings=dict(timings), **provenance(),
        )  # fmt: skip
        record = sealed(record)
        write_atomic(folder / RECORD_NAME, record.model_dump_json(indent=1).encode())
        (folder / _DAMAGED).unlink(missing_ok=True)
        result = Result(folder, record)
        self.touch(result)
        return result

    def touch(self, result: Result) -> None:
        """Mark a result as used now, so that it is the latest of its stage; what may only be read stays as it is."""
        record = result.folder / RECORD_NAME
        # After a clock was set back, or beside a machine whose clock is ahead, the latest is still the one used last.
        now = max(time.time_ns(), _last_use(result) + 1_000_000)
        # The file system's own time stands still for milliseconds: of two results used within them neither is later.
        try:
            os.utime(record, ns=(now, now))
        except OSError:
            with suppress(OSError):  # another user's: who may write may set it to the file system's time
                os.utime(record)

    def discard(self, stage: str, key: str) -> None:
        """Remove a result; its record goes first, so that it is never half there."""
        folder = self.folder(stage, key)
        clear(folder)
        with disk_errors(folder):
            folder.rmdir()

    def is_half_removed(self, folder: Path) -> bool:
        """Whether a process that removed the result in `folder` was killed over it."""
        return (folder / _HALF_REMOVED).exists()

    def is_left_over(self, folder: Path) -> bool:
        """Whether nothing can be resumed in `folder`: a removal of its result was killed, or there is nothing in it."""
        with suppress(OSError, UnreadableError):
            return self.is_half_removed(folder) or not _entries(folder)
        return False

    def lineage(self, result: Result) -> list[Result]:
        """The result and everything it was made of, inputs before what reads them."""
        order: dict[tuple[str, str], Result] = {}

        def walk(current: Result) -> None:
            for stage, key in sorted(current.record.inputs.items()):
                parent = self.find(stage, key)
                if parent is not None and (stage, key) not in order:
                    walk(parent)
            order[(current.record.stage, current.key)] = current

        walk(result)
        return list(order.values())

    def prepare(self) -> None:
        """Make the folder, if it is not there.

        Raises:
            StorageError: it cannot be written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            if not (self.root / _MARK).exists():  # another user's cannot be touched
                (self.root / _MARK).touch()
        except OSError as error:
            raise StorageError(f"workspace {self.root} cannot be written: {error.strerror}; choose another") from error


def as_workspace(place: Workspace | str | os.PathLike[str]) -> Workspace:
    """The workspace, or the one in a folder."""
    return place if isinstance(place, Workspace) else Workspace(place)


def clear(folder: Path) -> None:
    """Remove all in the folder of a result; its record goes first, and last what says that it is half removed."""
    with disk_errors(folder):
        (folder / RECORD_NAME).unlink(missing_ok=True)
        with suppress(OSError):  # of a disk that is full things may be removed all the same
            (folder / _HALF_REMOVED).touch()
        for path in sorted(folder.iterdir(), key=lambda path: (path.name == _HALF_REMOVED, path.name == _BEGUN)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def remove_changed(folder: Path) -> None:
    """Remove files of a result that lacks others and that are not as its record says: no new one may vouch for them."""
    record = read_record(folder)
    for file in record.files if record is not None else ():
        path = folder / file.path
        if path.is_file() and digest_file(path) != file.digest:
            with disk_errors(path):
                path.unlink()


def _last_use(result: Result) -> int:
    """When another result of its stage was used last, in ns."""
    last = 0
    for record in result.folder.parent.glob(f"*/{RECORD_NAME}"):
        if record.parent != result.folder:
            with suppress(OSError):  # it was removed meanwhile
                last = max(last, record.stat().st_mtime_ns)
    return last


def _whole(folder: Path) -> Result | None:
    """The finished result in `folder`, all its files there and none known to be damaged; or None."""
    record = read_record(folder)
    if record is None or (folder / _DAMAGED).exists() or missing_files(folder, record):
        return None
    return Result(folder, record)


def _whole_if_readable(folder: Path) -> Result | None:
    try:
        return _whole(folder)
    except UnreadableError:
        return None


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder, by name; nothing where there is none."""
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UnreadableError(f"cannot list {folder}: {error.strerror}; ask its owner") from error


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


def _begun(folder: Path) -> dict[str, dict[str, Any]]:
    try:
        begun = json.loads((folder / _BEGUN).read_bytes())
        return {name: dict(begun.get(name, {})) for name in ("config", "inputs", "contents")}
    except PermissionError as error:
        raise UnreadableError(f"cannot read {folder / _BEGUN}: {error.strerror}; ask its owner") from error
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
