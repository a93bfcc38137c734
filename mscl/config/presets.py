"""Presets and overlays: the settings that a name, a YAML file, or several of them joined by `+` stand for."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mscl.config.experiment import ExperimentConfig, build_config, merge
from mscl.config.overrides import override_tree
from mscl.config.yaml_files import read_yaml, shortened
from mscl.errors import ConfigError
from storage.user_paths import user_path

_PRESETS = Path(__file__).parent / "presets"
_OVERLAYS = _PRESETS / "overlays"
_MAX_BASES = 20


def load_config(preset: str, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """Configuration from a preset's name or a YAML file, changed by `section.name=value` overrides.

    A file may begin with `base: PRESET` and then says only what differs from it; a YAML file named there is looked for
    beside it. After a `+` come overlays, which change what they say and nothing else, the last on top:
    `ucf101+mscl-no-fra`, `ucf101+linear+retrieval`.

    Raises:
        ConfigError: unknown preset or overlay, unreadable file, unknown setting or unfit value.
    """
    tree = _preset_tree(preset, above=())
    merge(tree, override_tree(overrides))
    return build_config(tree, source=preset)


def preset_names() -> list[str]:
    """Names of the presets that ship."""
    return _names(_PRESETS)


def overlay_names() -> list[str]:
    """Names of the overlays that ship: protocols of evaluation and variants of the method."""
    return _names(_OVERLAYS)


def summary_of(name: str) -> str:
    """What a shipped preset or overlay is for, or changes: the first line of its file."""
    folder = _PRESETS if name in preset_names() else _OVERLAYS
    return (folder / f"{name}.yaml").read_text().partition("\n")[0].removeprefix("#").strip()


def overlay_tree(overlay: str) -> dict[str, Any]:
    """The settings that an overlay changes, as nested plain values.

    Raises:
        ConfigError: no overlay of that name; a file with a base of its own.
    """
    path = _OVERLAYS / f"{overlay}.yaml"
    if is_file_name(overlay):
        path = user_path(overlay)
    elif overlay in preset_names():
        raise ConfigError(
            f"{overlay!r} is a preset of its own and cannot follow a '+'; overlays: {', '.join(overlay_names())}"
        )
    elif overlay not in overlay_names():
        raise ConfigError(_unknown("overlay", overlay, overlay_names()))
    tree = read_yaml(path)
    if "base" in tree:
        raise ConfigError(
            f"{overlay} has a base of its own ({tree['base']}) and cannot follow a '+': it would bring in all settings "
            "of that base; take the line `base:` out, or use the file alone"
        )
    return tree


def layers_of(preset: str, *, beside: Path = Path()) -> list[str]:
    """`["ucf101", "linear"]` of `ucf101+linear`. A file's own path, relative to `beside`, may hold a `+`."""
    parts, layers = preset.split("+"), []
    while parts:
        names = filter(is_file_name, ("+".join(parts[:count]) for count in range(len(parts), 1, -1)))
        layers.append(next((name for name in names if (beside / user_path(name)).is_file()), parts[0]))
        parts = parts[layers[-1].count("+") + 1 :]
    return layers


def base_of(preset: str) -> str | None:
    """What `preset` says only differences from: the preset before the first `+`, or a file's `base`."""
    first, *overlays = layers_of(preset)
    return first if overlays else _base_in(_read_preset(first), first)


def _base_in(tree: dict[str, Any], preset: str) -> str | None:
    """What `tree`, the content of `preset`, names as its base: YAML files by their full name."""
    base = tree.get("base")
    if base is None:
        return None
    if not isinstance(base, str):
        raise ConfigError(
            f"preset {preset}: `base` must be the name of a preset or of a YAML file, found {shortened(repr(base))}"
        )
    folder = user_path(preset).resolve().parent if is_file_name(preset) else Path()
    layers = layers_of(base, beside=folder)
    return "+".join(str((folder / user_path(name)).resolve()) if is_file_name(name) else name for name in layers)


def _preset_tree(preset: str, *, above: tuple[str, ...]) -> dict[str, Any]:
    """The settings that a preset, its bases and the overlays after it name; `above` are the presets it is a base of."""
    first, *overlays = layers_of(preset)
    if is_file_name(first):
        first = str(user_path(first).resolve())
    if first in above:
        raise ConfigError(f"preset {first} is its own base: {' -> '.join((*above, first))}; change one `base:`")
    if len(above) > _MAX_BASES:
        raise ConfigError(f"preset {above[0]} stands on more than {_MAX_BASES} others, one on the other; join some")
    try:
        tree = _read_preset(first)
    except ConfigError as error:
        raise ConfigError(f"base of {above[-1]}: {error}" if above else str(error)) from error
    base = _base_in(tree, first)
    tree.pop("base", None)
    if base is not None:
        changes, tree = tree, _preset_tree(base, above=(*above, first))
        merge(tree, changes)
    changes_of = {overlay: overlay_tree(overlay) for overlay in overlays}
    _refuse_contradictions(preset, changes_of)
    for changes in changes_of.values():
        merge(tree, changes)
    return tree


def _refuse_contradictions(preset: str, changes_of: Mapping[str, Mapping[str, Any]]) -> None:
    """Of two protocols that say how one stage scores the first would be lost, whole."""
    names: dict[str, str] = {}
    fine_tunes = ""
    for overlay, changes in changes_of.items():
        for section, values in changes.items():
            if not isinstance(values, Mapping):
                continue
            if (protocol := values.get("protocol")) and names.setdefault(section, overlay) != overlay:
                raise ConfigError(
                    f"{preset}: {names[section]} and {overlay} ({protocol}) both say how {section} scores; take one of "
                    "them, and a run for each"
                )
            if section == "finetune" and values.get("enabled"):
                fine_tunes = overlay
            if section == "finetune" and values.get("enabled") is False and fine_tunes:
                raise ConfigError(
                    f"{preset}: {overlay} turns off the fine-tuning that {fine_tunes} asks for; write "
                    f"+{overlay}+{fine_tunes}, the last on top"
                )


def _read_preset(name: str) -> dict[str, Any]:
    if is_file_name(name):
        return read_yaml(user_path(name))
    if name in preset_names():
        return read_yaml(_PRESETS / f"{name}.yaml")
    if name in overlay_names():
        raise ConfigError(f"{name!r} is an overlay, which changes a preset: PRESET+{name}, for example ucf101+{name}")
    raise ConfigError(_unknown("preset", name, preset_names()))


def is_file_name(name: str) -> bool:
    """Whether a preset or overlay is a YAML file of the user's."""
    return name.endswith((".yaml", ".yml"))


def _unknown(kind: str, name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown {kind} {name!r}{hint} {kind.capitalize()}s: {', '.join(known)}; or give a .yaml file of your own"


def _names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.yaml"))
