"""The export of a screened dataset into a folder: what it is of is written first, and what is there already is kept."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, get_args

from mscl.clips.readme import readme
from mscl.clips.screened import ScreenedClips, Starts, screened_clips
from mscl.errors import UserError
from mscl.progress import Progress, Silent
from storage.atomic import STAGED_PREFIX, cannot_write, remove_staged, write_atomic
from storage.locks import held, open_lock
from storage.record import content_of
from storage.splits import which_split

if TYPE_CHECKING:
    from mscl.clips.segment_files import FileForm
    from storage.workspace import Workspace

Form = Literal["webdataset", "flo", "png", "npz"]
PLAN_NAME = "export.json"
_LOCK_NAME = ".writing"
_COMPLETE = "complete"


class Parts(Protocol):
    """What an export is made of; each part appears whole or not at all."""

    noun: str
    """What `size` counts."""

    def __len__(self) -> int: ...

    def plan(self) -> dict[str, Any]:
        """What decides the parts, beside the results and the form."""

    def name(self, part: int) -> str:
        """Path below the export's folder."""

    def size(self, part: int) -> int:
        """How much of the work it is."""

    def write(self, part: int, path: Path) -> None:
        """Write it to `path`, whose folder is there."""

    def finish(self, folder: Path) -> None:
        """Write what tells of all parts."""


@dataclass(frozen=True)
class Exported:
    """What lies in the folder now."""

    folder: Path
    parts: int
    """Shards or segments."""
    found: int
    """Of these, how many were there already."""
    size: int
    noun: str
    """What `size` counts."""


def export_clips(
    workspace: Workspace,
    form: str,
    out: Path,
    *,
    key: str = "",
    split: str = "",
    official_split: int | None = None,
    starts: Starts | None = None,
    clips_per_shard: int | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write clips or segments into `out`; the same call goes on where an earlier one was stopped.

    Args:
        form: `webdataset`, shards of clips; `flo`, `png` or `npz`, files of whole segments.
        key: of a result of screen, or of one made from it; without it the latest.
        split: train, val or test; all without it.
        official_split: number of the split, of a dataset that has several; None: the first, which is said.
        starts: `webdataset`: clips as motion differential sampling chose them (None, too), or `all`.
        clips_per_shard: `webdataset`; None: 1000.

    Raises:
        UserError: no such form, result or split; `out` holds something else.
        StorageError: files that cannot be read or written.
    """
    if form not in get_args(Form):
        raise UserError(f"no form is called {form!r}; choose {', '.join(get_args(Form))}")
    if form != "webdataset" and (starts is not None or clips_per_shard is not None):
        raise UserError(f"{form} files hold whole segments: which clips, and how many a shard, is for webdataset alone")
    if clips_per_shard is not None and clips_per_shard < 1:
        raise UserError(f"{clips_per_shard} clips per shard: give 1 or more")
    progress = progress or Silent()
    stores = replace(screened_clips(workspace, key), official_split=official_split)
    if note := which_split(stores.ingest.folder, official_split):
        progress.say(note)
    parts: Parts
    if form == "webdataset":
        from mscl.clips.webdataset_shards import ClipShards

        parts = ClipShards(stores, split=split, starts=starts or "chosen", clips_per_shard=clips_per_shard or 1000)
    else:
        from mscl.clips.segment_files import SegmentFiles

        parts = SegmentFiles(stores, cast("FileForm", form), split=split, progress=progress)
    plan = _plan(form, stores) | {"split": split} | parts.plan()
    plan |= {} if official_split is None else {"official_split": official_split}
    with _begun(out, plan):
        write_atomic(out / "README.md", readme(form, stores, plan).encode())
        found = _write(parts, out, progress)
        parts.finish(out)
        write_atomic(out / PLAN_NAME, _json(plan | {_COMPLETE: True}))
    return Exported(out, len(parts), found, sum(map(parts.size, range(len(parts)))), parts.noun)


def _plan(form: str, stores: ScreenedClips) -> dict[str, Any]:
    return {
        "form": form, "results": {result.record.stage: result.key for result in stores.results},
        "contents": {result.record.stage: content_of(result.record) for result in stores.results},
        "flow": stores.flow_config.noted(), "classes": stores.manifest().classes,
    }  # fmt: skip


def _write(parts: Parts, out: Path, progress: Progress) -> int:
    """Write the parts that are not there; returns how many were."""
    paths = [out / parts.name(part) for part in range(len(parts))]
    _refuse_alike([parts.name(part) for part in range(len(parts))], out)
    lacking = [part for part, path in enumerate(paths) if not path.exists()]
    found = len(paths) - len(lacking)
    if found:
        progress.say(f"{found:,} of {len(paths):,} files or folders are there already and are kept")
    progress.start("Writing", sum(parts.size(part) for part in lacking), parts.noun)
    for part in lacking:
        try:
            paths[part].parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(paths[part], error) from error
        parts.write(part, paths[part])
        progress.advance(parts.size(part))
    progress.done()
    return found


def _refuse_alike(names: Sequence[str], out: Path) -> None:
    """On a disk that tells no capitals apart one would be written over the other, or taken for it."""
    if not (out / PLAN_NAME.upper()).exists():
        return
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            raise UserError(
                f"{name} and {other} are one name on the disk of {out}; give a folder on a disk that tells capitals "
                "apart, or another form"
            )


@contextmanager
def _begun(out: Path, plan: dict[str, Any]) -> Iterator[None]:
    """Holds the folder of an export with this plan, which begins here or goes on.

    Raises:
        UserError: it holds something else, is no folder, or another process is writing into it.
        StorageError: it cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; give a folder that is empty or not there")
    there = _read_plan(out)
    if there is None and out.exists() and not all(_is_of_a_beginning(path) for path in out.iterdir()):
        raise UserError(f"{out} is not empty and holds no export; give a folder that is empty or not there")
    if there is not None and (other := _difference(there, plan)):
        raise UserError(f"{out} holds another export: {other}; give another folder, or remove it")
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = open_lock(out / _LOCK_NAME)
    except OSError as error:
        raise cannot_write(out, error) from error

    def refuse() -> None:
        raise UserError(f"another process is writing into {out}; wait for it, or give another folder")

    with held(lock, on_wait=refuse):
        remove_staged(out)
        if there is None:
            write_atomic(out / PLAN_NAME, _json(plan | {_COMPLETE: False}))
        yield
        (out / _LOCK_NAME).unlink(missing_ok=True)


def _is_of_a_beginning(path: Path) -> bool:
    """Whether an export that was killed before its plan was written left it."""
    return path.name == _LOCK_NAME or (path.name.startswith(STAGED_PREFIX) and path.name.endswith(PLAN_NAME))


def _read_plan(out: Path) -> dict[str, Any] | None:
    try:
        there = json.loads((out / PLAN_NAME).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{out / PLAN_NAME} cannot be read ({error}); give another folder") from error
    return there if isinstance(there, dict) else {}


def _difference(there: dict[str, Any], plan: dict[str, Any]) -> str:
    """The first thing in which an export that lies there is another; empty where none is."""
    here = json.loads(_json(plan))
    for name in dict.fromkeys([*here, *there]):  # an official split is in a plan only where one was asked for
        if name != _COMPLETE and there.get(name) != here.get(name):
            return f"{name} {json.dumps(there.get(name))} there, {json.dumps(here.get(name))} here"
    return ""


def _json(plan: dict[str, Any]) -> bytes:
    return json.dumps(plan, indent=1, ensure_ascii=False).encode() + b"\n"
