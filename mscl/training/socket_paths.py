"""Room for the paths of sockets: Linux allows 107 bytes, and Slurm's folders for temporary files alone may be as long.

Processes of one machine talk through sockets in `TMPDIR`. Where that is long, they get a short folder instead, in which
multiprocessing makes a private one; all other temporary files stay where the user wants them.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mscl.errors import UserError

SOCKET_PATH_BYTES = 107
_BELOW = 47
"""Bytes below the folder: multiprocessing takes 32, `/pymp-12345678/listener-12345678`."""
_SHORT = ("/tmp", "/var/tmp", "/dev/shm")


@contextmanager
def short_socket_paths() -> Iterator[None]:
    """Processes that are started inside the block, and those that these start, have sockets with short paths.

    Raises:
        UserError: `TMPDIR` is too long, and no short folder can be written.
    """
    found = short_folder(below=_BELOW)
    if found is None:
        yield
        return
    said, chosen = os.environ.get("TMPDIR"), tempfile.tempdir
    os.environ["TMPDIR"] = tempfile.tempdir = found
    try:
        yield
    finally:
        tempfile.tempdir = chosen
        os.environ.pop("TMPDIR")
        if said is not None:
            os.environ["TMPDIR"] = said


def short_folder(*, below: int) -> str | None:
    """Another folder for sockets than the one for temporary files; None where that is short enough.

    Args:
        below: bytes of a socket's path below the folder.

    Raises:
        UserError: see `short_socket_paths`.
    """
    given = tempfile.gettempdir()
    if len(os.fsencode(given)) + below <= SOCKET_PATH_BYTES:
        return None
    for folder in _SHORT:
        if Path(folder).is_dir() and os.access(folder, os.W_OK | os.X_OK):
            return folder
    raise UserError(
        f"the folder for temporary files {given} has {len(os.fsencode(given))} characters, a socket's path may have "
        f"{SOCKET_PATH_BYTES}, and {', '.join(_SHORT)} cannot be written: set TMPDIR to a shorter folder"
    )
