"""Variants of an ablation: named changes to a base configuration."""

from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from mscl.config.experiment import ExperimentConfig, build_config
from mscl.errors import ConfigError


@cache
def _variants() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load((files("mscl.config") / "variants.yaml").read_text())
    return found


def variant_names() -> dict[str, str]:
    """Name -> what is different, in the order of the file."""
    return {name: variant["summary"] for name, variant in _variants().items()}


def variant_of(base: ExperimentConfig, name: str) -> ExperimentConfig:
    """`base` with the changes of variant `name`.

    Raises:
        ConfigError: no such variant.
    """
    if name not in _variants():
        raise ConfigError(f"unknown variant {name!r}; variants: {', '.join(_variants())}")
    changes = {section: value for section, value in _variants()[name].items() if section != "summary"}
    return build_config(_changed(base.model_dump(mode="json"), changes), source=f"variant {name}")


def _changed(tree: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return tree | {
        name: _changed(tree[name], value) if isinstance(value, dict) else value for name, value in changes.items()
    }
