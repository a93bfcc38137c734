"""Paths as users write them, on a command line or in YAML, where no shell has made anything of `~`."""

from os import PathLike
from pathlib import Path

from storage.errors import StorageError


def user_path(written: str | PathLike[str]) -> Path:
    """The path; `~` and `~name` at its beginning are home folders.

    Raises:
        StorageError: nobody has that name here.
    """
    path = Path(written)
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise StorageError(
            f"{path}: {path.parts[0]} is nobody's home folder here; a folder of that name is ./{path}"
        ) from error
