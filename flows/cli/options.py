"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli import completion

PresetArgument = Annotated[
    str,
    typer.Argument(metavar="PRESET", help="Preset's name, or a YAML file.", autocompletion=completion.presets),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SECTION.NAME=VALUE]...",
        help="Settings changed for this run.",
        autocompletion=completion.settings,
    ),
]
StageArgument = Annotated[
    str,
    typer.Argument(help="ingest, extract, motion, screen, pretrain, embed, ...", autocompletion=completion.stages),
]
ForceOption = Annotated[
    list[str] | None,
    typer.Option(help="Stage to compute again although it is done.", autocompletion=completion.stages),
]
WorkspaceOption = Annotated[
    Path, typer.Option("--workspace", "-w", envvar="MSCL_WORKSPACE", help="Folder of all results.")
]
