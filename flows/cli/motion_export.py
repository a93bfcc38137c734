"""`mscl motion export`: frames, flow and motion scores as files that other tools read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from flows.cli import completion
from flows.cli.options import OfficialSplitOption, WorkspaceOption, at_home, int_option
from flows.printing import print_line
from mscl.errors import UserError

if TYPE_CHECKING:
    from mscl.clips.screened import Starts

console = Console()


def export(
    form: Annotated[str, typer.Argument(metavar="FORM", help="webdataset, flo, png or npz.")],
    out: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Empty, not there, or to be continued.", callback=at_home)
    ],
    workspace: WorkspaceOption = Path("workspace"),
    key: Annotated[
        str, typer.Option(help="Key of a result of screen; without it the latest.", autocompletion=completion.keys)
    ] = "",
    split: Annotated[str, typer.Option(help="train, val or test; without it all.")] = "",
    official_split: OfficialSplitOption = None,
    starts: Annotated[
        str | None, typer.Option(help="webdataset: clips as `chosen` by the screen (default), or `all`.")
    ] = None,
    clips_per_shard: Annotated[int | None, int_option(help="webdataset: clips in a tar file; default 1000.")] = None,
) -> None:
    """Write frames, flow and motion scores for tools that read none of our stores.

    webdataset: tar shards of clips. Of whole segments, flo: Middlebury's .flo, and .jpg; png: KITTI's 16 bit .png, and
    .png; npz: an .npz each. FOLDER/README.md says what is in it. The same command goes on where one was stopped.
    """
    from flows.progress import ConsoleProgress
    from mscl.clips.export import export_clips
    from storage.workspace import Workspace

    which: Starts | None = None
    match starts:
        case "chosen" | "all":
            which = starts
        case str():
            raise UserError(f"--starts {starts}: give chosen or all")
    done = export_clips(
        Workspace(workspace), form, out, key=key, split=split, official_split=official_split, starts=which,
        clips_per_shard=clips_per_shard, progress=ConsoleProgress(console),
    )  # fmt: skip
    shards = f" in {done.parts:,} shard{'s' * (done.parts != 1)}" if done.noun == "clips" else ""
    print_line(console, f"{done.size:,} {done.noun}{shards} in {done.folder}; its README.md says how they are laid out")
