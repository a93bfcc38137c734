"""The command that looks for damage in results, and mends it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from flows.cli.options import WorkspaceOption
from flows.printing import print_line, print_table
from storage.errors import StorageError, UnreadableError
from storage.user_paths import in_workspace

if TYPE_CHECKING:
    from storage.verify import Damage
    from storage.workspace import Workspace

console = Console()
_SHOWN = 40


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(verify)


def verify(
    key: Annotated[str | None, typer.Argument(help="Key of a result, or its first digits; none: all results.")] = None,
    workspace: WorkspaceOption = Path("workspace"),
    mend: Annotated[
        bool,
        typer.Option("--repair", help="Make what is damaged again: single shards of extraction, else whole results."),
    ] = False,
) -> None:
    """Check every file of a result, and every field and frame of extraction; name what is damaged.

    What is found damaged is not used any more until it is made again. Exit code 1 if anything is damaged and stays so.
    """
    from storage.result_folder import is_damaged, is_left_over
    from storage.workspace import Workspace

    place = Workspace(workspace)
    if key is not None:
        folders = [place.locate(key)]
    else:
        folders = [result.folder for result in place.results()]
        folders += [folder for folder in place.unfinished() if is_damaged(folder) is not False]
    sound = [_check(place, folder, mend=mend) for folder in folders]
    if key is None and (begun := [folder for folder in place.unfinished() if folder not in folders]):
        # A repair that was stopped is among them.
        for is_left, said in ((False, "begun and not finished: {}; `mscl run` goes on"),
                              (True, "half removed: {}; `mscl gc --yes` removes the rest")):  # fmt: skip
            names = [f"{path.parent.name} {path.name}" for path in begun if is_left_over(path) == is_left]
            if names:
                print_line(console, f"not verified, for {said.format(', '.join(names))}", style="yellow")
    if not all(sound):
        raise typer.Exit(1)
    if key is None:
        print_line(console, f"{len(folders)} results are whole")


def _check(place: Workspace, folder: Path, *, mend: bool) -> bool:
    """Whether the result is whole, in the end."""
    from mscl.pipeline import BY_NAME
    from storage.record import read_record
    from storage.result_folder import clear_damaged

    name = f"{folder.parent.name} {folder.name}"
    try:
        before = read_record(folder)
        found = _damage(folder)
        # What was found is of files that are replaced, and a mark would be on those that take their place.
        is_changing = place.is_claimed(folder.parent.name, folder.name) or read_record(folder) != before
    except UnreadableError as error:
        print_line(console, f"{name} cannot be verified: {error}", style="yellow")
        return False
    if found is None:
        print_line(console, f"{name} was begun and is not finished; the same command again continues it")
        return False
    if not found:
        clear_damaged(folder)
        print_line(console, f"{name} is whole")
        return True
    if is_changing:
        print_line(console, f"{name} is being computed by another process; verify it when that is done", style="yellow")
        return False
    _print(name, found)
    _mark(folder, found)
    if folder.parent.name not in BY_NAME:
        print_line(console, "damaged; the command that made it makes it again, out of runs that are reused")
        return False
    if not mend:
        what = _what_again(folder.parent.name, found)
        print_line(console, f"damaged; this makes {what} again:")
        print_line(console, f"  mscl verify {folder.name} --repair{in_workspace(place.root)}")
        return False
    return _mend(place, folder, found)


def _mark(folder: Path, found: list[Damage]) -> None:
    """Without a sound record a result is not used anyway, and its other files may well be whole."""
    from storage.record import RECORD_NAME
    from storage.result_folder import mark_damaged

    if all(damage.file == RECORD_NAME for damage in found):
        return
    try:
        mark_damaged(folder, [str(damage) for damage in found])
    except StorageError as error:
        print_line(console, f"it cannot be kept from being used as it is: {error}", style="yellow")


def _damage(folder: Path) -> list[Damage] | None:
    """What is wrong; None: it was never finished."""
    from flows.progress import ConsoleProgress
    from mscl.pipeline import BY_NAME
    from storage.record import RECORD_NAME, read_record
    from storage.result_folder import is_damaged
    from storage.verify import Damage, verify_result

    record = read_record(folder)
    if record is not None:
        progress = ConsoleProgress(console)
        progress.start(f"Verifying {record.stage} {record.key}", len(record.files), "files")
        try:
            stage = BY_NAME.get(record.stage)  # an ablation is none
            in_shards = stage is not None and stage.repairs_in_place
            return verify_result(folder, record, in_shards=in_shards, advance=progress.advance)
        finally:
            progress.done()
    if (folder / RECORD_NAME).exists():
        return [Damage(RECORD_NAME, None, (), "fails its checksum, or is no record")]
    if is_damaged(folder):
        return [Damage(RECORD_NAME, None, (), "is not there: a repair was begun and not finished")]
    return None


def _mend(place: Workspace, folder: Path, found: list[Damage]) -> bool:
    from flows.progress import ConsoleProgress
    from mscl.pipeline import stage_named
    from mscl.pipeline.repair import repair

    stage = stage_named(folder.parent.name)
    repair(place, stage, folder, found=found, progress=ConsoleProgress(console))
    left = _damage(folder)
    if left:
        _mark(folder, left)
        _print(f"{stage.name} {folder.name}, after making it again,", left)
        return False
    print_line(console, f"{stage.name} {folder.name} is whole again")
    return True


def _what_again(stage: str, found: list[Damage]) -> str:
    from mscl.pipeline import BY_NAME
    from storage.verify import damaged_shards

    if not BY_NAME[stage].repairs_in_place:
        return f"all of this {stage}"
    shards = damaged_shards(found)
    if not shards:
        return "its tables and metadata, and no shard,"
    return f"{len(shards)} shard{'s' if len(shards) > 1 else ''} ({', '.join(map(str, shards[:20]))}) and no other"


def _print(name: str, found: list[Damage]) -> None:
    print_line(console, f"{name}: {len(found)} damaged", style="red")
    rows = [
        (damage.file, "" if damage.shard is None else damage.shard, damage.segments_text, damage.what)
        for damage in found[:_SHOWN]
    ]
    print_table(console, ("file", "shard", "segments", "what"), rows, style="red")
    if len(found) > _SHOWN:
        print_line(console, f"... and {len(found) - _SHOWN} more")
