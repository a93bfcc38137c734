"""A workspace: a folder of stage results, each at `<workspace>/<stage>/<key>/`.

The files are the truth. A result is done when its record is there and names files that are there; anything
else is unfinished work that its stage may resume. One process at a time works on a result: the lock is
an advisory `flock`, which the kernel drops when its holder dies, however it dies.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from storage.atomic import digest_file, disk_errors, write_atomic
from storage.errors import LockedError, StorageError, UnreadableError
from storage.locks import held, is_locked, open_lock
from storage.record import RECORD_NAME, OutputFile, Record, canonical_json, provenance, sealed
from storage.result_folder import BEGUN, DAMAGED, Result, clear, is_damaged, is_foreign, whole, whole_if_readable
from storage.user_paths import in_workspace, user_path

_LOCKS = ".locks"
_MARK = ".mscl-workspace"


class Workspace:
    """A folder of results. Made on first use; refuses a folder that holds other things."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = user_path(root).resolve()
        try:
            str(self.root).encode()
        except UnicodeEncodeError as error:
            raise StorageError(f"workspace {str(self.root)!r} has a name that is not UTF-8; choose another") from error
        if self.root.exists() and not self.root.is_dir():
            raise StorageError(f"workspace {self.root} is a file; give a folder")
        if self.root.is_dir() and not (self.root / _MARK).exists() and _entries(self.root):
            if next(self.root.glob(f"*/*/{RECORD_NAME}"), None) is not None:
                raise StorageError(
                    f"workspace {self.root} holds results and no {_MARK}, as a copy without hidden files does; copy "
                    "these, too: `cp -a OLD/. NEW`"
                )
            raise StorageError(f"workspace {self.root} holds other files; give a new or empty folder")

    def folder(self, stage: str, key: str) -> Path:
        """Where the result of a stage lies or will lie."""
        return self.root / stage / key

    def find(self, stage: str, key: str) -> Result | None:
        """The finished result, or None."""
        return whole(self.folder(stage, key))

    def results(self, stage: str | None = None, *, key: str = "") -> list[Result]:
        """Finished results, least recently used first.

        Args:
            key: only those whose key begins with it.
        """
        found: list[tuple[int, Result]] = []
        for folder in self.folders(stage):
            if folder.name.startswith(key) and (result := whole_if_readable(folder)) is not None:
                with suppress(FileNotFoundError):  # another process removed it
                    found.append(((folder / RECORD_NAME).stat().st_mtime_ns, result))
        return [result for _, result in sorted(found, key=lambda pair: pair[0])]

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
        damaged = is_damaged(folder)
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
        entries = [entry for place in stages if place.is_dir() for entry in _entries(place)]
        return [folder for folder in entries if folder.is_dir() and not is_foreign(folder)]

    @contextmanager
    def claim(self, stage: str, key: str, *, on_wait: Callable[[str], None] | None = None) -> Iterator[Path]:
        """The folder of a result, for this process alone; waits (saying so) while another one has it.

        With `on_wait=None` a taken folder raises `LockedError` at once.
        """

        def say_or_refuse() -> None:
            message = f"{stage} {key} is being computed by another process in {self.root}"
            if on_wait is None:
                raise LockedError(f"{message}; wait for it or stop it")
            on_wait(f"{message}; waiting for it")

        with held(self.open_lock(f"{stage}-{key}"), on_wait=say_or_refuse):
            folder = self.folder(stage, key)
            with disk_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
            yield folder

    def is_claimed(self, stage: str, key: str) -> bool:
        """Whether a process has the folder of a result for itself; nothing is written for the question."""
        return is_locked(self.root / _LOCKS / f"{stage}-{key}")

    def open_lock(self, name: str) -> int:
        """Descriptor of a lock file of this workspace, which is made if it is not there.

        Raises:
            StorageError: it cannot be written.
        """
        self.prepare()
        path = self.root / _LOCKS / name
        with disk_errors(path):
            path.parent.mkdir(exist_ok=True)
            return open_lock(path)

    def begin(
        self,
        stage: str,
        key: str,
        *,
        config: Mapping[str, Any],
        inputs: Mapping[str, str],
        contents: Mapping[str, str] | None = None,
        forced_by: str = "",
    ) -> bool:
        """Note what the result is made from, should its record be lost or never be written; the caller has claimed it.

        Args:
            contents: stage name -> `content_of` the result that is read.
            forced_by: who had what was there removed, to compute it again.

        Returns:
            Whether it was finished once, and is damaged: then what its files say cannot be trusted unseen.
        """
        folder = self.folder(stage, key)
        was_finished = (folder / RECORD_NAME).exists() or (folder / DAMAGED).exists()
        if was_finished:
            (folder / DAMAGED).touch()  # a kill before the damage is mended must not make it forgotten
            (folder / RECORD_NAME).unlink(missing_ok=True)
        noted = {"config": dict(config), "inputs": dict(inputs), "contents": dict(contents or {})}
        noted |= {"forced_by": {"run": forced_by}} if forced_by else {}
        write_atomic(folder / BEGUN, canonical_json(noted).encode())
        return was_finished

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
        """Write the record, last: the result is done. `digests` of files already known are not computed again.

        What is hidden, at any depth, is no part of the result: work to resume from, what a killed worker left.
        """
        folder = self.folder(stage, key)
        known = digests or {}
        files = tuple(
            OutputFile(path=name, size=path.stat().st_size, digest=known.get(name) or digest_file(path))
            for path in sorted(folder.rglob("*"))
            if path.is_file()
            and (name := path.relative_to(folder).as_posix()) != RECORD_NAME
            and not any(part.startswith(".") for part in name.split("/"))
        )
        record = Record(
            stage=stage, key=key, version=version, config=dict(config), inputs=dict(inputs),
            contents=dict(contents or {}), files=files, metrics=dict(metrics), timings=dict(timings), **provenance(),
        )  # fmt: skip
        record = sealed(record)
        write_atomic(folder / RECORD_NAME, record.model_dump_json(indent=1).encode())
        (folder / DAMAGED).unlink(missing_ok=True)
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
            if folder.is_symlink():  # somebody has moved it to another disk
                folder.unlink()
            else:
                folder.rmdir()

    def lineage(self, *results: Result) -> list[Result]:
        """The results and everything they were made of, each once, inputs before what reads them."""
        order: dict[tuple[str, str], Result] = {}

        def walk(current: Result) -> None:
            for stage, key in sorted(current.record.inputs.items()):
                parent = self.find(stage, key)
                if parent is not None and (stage, key) not in order:
                    walk(parent)
            order[(current.record.stage, current.key)] = current

        for result in results:
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


def _last_use(result: Result) -> int:
    """When another result of its stage was used last, in ns."""
    last = 0
    for record in result.folder.parent.glob(f"*/{RECORD_NAME}"):
        if record.parent != result.folder:
            with suppress(OSError):  # it was removed meanwhile
                last = max(last, record.stat().st_mtime_ns)
    return last


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder, by name; nothing where there is none."""
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UnreadableError(f"cannot list {folder}: {error.strerror}; ask its owner") from error
