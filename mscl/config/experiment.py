"""The whole configuration: presets, YAML files and `section.name=value` overrides."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from mscl.config.base import Section
from mscl.embedding.config import EmbedConfig
from mscl.errors import ConfigError
from mscl.extract.config import FlowConfig
from mscl.finetune.config import FinetuneConfig
from mscl.ingest.config import DataConfig
from mscl.models.config import LossConfig, ModelConfig
from mscl.motion.config import MotionConfig, ScreenConfig
from mscl.pretrain.config import AugmentConfig, PretrainConfig
from mscl.score.config import ProbeConfig, RetrieveConfig
from mscl.stage.config import RuntimeConfig
from mscl.training.config import OptimConfig
from mscl.video.config import ClipConfig, DecodeLimits

__all__ = [
    "AugmentConfig", "ClipConfig", "DataConfig", "DecodeLimits", "EmbedConfig", "ExperimentConfig",
    "FinetuneConfig", "FlowConfig", "LossConfig", "ModelConfig", "MotionConfig", "OptimConfig",
    "PretrainConfig", "ProbeConfig", "RetrieveConfig", "RuntimeConfig", "ScreenConfig",
    "build_config", "load_config", "merge_section", "preset_names", "preset_tree",
]  # fmt: skip


class ExperimentConfig(Section):
    """Every setting of a run; one section per component."""

    data: DataConfig = DataConfig()
    flow: FlowConfig = FlowConfig()
    motion: MotionConfig = MotionConfig()
    clip: ClipConfig = ClipConfig()
    screen: ScreenConfig = ScreenConfig()
    pretrain: PretrainConfig = PretrainConfig()
    embed: EmbedConfig = EmbedConfig()
    probe: ProbeConfig = ProbeConfig()
    retrieve: RetrieveConfig = RetrieveConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    runtime: RuntimeConfig = RuntimeConfig()


def preset_names() -> list[str]:
    """Names of the presets that ship with the package."""
    folder = files("mscl.config") / "presets"
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml"))


def load_config(preset_or_file: str, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """Configuration from a preset's name or a YAML file, changed by `section.name=value` overrides.

    A file may begin with `base: PRESET` and then says only what differs from it. Several joined by `+` are laid over
    one another, the last on top: `ucf101+linear` is the preset with a protocol of evaluation.

    Raises:
        ConfigError: unknown preset, unreadable file, unknown name or unfit value.
    """
    tree = _load_tree(preset_or_file)
    for override in overrides:
        _apply_override(tree, override)
    return build_config(tree, source=preset_or_file)


def preset_tree(name: str) -> dict[str, Any]:
    """The settings that a preset and its bases name, as nested plain values.

    Raises:
        ConfigError: unknown preset.
    """
    return _load_tree(name)


def build_config(tree: Mapping[str, Any], *, source: str) -> ExperimentConfig:
    """Validate nested plain values; errors name the setting, its value and what would fit."""
    try:
        return ExperimentConfig.model_validate(tree)
    except ValidationError as error:
        lines = [_explain(dict(e)) for e in error.errors()]
        raise ConfigError(f"configuration {source!r}: " + "; ".join(lines)) from error


def merge_section(base: Section, changes: BaseModel | Mapping[str, Any] | None) -> dict[str, Any]:
    """`base` as plain values, changed where `changes` was set explicitly (nested sections merge)."""
    merged = base.model_dump(mode="json")
    if isinstance(changes, BaseModel):
        changes = changes.model_dump(mode="json", exclude_unset=True)
    if changes is not None:
        _merge(merged, dict(changes))
    return merged


def _load_tree(preset_or_file: str) -> dict[str, Any]:
    if "+" in preset_or_file and not Path(preset_or_file).is_file():
        layers: dict[str, Any] = {}
        for layer in preset_or_file.split("+"):
            _merge(layers, _load_tree(layer))
        return layers
    if preset_or_file in preset_names():
        text = (files("mscl.config") / "presets" / f"{preset_or_file}.yaml").read_text()
    elif preset_or_file.endswith((".yaml", ".yml")):
        path = Path(preset_or_file)
        if not path.is_file():
            raise ConfigError(f"configuration file {path} does not exist; check the path")
        text = path.read_text()
    else:
        near = get_close_matches(preset_or_file, preset_names(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ConfigError(
            f"unknown preset {preset_or_file!r}{hint} Presets: {', '.join(preset_names())}; "
            "or give a .yaml file of your own"
        )
    try:
        tree = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"configuration file {preset_or_file} is not valid YAML: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"configuration file {preset_or_file} must hold sections, found {type(tree).__name__}")
    base = tree.pop("base", None)
    if base is None:
        return tree
    merged = _load_tree(str(base))
    _merge(merged, tree)
    return merged


def _merge(into: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for name, value in changes.items():
        if isinstance(value, Mapping) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = dict(value) if isinstance(value, Mapping) else value


def _apply_override(tree: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise ConfigError(f"override {override!r} is not of the form section.name=value")
    *sections, last = name.split(".")
    model: type[BaseModel] = ExperimentConfig
    node = tree
    for section in sections:
        annotation = model.model_fields[section].annotation if section in model.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            raise ConfigError(_unknown(name, section, model))
        model = annotation
        node = node.setdefault(section, {})
    if last not in model.model_fields:
        raise ConfigError(_unknown(name, last, model))
    annotation = model.model_fields[last].annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        raise ConfigError(f"{name!r} is a section; set one of its names: {', '.join(annotation.model_fields)}")
    if annotation is str:
        node[last] = text
        return
    # Names that look like numbers stay names: classes may be called 1, 2, 3.
    loader: Any = yaml.BaseLoader if "tuple[str" in str(annotation) else yaml.SafeLoader
    try:
        value = yaml.load(text, loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}: {text!r} is not a value: {error}") from error
    # `data.classes=Punch,PushUps` reads better than a YAML list, and shells do not eat it.
    if value is None and "tuple" in str(annotation):
        value = []  # `data.classes=`: none chosen, so all
    elif isinstance(value, str) and "tuple" in str(annotation):
        value = [yaml.load(item, loader) for item in value.split(",") if item]
    elif isinstance(value, int | float) and "tuple" in str(annotation):
        value = [value]
    node[last] = value


def _unknown(path: str, name: str, model: type[BaseModel]) -> str:
    near = get_close_matches(name, list(model.model_fields), n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown setting {path!r}: {hint}{name!r} is not one of: {', '.join(model.model_fields)}"


def _explain(error: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in error["loc"]) or "configuration"
    given = error.get("input")
    shown = f" (given {given!r})" if isinstance(given, str | int | float | bool) or given is None else ""
    return f"{where}: {error['msg'].removeprefix('Value error, ')}{shown}"
