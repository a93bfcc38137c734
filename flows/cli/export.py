"""The command that gives a trained encoder away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.cli.options import WorkspaceOption, at_home
from flows.printing import print_line

console = Console()


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(export)


def export(
    source: Annotated[
        str,
        typer.Argument(metavar="KEY|FILE", help="Key of a pretrain result or a later one, or a checkpoint."),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT.safetensors", help="File to write.", callback=at_home)],
    workspace: WorkspaceOption = Path("workspace"),
) -> None:
    """Write the encoder of a result as one file, for `mscl.load_encoder` and `pretrain.encoder=`.

    Its card says how videos are prepared, the networks' settings, and what the encoder was made from. With the key of
    an `embed` result, or of one made from it, videos are prepared as that result's were.
    """
    from mscl.embedding.export import export_encoder
    from storage.workspace import Workspace

    done = export_encoder(source, out, workspace=Workspace(workspace))
    print_line(console, f"wrote {done.path}: the encoder of {done.checkpoint}")
    print_line(console, f"its videos: {done.input}")
