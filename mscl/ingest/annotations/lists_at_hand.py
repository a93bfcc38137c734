"""Lists in object storage: copied while they are read, and called by their addresses in what is said."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from mscl.addresses import check_url, is_url
from mscl.errors import DataError
from mscl.ingest.bucket import is_plain, listing, read_object
from mscl.video.object_storage import AT_ONCE, asked, not_allowed
from mscl.video.places import Place
from storage.user_paths import user_path

_SUFFIXES = (".txt", ".csv", ".tsv", ".json")
_SETTING = "data.annotations"
_MOST = 1000
"""Of files that may be lists by their names; HMDB51 has 153."""


@dataclass
class ListsAtHand:
    """The lists of a dataset as files of this machine."""

    given: list[Path]
    """What `data.annotations` names; empty: lists are looked for in `root`."""
    root: Path
    _addresses: dict[str, str] = field(default_factory=dict)

    def shown(self, text: str) -> str:
        """A message with the addresses that were given in place of the paths of the copies."""
        for copy, address in self._addresses.items():
            text = text.replace(copy, address)
        return text


def given_lists(annotations: str) -> list[str]:
    """The place that the user gives, or several with commas between."""
    parts = [part.strip() for part in annotations.split(",") if part.strip()]
    if len(parts) < 2 or (not is_url(annotations) and user_path(annotations).exists()):
        return [annotations] if annotations else []
    return parts


@contextmanager
def lists_at_hand(annotations: str, root: Place, *, in_root: bool) -> Iterator[ListsAtHand]:
    """The lists that `data.annotations` names, and those in the root where `in_root` asks for them.

    Raises:
        DataError: a list that is not there, or more files than can be lists.
    """
    given = given_lists(annotations)
    with tempfile.TemporaryDirectory(prefix="mscl-lists-") as temporary:
        lists = ListsAtHand([], root if isinstance(root, Path) else Path(temporary) / "root" / root.name)
        for number, place in enumerate(given):
            if is_url(place):
                lists.given.append(_copied(place.rstrip("/"), Path(temporary) / str(number), lists))
            else:
                lists.given.append(user_path(place))
        if not isinstance(root, Path):
            lists._addresses[str(lists.root)] = str(root)
            lists.root.mkdir(parents=True)
            if in_root and not given:
                near = {name: info for name, info in listing(root).items() if name.count("/") < 2}
                _copy(root.url, near, lists.root, named=f"data.root {root}")
        yield lists


def _copied(url: str, folder: Path, lists: ListsAtHand) -> Path:
    """The copy of a folder of lists, or of a list with those beside it, which may say what its labels are called."""
    check_url(url, setting=_SETTING)
    if url.startswith("http"):
        return _copy_one(url, folder, lists)
    above = url.rpartition("/")[0]
    try:
        is_folder = asked(url, lambda files: files.info(url), setting=_SETTING, is_first=True)["type"] == "directory"
        base = url if is_folder else above
        found: Mapping[str, Any] = asked(
            url, lambda files: files.find(base, maxdepth=2 if is_folder else 1, detail=True), setting=_SETTING
        )
    except FileNotFoundError:
        raise DataError(f"{_SETTING} {url} does not exist; check the names of bucket and object") from None
    except PermissionError as error:
        raise not_allowed(url, error, setting=_SETTING) from error
    prefix = base.partition("://")[2] + "/"
    copy = folder / base.rpartition("/")[2]
    copy.mkdir(parents=True)
    lists._addresses[str(copy)] = base
    names = {name.removeprefix(prefix): info for name, info in found.items()}
    _copy(base, names, copy, named=f"{_SETTING} {base}", also="" if is_folder else url.rpartition("/")[2])
    return copy if is_folder else copy / url.rpartition("/")[2]


def _copy_one(url: str, folder: Path, lists: ListsAtHand) -> Path:
    copy = folder / PurePosixPath(url).name
    folder.mkdir(parents=True)
    copy.write_bytes(read_object(url, setting=_SETTING, is_first=True))
    lists._addresses[str(folder)] = url.rpartition("/")[0]
    return copy


def _copy(base: str, names: Mapping[str, Any], folder: Path, *, named: str, also: str = "") -> None:
    """Copy what may be lists by their names, and `also`, which the user names."""
    wanted = [name for name in names if (name.lower().endswith(_SUFFIXES) and is_plain(name)) or name == also]
    if len(wanted) > _MOST:
        raise DataError(
            f"{named} holds {len(wanted):,} files of the types {', '.join(_SUFFIXES)}, too many to be lists: give the "
            f"list itself as {_SETTING}, or set data.format=folders or data.format=unlabelled"
        )

    def copy(name: str) -> None:
        to = folder / name
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(read_object(f"{base}/{name}", setting=_SETTING))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(copy, wanted))
