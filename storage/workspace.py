"""A workspace: a folder of stage results, each at `<workspace>/<stage>/<key>/`.

The files are the truth. A result is done when its record is there and names files that are there; anything
else is unfinished work that its stage may resume. One process at a time works on a result: the lock is
an advisory `flock`, which the kernel drops when its holder dies, however it dies.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.atomic import digest_file, write_atomic
from storage.errors import LockedError, StorageError
from storage.record import (
    RECORD_NAME,
    OutputFile,
    Record,
    missing_files,
    provenance,
    read_record,
)

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
        self.root = Path(root).expanduser().resolve()
        if self.root.exists() and not self.root.is_dir():
            raise StorageError(f"workspace {self.root} is a file; give a folder")
        if self.root.is_dir() and not (self.root / _MARK).exists() and any(self.root.iterdir()):
            raise StorageError(f"workspace {self.root} holds other files; give a new or empty folder")

    def folder(self, stage: str, key: str) -> Path:
        """Where the result of a stage lies or will lie."""
        return self.root / stage / key

    def find(self, stage: str, key: str) -> Result | None:
        """The finished result, or None."""
        folder = self.folder(stage, key)
        record = read_record(folder)
        if record is None or missing_files(folder, record):
            return None
        return Result(folder, record)

    def results(self, stage: str | None = None) -> list[Result]:
        """Finished results, least recently used first."""
        found = [
            Result(path.parent, record)
            for path in self.root.glob(f"{stage or '*'}/*/{RECORD_NAME}")
            if (record := read_record(path.parent)) is not None and not missing_files(path.parent, record)
        ]
        return sorted(found, key=lambda result: (result.folder / RECORD_NAME).stat().st_mtime_ns)

    def latest(self, stage: str) -> Result | None:
        """The finished result of a stage that was made or reused last."""
        results = self.results(stage)
        return results[-1] if results else None

    def by_key(self, key: str) -> Result:
        """The finished result whose key begins with `key` (at least 4 digits).

        Raises:
            StorageError: none, or more than one.
        """
        found = [result for result in self.results() if result.key.startswith(key)] if len(key) >= 4 else []
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(f"{r.record.stage}/{r.key}" for r in found)
            raise StorageError(f"key {key!r} is ambiguous in {self.root}: {names}; give more digits")
        raise StorageError(f"no finished result with key {key!r} in {self.root}; `mscl ls` shows what is there")

    def unfinished(self) -> list[Path]:
        """Folders of results that were begun and not finished."""
        done = {result.folder for result in self.results()}
        return [path for path in sorted(self.root.glob("[!.]*/*/")) if path not in done]

    @contextmanager
    def claim(self, stage: str, key: str, *, on_wait: Callable[[str], None] | None = None) -> Iterator[Path]:
        """The folder of a result, for this process alone; waits (saying so) while another one has it.

        With `on_wait=None` a taken folder raises `LockedError` at once.
        """
        self.prepare()
        locks = self.root / _LOCKS
        locks.mkdir(exist_ok=True)
        with open(locks / f"{stage}-{key}", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"{stage} {key} is being computed by another process in {self.root}"
                if on_wait is None:
                    raise LockedError(f"{message}; wait for it or stop it") from None
                on_wait(f"{message}; waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            folder = self.folder(stage, key)
            folder.mkdir(parents=True, exist_ok=True)
            yield folder

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
            stage=stage, key=key, version=version, config=dict(config), inputs=dict(inputs), files=files,
            metrics=dict(metrics), timings=dict(timings), **provenance(),
        )  # fmt: skip
        write_atomic(folder / RECORD_NAME, record.model_dump_json(indent=1).encode())
        return Result(folder, record)

    def touch(self, result: Result) -> None:
        """Mark a result as used now, so that it is the latest of its stage."""
        os.utime(result.folder / RECORD_NAME)

    def discard(self, stage: str, key: str) -> None:
        """Remove a result; its record goes first, so that it is never half there."""
        folder = self.folder(stage, key)
        (folder / RECORD_NAME).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=False)

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

    def damage(self, result: Result) -> list[str]:
        """A line for every file of a result that is missing or not as it was written."""
        lines = []
        for file in result.record.files:
            path = result.folder / file.path
            if not path.is_file():
                lines.append(f"{path}: missing")
            elif (size := path.stat().st_size) != file.size:
                lines.append(f"{path}: {size} bytes, recorded {file.size}")
            elif (digest := digest_file(path)) != file.digest:
                lines.append(f"{path}: sha256 {digest[:16]}, recorded {file.digest[:16]}")
        return lines

    def garbage(self, *, unfinished: bool = False) -> list[Path]:
        """Folders that nothing current needs: neither the latest of a stage nor what it was made of.

        Unfinished work can be resumed, so it counts only on request.
        """
        results = self.results()
        latest = {result.record.stage: result for result in results}
        kept = {ancestor.folder for result in latest.values() for ancestor in self.lineage(result)}
        old = [result.folder for result in results if result.folder not in kept]
        return old + self.unfinished() if unfinished else old

    def collect(self, folders: list[Path]) -> int:
        """Remove these result folders, except those in use; returns the bytes freed."""
        freed = 0
        for folder in folders:
            stage, key = folder.parent.name, folder.name
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            try:
                with self.claim(stage, key):
                    self.discard(stage, key)
            except LockedError:
                continue
            freed += size
        return freed

    def prepare(self) -> None:
        """Make the folder, if it is not there.

        Raises:
            StorageError: it cannot be written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            (self.root / _MARK).touch()
        except OSError as error:
            raise StorageError(f"workspace {self.root} cannot be written: {error.strerror}; choose another") from error
