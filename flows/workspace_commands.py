"""Commands that look into a workspace: ls, show, lineage, gc, verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from flows.options import WorkspaceOption

console = Console()
KeyArgument = Annotated[str, typer.Argument(help="Key of a result, or its first digits.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command in (ls, show, lineage, gc, verify):
        app.command()(command)


def ls(workspace: WorkspaceOption = Path("workspace")) -> None:
    """Finished results, and what was begun and not finished."""
    from storage.workspace import Workspace

    place = Workspace(workspace)
    table = Table("stage", "key", "made", "seconds", "MB", "reads", box=None)
    for result in place.results():
        record = result.record
        table.add_row(
            record.stage, record.key, f"{record.created_at.astimezone():%Y-%m-%d %H:%M}",
            f"{record.timings.get('seconds', 0):.1f}", f"{record.size / 1e6:.1f}",
            " ".join(f"{stage}:{key[:6]}" for stage, key in record.inputs.items()),
        )  # fmt: skip
    console.print(table if table.row_count else f"no finished results in {place.root}")
    for folder in place.unfinished():
        console.print(f"unfinished: {folder.relative_to(place.root)}", style="yellow", highlight=False)


def show(key: KeyArgument, workspace: WorkspaceOption = Path("workspace")) -> None:
    """The whole record of a result: settings, inputs, files, metrics, versions."""
    from storage.workspace import Workspace

    result = Workspace(workspace).by_key(key)
    console.print(f"{result.folder}", highlight=False)
    console.print_json(result.record.model_dump_json(exclude={"files"}))
    table = Table("file", "bytes", "sha256", box=None)
    for file in result.record.files[:40]:
        table.add_row(file.path, str(file.size), file.digest[:16])
    console.print(table)
    if len(result.record.files) > 40:
        console.print(f"... and {len(result.record.files) - 40} more files")


def lineage(key: KeyArgument, workspace: WorkspaceOption = Path("workspace")) -> None:
    """What a result was made of, back to the videos."""
    from storage.workspace import Workspace

    place = Workspace(workspace)
    for result in place.lineage(place.by_key(key)):
        record = result.record
        reads = ", ".join(f"{stage} {key[:6]}" for stage, key in record.inputs.items()) or "videos and annotations"
        console.print(f"{record.stage:<9} {record.key}  <- {reads}", highlight=False)


def gc(
    workspace: WorkspaceOption = Path("workspace"),
    unfinished: Annotated[
        bool, typer.Option(help="Also what was begun and not finished, and could be resumed.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it, only say what would go.")] = False,
) -> None:
    """Remove results that neither the latest of any stage nor its inputs need."""
    from storage.workspace import Workspace

    place = Workspace(workspace)
    folders = place.garbage(unfinished=unfinished)
    for folder in folders:
        console.print(folder.relative_to(place.root), highlight=False)
    if not folders:
        console.print("nothing to remove")
    elif yes:
        console.print(f"freed {place.collect(folders) / 1e6:.1f} MB")
    else:
        console.print("nothing removed yet; add --yes to remove these")


def verify(key: KeyArgument, workspace: WorkspaceOption = Path("workspace")) -> None:
    """Check every file of a result against its record; name what is damaged. Exit code 1 if anything is."""
    from storage.workspace import Workspace

    place = Workspace(workspace)
    result = place.by_key(key)
    damage = place.damage(result)
    for line in damage:
        console.print(line, style="red", highlight=False)
    if damage:
        console.print("damaged; running the stage again repairs it", highlight=False)
        raise typer.Exit(1)
    console.print(f"{len(result.record.files)} files of {result.record.stage} {result.key} are whole")
