"""Commands beside the pipeline: demo-data, presets, doctor, flow-eval."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

console = Console()


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command in (demo_data, presets, doctor, flow_eval):
        app.command()(command)


def presets() -> None:
    """The presets that ship, with what they are for."""
    from importlib.resources import files

    from mscl.config import preset_names

    for name in preset_names():
        text = (files("mscl.config") / "presets" / f"{name}.yaml").read_text()
        first = text.splitlines()[0].removeprefix("#").strip()
        console.print(f"{name:<18} {first}", highlight=False)
