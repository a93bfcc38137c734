"""What the shell may complete: presets with their overlays, settings with their values, stages, keys of results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin


def presets(incomplete: str) -> list[str]:
    """Presets; after a `+` overlays; and YAML files of the user's."""
    from mscl.config import overlay_names, preset_names

    before, plus, begun = incomplete.rpartition("+")
    names = overlay_names() if plus else [*preset_names(), *_yaml_files(incomplete)]
    return [f"{before}{plus}{name}" for name in names if name.startswith(begun)]


def settings(incomplete: str) -> list[str]:
    """`section.name=`, and after the `=` the values of a setting that has a few."""
    from mscl.config.experiment import ExperimentConfig, names_in, setting_named

    name, equals, begun = incomplete.partition("=")
    if not equals:
        return [f"{dotted}=" for dotted in names_in(ExperimentConfig) if dotted.startswith(name)]
    field = setting_named(name)
    values = list(_values(field.annotation)) if field is not None else []
    return [f"{name}={value}" for value in values if value.startswith(begun)]


def stages(incomplete: str) -> list[str]:
    """Names of the stages, in order."""
    from mscl.pipeline import BY_NAME

    return [name for name in BY_NAME if name.startswith(incomplete)]


def keys(incomplete: str) -> list[str]:
    """Keys of the results in the workspace that the environment names, else in `workspace`."""
    import os

    root = Path(os.environ.get("MSCL_WORKSPACE", "workspace"))
    return sorted(path.parent.name for path in root.glob(f"*/{incomplete}*/record.json"))


def _yaml_files(incomplete: str) -> list[str]:
    return sorted(str(path) for ending in ("yaml", "yml") for path in Path().glob(f"{incomplete}*.{ending}"))


def _values(annotation: Any) -> Iterator[str]:
    if annotation is bool:
        yield from ("true", "false")
    elif get_origin(annotation) is Literal:
        yield from map(str, get_args(annotation))
    else:
        for part in get_args(annotation):
            yield from _values(part)
