"""Looking for lists in folders: by name, small letters or capital, and without stumbling over what is private."""

import os
import re
from collections.abc import Callable
from pathlib import Path


def files_in(folder: Path, pattern: str) -> list[Path]:
    """Files whose whole names match the regular expression, but for hidden ones; sorted. None of a private folder."""
    matches = re.compile(pattern, re.IGNORECASE).fullmatch
    return _entries(folder, lambda entry: matches(entry.name) is not None and entry.is_file())


def first_file(folder: Path, *patterns: str) -> Path | None:
    """The first file of the first pattern that has one."""
    return next((file for pattern in patterns for file in files_in(folder, pattern)), None)


def folders_in(folder: Path) -> list[Path]:
    """Folders in a folder, but for hidden ones; sorted."""
    return _entries(folder, lambda entry: entry.is_dir())


def _entries(folder: Path, wanted: "Callable[[os.DirEntry[str]], bool]") -> list[Path]:
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    if not entry.name.startswith(".") and wanted(entry):
                        found.append(folder / entry.name)
                except OSError:  # a link to itself, or into a folder that may not be read
                    continue
    except OSError:
        return []
    return sorted(found)
