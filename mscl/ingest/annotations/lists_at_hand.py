"""Lists in object storage: copied while they are read, and called by their addresses in what is said."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from mscl.addresses import check_url, is_url
from mscl.errors import DataError
from mscl.ingest.bucket import entries, is_plain, listing, read_object
from mscl.video.object_storage import AT_ONCE, asked, not_allowed
from mscl.video.places import BucketPath, Place
from storage.user_paths import user_path

_SUFFIXES = (".txt", ".csv", ".tsv", ".json")
_SETTING = "data.annotations"
_MOST = 1000
"""Of files that may be lists by their names; HMDB51 has 153."""
_MOST_FOLDERS = 100
"""Beside a root, in which lists are looked for."""


@dataclass
class ListsAtHand:
    """The lists of a dataset as files of this machine."""

    given: list[Path]
    """What `data.annotations` names; empty: lists are looked for in `root`."""
    root: Path
    notes: list[str] = field(default_factory=list)
    """Where lists were not looked for."""
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
        lists = ListsAtHand([], root if isinstance(root, Path) else Path(temporary) / "beside" / root.name)
        for number, place in enumerate(given):
            if is_url(place):
                lists.given.append(_copied(place.rstrip("/"), Path(temporary) / str(number), lists))
            else:
                lists.given.append(user_path(place))
        if not isinstance(root, Path):
            lists._addresses[str(lists.root)] = str(root)
            lists.root.mkdir(parents=True)
            if in_root and not given:
                near = [name for name in listing(root) if name.count("/") < 2]
                _copy(root.url, near, lists.root, setting="data.root")
                _copy_beside(root, lists)
        yield lists


def _copy_beside(root: BucketPath, lists: ListsAtHand) -> None:
    """What may be lists beside the root and in the folders beside it, as they are looked for beside a folder."""
    above, _, own = root.url.rpartition("/")
    if root.listed_in or above.endswith("/"):  # nothing is known to be beside these
        return
    folders, files = entries(above)
    folders = [folder for folder in folders if folder != own and not folder.startswith(".")]
    lists._addresses[str(lists.root.parent)] = above
    if len(folders) > _MOST_FOLDERS:
        lists.notes.append(
            f"lists were not looked for in the {len(folders):,} folders beside data.root {root}; name them as "
            f"{_SETTING} if there are some"
        )
        folders = []
    for folder, names in [("", files), *((folder, entries(f"{above}/{folder}")[1]) for folder in folders)]:
        if (number := len(_lists_among(names))) > _MOST:
            lists.notes.append(f"lists were not looked for among {number:,} files in {above}/{folder}")
        else:
            _copy(f"{above}/{folder}".rstrip("/"), names, lists.root.parent / folder, setting="data.root")


def _copied(url: str, folder: Path, lists: ListsAtHand) -> Path:
    """The copy of a folder of lists, or of a list with those beside it, which may say what its labels are called."""
    check_url(url, setting=_SETTING)
    if url.startswith("http"):
        return _copy_one(url, folder, lists)
    above = url.rpartition("/")[0]
    try:
        is_folder = asked(url, lambda files: files.info(url), setting=_SETTING, is_first=True)["type"] == "directory"
        base = url if is_folder else above
        depth = 2 if is_folder else 1
        found: list[str] = asked(url, lambda files: files.find(base, maxdepth=depth), setting=_SETTING)
    except FileNotFoundError:
        raise DataError(f"{_SETTING} {url} does not exist; check the names of bucket and object") from None
    except PermissionError as error:
        raise not_allowed(url, error, setting=_SETTING) from error
    prefix = base.partition("://")[2] + "/"
    copy = folder / base.rpartition("/")[2]
    copy.mkdir(parents=True)
    lists._addresses[str(copy)] = base
    names = [name.removeprefix(prefix) for name in found]
    _copy(base, names, copy, setting=_SETTING, also="" if is_folder else url.rpartition("/")[2])
    return copy if is_folder else copy / url.rpartition("/")[2]


def _copy_one(url: str, folder: Path, lists: ListsAtHand) -> Path:
    copy = folder / PurePosixPath(url).name
    folder.mkdir(parents=True)
    copy.write_bytes(read_object(url, setting=_SETTING, is_first=True))
    lists._addresses[str(folder)] = url.rpartition("/")[0]
    return copy


def _lists_among(names: Iterable[str]) -> list[str]:
    return [name for name in names if name.lower().endswith(_SUFFIXES) and is_plain(name)]


def _copy(base: str, names: Collection[str], folder: Path, *, setting: str, also: str = "") -> None:
    """Copy what may be lists by their names, and `also`, which the user names.

    Args:
        setting: that names the base, for messages.
    """
    wanted = _lists_among(names)
    wanted += [also] if also in names and also not in wanted else []
    if len(wanted) > _MOST:
        raise DataError(
            f"{setting} {base} holds {len(wanted):,} files of the types {', '.join(_SUFFIXES)}, too many to be lists: "
            f"give the list itself as {_SETTING}, or set data.format=folders or data.format=unlabelled"
        )

    def copy(name: str) -> None:
        to = folder / name
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(read_object(f"{base}/{name}", setting=setting))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(copy, wanted))
