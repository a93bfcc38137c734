"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli import completion
from storage.user_paths import user_path


def at_home(given: Any) -> Any:
    """`~` of a path, or of several, which a shell leaves in `--out=~/page.html`; what is no path stays."""
    if isinstance(given, list | tuple):
        return [at_home(one) for one in given]
    return user_path(given) if isinstance(given, Path) else given


def int_option(*names: str, least: int | None = None, help: str = "") -> Any:
    """An option that is a whole number, `least` or more; unlike Typer's own bounds it repeats what was typed."""
    wanted = "a whole number" if least is None else f"a whole number, {least} or more"

    def read(typed: str) -> int:
        try:
            number = int(typed)
        except ValueError:
            raise typer.BadParameter(f"{typed!r} is not {wanted}") from None
        if least is not None and number < least:
            raise typer.BadParameter(f"{typed!r} is not {wanted}")
        return number

    at_least = "" if least is None else f"{least} or more."
    return typer.Option(*names, parser=read, metavar="<int>", help=f"{help} {at_least}".strip())


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
OfficialSplitOption = Annotated[
    int | None,
    int_option(least=1, help="Of a dataset with several official splits: whose train and test; else the first."),
]
WorkspaceOption = Annotated[
    Path, typer.Option("--workspace", "-w", envvar="MSCL_WORKSPACE", help="Folder of all results.")
]
