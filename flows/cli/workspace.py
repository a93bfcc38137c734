"""Commands that look into a workspace and tidy it: ls, show, lineage, gc, rm. `flows.cli.verify` has verify."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from flows.cli import completion
from flows.cli.options import WorkspaceOption
from flows.printing import print_line, print_table

if TYPE_CHECKING:
    from storage.workspace import Workspace

console = Console()
KeyArgument = Annotated[
    str, typer.Argument(help="Key of a result, or its first digits.", autocompletion=completion.keys)
]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command in (ls, show, lineage, gc, rm):
        app.command()(command)


def ls(workspace: WorkspaceOption = Path("workspace")) -> None:
    """Finished results, the latest last, and what was begun and not finished."""
    from flows.cli.listing import HEAD, rows_of
    from storage.result_folder import is_damaged, is_left_over
    from storage.workspace import Workspace

    place = Workspace(workspace)
    if results := place.results():
        print_table(console, HEAD, rows_of(results))
    else:
        print_line(console, f"no finished results in {place.root}")
    for folder in place.unfinished():
        what = {True: "damaged (`mscl verify` tells)", False: "unfinished", None: "may not be read"}
        said = what[is_damaged(folder)]
        if said == "unfinished" and is_left_over(folder):
            said = "half removed (`mscl gc --yes` removes the rest)"
        print_line(console, f"{said}: {folder.relative_to(place.root)}", style="yellow")


def show(
    key: KeyArgument,
    workspace: WorkspaceOption = Path("workspace"),
    as_json: Annotated[bool, typer.Option("--json", help="The whole record, as JSON.")] = False,
) -> None:
    """What a result is: settings, inputs, metrics, files, versions."""
    from flows.cli.results import print_result
    from storage.workspace import Workspace

    result = Workspace(workspace).by_key(key)
    if as_json:
        print_line(console, result.record.model_dump_json(indent=1))
    else:
        print_result(console, result)


def lineage(key: KeyArgument, workspace: WorkspaceOption = Path("workspace")) -> None:
    """What a result was made of, back to the videos."""
    from mscl.stage.latest import outdated
    from storage.record import short_key
    from storage.workspace import Workspace

    place = Workspace(workspace)
    results = place.lineage(place.by_key(key))
    there = {result.key for result in results}
    for result in results:
        record = result.record
        reads = (
            ", ".join(f"{stage} {short_key(key)}" for stage, key in record.inputs.items()) or "videos and annotations"
        )
        print_line(console, f"{record.stage:<9} {record.key}  <- {reads}")
    read = {of: stage for result in results for stage, of in result.record.inputs.items()}
    for gone in sorted(read.keys() - there):
        print_line(console, f"{read[gone]:<9} {gone}  is not there: removed, or not finished again", style="yellow")
    if said := outdated(results):
        print_line(console, said, style="yellow")


def gc(
    workspace: WorkspaceOption = Path("workspace"),
    keep_latest: Annotated[
        bool, typer.Option("--keep-latest", help="Keep no older experiments: just the latest result of each stage.")
    ] = False,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Also what was begun and not finished, and could be resumed.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it, only say what would go.")] = False,
) -> None:
    """Remove results that no experiment needs.

    Kept are every training, score, report and ablation, the latest result of each stage, work that can be resumed, and
    all that these were made of.
    """
    from mscl.ablation.plan import STAGE as ABLATION
    from mscl.pipeline import PIPELINE
    from storage.garbage import bytes_on_disk, garbage
    from storage.workspace import Workspace

    place = Workspace(workspace)
    experiments = () if keep_latest else (*(stage.name for stage in PIPELINE if stage.is_experiment), ABLATION)
    going = garbage(place, keep=experiments, unfinished=unfinished)
    _remove(place, going, yes=yes)
    if begun := [] if unfinished else [folder for folder in place.unfinished() if folder not in going]:
        size = sum(bytes_on_disk(folder) for folder in begun) / 1e6
        print_line(
            console, f"{len(begun)} unfinished, {size:.1f} MB, can be resumed and stay; --unfinished takes them, too"
        )


def rm(
    keys: Annotated[list[str], typer.Argument(metavar="KEY...", help="Keys of results, or their first digits.")],
    workspace: WorkspaceOption = Path("workspace"),
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it, only say what would go.")] = False,
) -> None:
    """Remove results and everything that was made of them; `mscl gc` then finds what only they needed.

    Nothing is removed while one of them is being computed.
    """
    from storage.errors import LockedError
    from storage.garbage import dependents, in_use
    from storage.workspace import Workspace

    place = Workspace(workspace)
    folders = list(dict.fromkeys(folder for key in keys for folder in dependents(place, place.locate(key))))
    if users := set(in_use(place, folders).values()):
        names = ", ".join(sorted(f"{user.parent.name} {user.name}" for user in users))
        raise LockedError(f"nothing was removed: {names} is being computed from what would go; wait for it or stop it")
    _remove(place, folders, yes=yes)


def _remove(place: Workspace, folders: list[Path], *, yes: bool) -> None:
    """Show what goes and its size; remove it if that is wanted."""
    from storage.garbage import bytes_on_disk, remove

    if not folders:
        print_line(console, "nothing to remove")
        return
    rows = []
    sizes = [bytes_on_disk(folder) for folder in folders]
    for folder, size in zip(folders, sizes, strict=True):
        result = place.find(folder.parent.name, folder.name)
        made = f"{result.record.created_at.astimezone():%Y-%m-%d %H:%M}" if result else "not finished"
        rows.append((folder.parent.name, folder.name, made, f"{size / 1e6:.1f}"))
    print_table(console, ("stage", "key", "made", "MB"), rows)
    if not yes:
        print_line(
            console, f"{sum(sizes) / 1e6:.1f} MB in {_results(len(folders))}; nothing removed yet: add --yes to remove"
        )
        return
    freed, stay = remove(place, folders)
    print_line(console, f"removed {_results(len(folders) - len(stay))}, freed {freed / 1e6:.1f} MB")
    for folder in stay:
        print_line(console, f"in use, stays: {folder.relative_to(place.root)}", style="yellow")


def _results(count: int) -> str:
    return f"{count} result{'s' * (count != 1)}"
