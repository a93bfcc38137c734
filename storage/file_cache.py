"""Files fetched from elsewhere, kept in a folder up to a size; processes share it.

A file appears whole or not at all. Who reads one holds a shared lock on it, which its end drops however it comes; of
the files that nobody holds, those go first that were used longest ago. A file in use never goes, so what is held at one
moment may reach over the size.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from storage.atomic import DISK_IS_FULL, publish
from storage.errors import NoLocksError, StorageError
from storage.locks import open_lock, take_lock

_COMING = ".coming-"
"""Begins the name of a file that is being fetched; the bytes that it will have follow."""
_COUNT = ".bytes"
"""File with how many bytes there are, never too few: after a kill too many, until files are counted again."""
_LOW = 0.9
"""Part of the size down to which is cleared, so that not every new file has all others counted."""


@dataclass(frozen=True)
class FileCache:
    """A folder of files under names that say what is in them: another content has another name."""

    folder: Path
    max_bytes: int
    setting: str
    """What names the folder, for messages."""

    @contextmanager
    def hold(self, name: str, size_bytes: int, fetch: Callable[[Path], None]) -> Iterator[Path]:
        """The file of that name, which stays while the block runs; fetched where it is not there.

        Args:
            fetch: writes the content to the path that it is given; of several that want the same file one fetches it.

        Raises:
            StorageError: the folder cannot be written, or the disk is full.
            OSError: of `fetch`; the file is then not there.
        """
        path = self.folder / name
        with self._disk_errors():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            while (descriptor := _shared(path, size_bytes)) is None:
                self._fetch(path, size_bytes, fetch)
        try:
            with suppress(OSError):  # another user's: it is then as old as it was
                os.utime(descriptor)
            yield path
        finally:
            os.close(descriptor)
            with suppress(OSError):
                self._make_room(0)

    def _fetch(self, path: Path, size_bytes: int, fetch: Callable[[Path], None]) -> None:
        """Bring the file, or wait for another who does."""
        coming = path.with_name(f"{_COMING}{size_bytes}-{path.name}")
        descriptor = open_lock(coming)
        try:
            take_lock(descriptor, wait=True)
            if not _is_at(descriptor, coming):  # the other has brought it, or given up
                return
            if path.exists():  # the other had brought it before there was anything to lock
                coming.unlink(missing_ok=True)
                return
            try:
                self._make_room(size_bytes)
                fetch(coming)
                if (found := coming.stat().st_size) != size_bytes:
                    raise OSError(f"{found} bytes came, and {size_bytes} were announced")
                publish(coming, path)
            except BaseException:
                coming.unlink(missing_ok=True)
                raise
        finally:
            os.close(descriptor)

    def _make_room(self, coming_bytes: int) -> None:
        """Count what comes, and remove what was used longest ago where it would be too much."""
        descriptor = os.open(self.folder / _COUNT, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            take_lock(descriptor, wait=True)
            noted = os.pread(descriptor, 32, 0)
            used = (int(noted) if noted.isdigit() else self.max_bytes + 1) + coming_bytes
            if used > self.max_bytes:
                used = self._clear(int(_LOW * self.max_bytes))
            elif not coming_bytes:
                return
            os.pwrite(descriptor, b"%032d" % used, 0)
        finally:
            os.close(descriptor)

    def _clear(self, most_bytes: int) -> int:
        """Remove files until no more than `most_bytes` are left, or all that are left are in use; the bytes left.

        What is coming counts as if it were there.
        """
        files: list[tuple[float, int, Path]] = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                with suppress(OSError):  # gone since
                    status = entry.stat(follow_symlinks=False)
                    if entry.name.startswith(_COMING):
                        announced = int(entry.name.removeprefix(_COMING).partition("-")[0])
                        if not _remove_unused(Path(entry.path)):
                            files.append((float("inf"), announced, Path(entry.path)))
                    elif not entry.name.startswith("."):
                        files.append((status.st_mtime, status.st_size, Path(entry.path)))
        left = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if left <= most_bytes:
                break
            if _remove_unused(path):
                left -= size
        return left

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except NoLocksError as error:
            raise StorageError(
                f"cannot write {self.folder}: its file system has no locks; name another folder as {self.setting}"
            ) from error
        except OSError as error:
            if error.errno in DISK_IS_FULL:
                do = f"free space, lower {self.setting}_gb, or name another folder as {self.setting}"
            elif error.filename is not None and str(error.filename).startswith(str(self.folder)):
                do = f"name another folder as {self.setting}"
            else:
                raise
            raise StorageError(f"cannot write {self.folder}: {error.strerror}; {do}") from error


def _shared(path: Path, size_bytes: int) -> int | None:
    """Descriptor that keeps the file from being removed; None where it is not there, or not whole."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    take_lock(descriptor, wait=True, shared=True)
    if _is_at(descriptor, path):
        if os.fstat(descriptor).st_size == size_bytes:
            return descriptor
        path.unlink(missing_ok=True)  # of this size it was never published: the disk has lost a part
    os.close(descriptor)
    return None


def _remove_unused(path: Path) -> bool:
    """Remove a file unless somebody holds it; whether it is gone."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)  # for writing: NFS gives no other an exclusive lock
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        if not take_lock(descriptor, wait=False):
            return False
        if _is_at(descriptor, path):
            path.unlink()
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file still has this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False
