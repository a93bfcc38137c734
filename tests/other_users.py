"""Somebody else on the same machine: who runs the tests as root may read and write everything."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

_NOBODY = 65534


@contextmanager
def another_user() -> Iterator[None]:
    """As somebody who may not read and write everything; root may. What the block imports must be imported before."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def open_folder() -> Iterator[Path]:
    """A new folder that others may look into; pytest's own are private to their user."""
    with TemporaryDirectory() as place:
        folder = Path(place).resolve()
        folder.chmod(0o755)
        yield folder
