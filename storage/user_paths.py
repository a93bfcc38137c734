"""Paths as users write them, on a command line or in YAML, where no shell has made anything of `~`."""

import re
from os import PathLike
from pathlib import Path
from shlex import quote

from storage.errors import StorageError

_SCHEME = re.compile(r"(s3a?|gc?s|az|abfss?|https?|ftp|file):")
"""First part of a path that is an address: a path loses one of its two slashes."""


def user_path(written: str | PathLike[str]) -> Path:
    """The path; `~` and `~name` at its beginning are home folders, but for `./~` and what is there under such a name.

    Raises:
        StorageError: nobody has that name here, or it is an address of object storage or of a server.
    """
    path = Path(written)
    if path.parts and _SCHEME.fullmatch(path.parts[0]):
        if isinstance(written, str) and "://" not in written:
            raise StorageError(
                f"{written} is no path of this machine; as an address it has two slashes: "
                f"{path.parts[0]}//{'/'.join(path.parts[1:])}"
            )
        raise StorageError(
            f"{path.parts[0]}//{'/'.join(path.parts[1:])} is no path of this machine, and one is needed here: only "
            "data.root, data.annotations and data.group_list are read from elsewhere"
        )
    if isinstance(written, str) and written.startswith("./"):  # which a path no longer shows
        return path
    try:
        return path.expanduser()
    except RuntimeError as error:
        if path.exists():
            return path
        raise StorageError(
            f"{path}: {path.parts[0]} is nobody's home folder here; a path of that name is {Path.cwd() / path}"
        ) from error


def in_workspace(root: Path) -> str:
    """What a command that is advised needs to find this workspace, as a shell takes it; "" where it looks by itself."""
    return "" if root == Path("workspace").resolve() else f" --workspace {quote(str(root))}"
