"""Lock files: advisory `flock`, which the kernel drops when its holder dies, however it dies."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from storage.errors import NoLocksError

try:
    import fcntl
except ImportError:  # Windows: what needs no lock works, stores and networks among it
    fcntl = None  # type: ignore[assignment]  # a module that may be missing has no type


_ASKING_SECONDS = 0.05


def open_lock(path: Path) -> int:
    """Descriptor of a lock file, made if it is not there; another user's is opened for reading, which a lock needs.

    Raises:
        OSError: it can neither be made nor opened.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except PermissionError as refused:
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            raise refused from None


def take_lock(descriptor: int, *, wait: bool, shared: bool = False) -> bool:
    """Whether the lock is held now; without `wait` it may be another's. Holders of a shared one keep the others out.

    Raises:
        NoLocksError: a system, or a file system, without such locks.
    """
    if fcntl is None:
        raise NoLocksError("this system has no flock, so no workspace can be written; under Windows use WSL")
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, kind | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        raise NoLocksError(
            f"cannot lock {_name_of(descriptor)}: {error.strerror}; its file system must have flock (NFSv4, or Lustre "
            "mounted with -o flock): choose a folder on another one"
        ) from error
    return True


def _name_of(descriptor: int) -> str:
    with suppress(OSError):
        return os.readlink(f"/proc/self/fd/{descriptor}")
    return "a file"


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock; nothing is written. A lock of which that cannot be told counts as held."""
    try:
        descriptor = _open_to_lock(path)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        return not take_lock(descriptor, wait=False)
    except NoLocksError:
        return True
    finally:
        os.close(descriptor)


def _open_to_lock(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)  # for writing: NFS gives no other an exclusive lock
    except FileNotFoundError:
        raise
    except OSError:  # another user's, or on what may only be read
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _takes_at_once(descriptor: int) -> bool:
    """Whether the lock is held now; who only asks (`is_locked`) has it for a moment, and is no holder."""
    if take_lock(descriptor, wait=False):
        return True
    time.sleep(_ASKING_SECONDS)
    return take_lock(descriptor, wait=False)


@contextmanager
def held(descriptor: int, *, on_wait: Callable[[], object]) -> Iterator[None]:
    """Holds an open lock file, and closes it in the end; waits for whoever has it, unless `on_wait` raises.

    Raises:
        NoLocksError: a system, or a file system, without such locks.
    """
    try:
        if not _takes_at_once(descriptor):
            on_wait()
            take_lock(descriptor, wait=True)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def alone(path: Path, *, on_wait: Callable[[], object]) -> Iterator[None]:
    """Holds the lock file, which goes when the work is done; waits, after `on_wait`, for whoever has it.

    Who waited looks anew at what is there: it may be done.

    Raises:
        OSError: the file cannot be made.
        NoLocksError: a system, or a file system, without such locks.
    """
    with held(open_lock(path), on_wait=on_wait):
        yield
        path.unlink(missing_ok=True)
