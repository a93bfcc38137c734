"""What of a workspace may go: what nothing that is kept was made of, and what was made of a result that goes."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from storage.errors import LockedError
from storage.result_folder import is_left_over, made_with
from storage.workspace import Workspace

RUNS = "results"
"""In the settings of a result that was made of several of one stage: name -> (stage -> key) of each."""


def garbage(workspace: Workspace, *, keep: Collection[str] = (), unfinished: bool = False) -> list[Path]:
    """Folders of results that nothing kept was made of.

    Args:
        keep: stages all of whose results are kept, beside the latest result of every stage.
        unfinished: work that was begun counts, too, with what it reads; not what is being computed at the moment.
            What a killed removal left counts in any case.
    """
    results = workspace.results()
    begun = workspace.unfinished()
    kept = {
        folder
        for folder in begun
        if not (unfinished or is_left_over(folder)) or workspace.is_claimed(folder.parent.name, folder.name)
    }
    kept |= set({result.record.stage: result.folder for result in results}.values())
    kept |= {result.folder for result in results if result.record.stage in keep}
    kept = _with_ancestors(workspace, kept)
    return [folder for folder in [*(result.folder for result in results), *begun] if folder not in kept]


def dependents(workspace: Workspace, folder: Path) -> list[Path]:
    """Folders of all results, finished or begun, that were made of the one in `folder`; that one comes last."""
    parents = {path: _parents(workspace, path) for path in workspace.folders()}
    found = {folder}
    while more := {path for path, made_of in parents.items() if made_of & found} - found:
        found |= more
    return [*(path for path in parents if path in found and path != folder), folder]


def in_use(workspace: Workspace, folders: Collection[Path]) -> dict[Path, Path]:
    """Those of `folders` that are being computed, or that such a result is made of -> the result being computed.

    All of them where a computation has just begun and not noted yet what it reads.
    """
    found: dict[Path, Path] = {}
    for begun in _being_computed(workspace):
        settings, inputs = made_with(begun)
        needed = _with_ancestors(workspace, {begun}) if settings or inputs else set(folders)
        found |= {folder: begun for folder in folders if folder in needed}
    return found


def refuse_read(workspace: Workspace, folder: Path) -> None:
    """Ask before the result in `folder` is computed again: what reads it meanwhile would read of both.

    Raises:
        LockedError: another result is being computed from it.
    """
    for begun in _being_computed(workspace):
        if begun != folder and folder in _with_ancestors(workspace, {begun}):
            raise LockedError(
                f"{folder.parent.name} {folder.name} is to be computed again, and {begun.parent.name} {begun.name} is "
                f"being computed from it in {workspace.root}; wait for that or stop it"
            )


def remove(workspace: Workspace, folders: Sequence[Path]) -> tuple[int, list[Path]]:
    """Remove these results, except those in use; returns the bytes freed, and the folders that stay."""
    freed, stay = 0, set(in_use(workspace, folders))
    for folder in folders:
        if folder in stay:
            continue
        size = bytes_on_disk(folder)
        if in_use(workspace, [folder]):  # to remove many takes minutes, in which others begin
            stay |= _with_ancestors(workspace, {folder})
            continue
        try:
            with workspace.claim(folder.parent.name, folder.name):
                workspace.discard(folder.parent.name, folder.name)
        except LockedError:
            stay |= _with_ancestors(workspace, {folder})
        else:
            freed += size
    return freed, [folder for folder in folders if folder in stay and folder.exists()]


def bytes_on_disk(folder: Path) -> int:
    """Bytes of all files in `folder` and below, in which others may be writing."""
    found = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            found += path.stat().st_size if path.is_file() else 0
    return found


def _being_computed(workspace: Workspace) -> list[Path]:
    return [folder for folder in workspace.folders() if workspace.is_claimed(folder.parent.name, folder.name)]


def _parents(workspace: Workspace, folder: Path) -> set[Path]:
    settings, inputs = made_with(folder)
    read: list[Mapping[str, str]] = [inputs]
    if isinstance(runs := settings.get(RUNS), Mapping):
        read += [found for found in runs.values() if isinstance(found, Mapping)]
    return {workspace.folder(stage, key) for found in read for stage, key in found.items()}


def _with_ancestors(workspace: Workspace, folders: set[Path]) -> set[Path]:
    """These results and all that they were made of."""
    found, waiting = set(folders), list(folders)
    while waiting:
        parents = _parents(workspace, waiting.pop()) - found
        found |= parents
        waiting += parents
    return found
