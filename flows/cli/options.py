"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

PresetArgument = Annotated[str, typer.Argument(metavar="PRESET", help="Preset's name, or a YAML file.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[SECTION.NAME=VALUE]...", help="Settings changed for this run.")
]
WorkspaceOption = Annotated[
    Path, typer.Option("--workspace", "-w", envvar="MSCL_WORKSPACE", help="Folder of all results.")
]
