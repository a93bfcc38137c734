"""The commands that give a trained encoder away, and get one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from flows.cli.options import WorkspaceOption, at_home
from flows.printing import print_line

console = Console()


SourceArgument = Annotated[
    str,
    typer.Argument(metavar="KEY|FILE", help="Key of a pretrain result or a later one, or what pretrain.encoder takes."),
]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(export)
    app.command()(push)
    app.command()(pull)


def export(
    source: SourceArgument,
    out: Annotated[
        Path | None,
        typer.Argument(metavar="OUT", help="File to write: .safetensors, .pt2 or .onnx.", callback=at_home),
    ] = None,
    to: Annotated[
        Literal["safetensors", "torch-export", "onnx"] | None,
        typer.Option(help="Format; the ending of OUT tells it, too. Without OUT the file is called encoder."),
    ] = None,
    workspace: WorkspaceOption = Path("workspace"),
) -> None:
    """Write the encoder of a result as one file.

    safetensors is for `mscl.load_encoder` and `pretrain.encoder=`; a program of torch.export and ONNX run without this
    package, and are compared with the encoder first. The card in each says how videos are prepared, the networks'
    settings, what the encoder was made from and what it scored. With the key of an `embed` result, or of one made from
    it, videos are prepared as that result's were.
    """
    with console.status("Writing the encoder"):
        from mscl.embedding.export import export_encoder
        from mscl.embedding.export_formats import ENDINGS
        from storage.workspace import Workspace

        path = out or Path("encoder" + ENDINGS[to or "safetensors"])
        done = export_encoder(source, path, workspace=Workspace(workspace), to=to or "")
    print_line(console, f"wrote {done.path}: the encoder of {done.checkpoint}")
    print_line(console, f"its videos: {done.input}")


def push(
    source: SourceArgument,
    place: Annotated[str, typer.Argument(metavar="FOLDER|hub:OWNER/NAME", help="Where to; made if absent.")],
    public: Annotated[bool, typer.Option("--public", help="A new repository is for everybody.")] = False,
    workspace: WorkspaceOption = Path("workspace"),
) -> None:
    """Put the encoder of a result into a folder or on the Hugging Face hub, with a page that says what it is.

    What was pushed is read by its place: `pretrain.encoder=hub:OWNER/NAME`, `mscl.load_encoder("hub:OWNER/NAME")`.
    """
    with console.status("Writing the encoder"):
        from mscl.embedding.exchange import push_encoder
        from storage.workspace import Workspace

        pushed = push_encoder(source, place, workspace=Workspace(workspace), public=public)
    print_line(console, pushed)


def pull(
    place: Annotated[str, typer.Argument(metavar="FOLDER|hub:OWNER/NAME[@REVISION]", help="What `mscl push` wrote.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.safetensors", help="File to write.", callback=at_home)] = Path(
        "encoder.safetensors"
    ),
) -> None:
    """Get an encoder that was pushed, as one file; it is checked against its digest."""
    with console.status("Getting the encoder"):
        from mscl.embedding.exchange import pull_encoder

        pulled = pull_encoder(place, out)
    print_line(console, f"wrote {pulled}")
