"""Settings from the command line: `section.name=value`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from mscl.addresses import check_addresses
from mscl.config.experiment import ExperimentConfig, section_of, unknown_setting
from mscl.config.yaml_files import parse_yaml, shortened
from mscl.errors import ConfigError

_YAML_STARTS = ("[", "{", '"', "'", "- ")
"""A list of names that begins so is YAML; any other is names as they are, with commas between."""


def override_tree(overrides: Sequence[str]) -> dict[str, Any]:
    """What `overrides` change, as nested plain values; the last of two for one setting counts.

    Raises:
        ConfigError: an override of another form, a setting that there is not, text that is no value.
    """
    tree: dict[str, Any] = {}
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals or not name:
            raise ConfigError(_not_of_the_form(override))
        value = _value(override, _annotation(name), text)
        *sections, last = name.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[last] = value
    return tree


def _not_of_the_form(override: str) -> str:
    """What to say where a `=` is missing: most often the folder of the videos was meant."""
    check_addresses(override, setting="data.root")  # what is shown below has no password then
    is_path = "/" in override or Path(override).is_dir()
    hint = f"; if it is the folder of the videos, write data.root={shortened(override)}" if is_path else ""
    return f"override {shortened(override)!r} is not of the form section.name=value{hint}"


def _annotation(name: str) -> Any:
    """Type of the setting with the dotted name."""
    *sections, last = name.split(".")
    model: type[BaseModel] = ExperimentConfig
    for section in sections:
        below = section_of(model, section)
        if below is None and section in model.model_fields:
            raise ConfigError(f"unknown setting {name!r}: {section!r} is a setting and has none inside it")
        if below is None:
            raise ConfigError(unknown_setting(name, section, model))
        model = below
    if last not in model.model_fields:
        raise ConfigError(unknown_setting(name, last, model))
    if below := section_of(model, last):
        raise ConfigError(f"{name!r} is a section; set one of its names: {', '.join(below.model_fields)}")
    return model.model_fields[last].annotation


def _value(override: str, annotation: Any, text: str) -> Any:
    if annotation is str:
        return text
    is_list = "tuple" in str(annotation)
    names = "tuple[str" in str(annotation)
    if str(annotation).startswith("tuple[str") and not text.lstrip().startswith(_YAML_STARTS):
        # `data.classes=Punch,PushUps` reads better than a YAML list, and shells do not eat it; `#cats` is a name here,
        # and a comment in YAML.
        return [name.strip() for name in text.split(",") if name.strip()]
    try:
        value = parse_yaml(text, names=names)
        if is_list and value in (None, ""):
            return []
        if is_list and isinstance(value, str):
            return [value] if names else [parse_yaml(item) for item in value.split(",") if item]
    except ValueError as error:
        raise ConfigError(f"override {shortened(override)!r}: {error}") from error
    return [value] if is_list and isinstance(value, int | float) else value
