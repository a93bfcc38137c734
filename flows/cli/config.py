"""What can be set: the presets that ship, and the settings that one stands for."""

from __future__ import annotations

import json
import re
import shlex
from typing import Annotated

import typer
from rich.console import Console

from flows.cli.options import Overrides
from flows.printing import print_line, visible
from mscl.errors import UserError

console = Console()
_PLAIN = re.compile(r"[\w./+-]+")
"""What YAML takes for text without quotes."""


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command in (presets, config):
        app.command()(command)


def presets() -> None:
    """The presets that ship and the overlays that may follow one after a `+`, with what they are for."""
    from mscl.config import overlay_names, preset_names, summary_of

    for title, names in (("Presets", preset_names()), ("Overlays: PRESET+OVERLAY", overlay_names())):
        console.print(title, style="bold")
        for name in names:
            print_line(console, f"  {name:<18} {summary_of(name)}")


def config(
    preset: Annotated[
        str, typer.Argument(metavar="PRESET", help="Preset's name, PRESET+OVERLAY, or a YAML file.")
    ] = "",
    overrides: Overrides = None,
    changed: Annotated[
        bool,
        typer.Option(
            "--changed",
            help="Only what differs: with overlays or settings given, from the preset before them; "
            "else from the preset's own base, or from the defaults where it has none.",
        ),
    ] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of such files, for editors.")] = False,
) -> None:
    """The settings of a preset as YAML, each with its help. Saved in a file they are a preset of your own."""
    if schema:
        from mscl.config.describe import json_schema

        typer.echo(json.dumps(json_schema(), indent=2))
        return
    if not preset:
        raise UserError("mscl config needs a preset (`mscl presets` lists them), a YAML file, or --schema")
    typer.echo(_as_yaml(preset, overrides or [], changed=changed), nl=False)


def _as_yaml(preset: str, overrides: list[str], *, changed: bool) -> str:
    from mscl.config import ExperimentConfig, load_config
    from mscl.config.commented_yaml import commented_yaml
    from mscl.config.presets import base_of, layers_of

    resolved = load_config(preset, overrides)
    asked = visible(" ".join(shlex.join(["mscl", "config", preset, *overrides]).split()))
    if not changed:
        return f"# {asked}\n\n{commented_yaml(resolved)}"
    base = layers_of(preset)[0] if overrides else base_of(preset)
    body = commented_yaml(resolved, base=load_config(base) if base else ExperimentConfig())
    quoted = base if not base or _PLAIN.fullmatch(base) else json.dumps(base)
    than = f"base: {quoted}\n" if base else ""
    return f"# {asked} --changed: what differs from {visible(base or 'the defaults')}\n{than}\n{body}"
