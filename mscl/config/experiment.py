"""The whole configuration, joined from the sections that the rooms own."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from mscl.config.base import Section
from mscl.config.yaml_files import shortened
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
    "build_config", "merge_section",
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


def build_config(tree: Mapping[str, Any], *, source: str) -> ExperimentConfig:
    """Validate nested plain values; what they leave out has its default, in sections inside sections, too.

    Raises:
        ConfigError: names the setting, its value and what would fit.
    """
    whole = ExperimentConfig().model_dump(mode="json")
    merge(whole, tree)
    try:
        return ExperimentConfig.model_validate(whole)
    except ValidationError as error:
        lines = [_explain(dict(e)) for e in error.errors()]
        raise ConfigError(f"configuration {source!r}: " + "; ".join(lines)) from error


def merge(into: dict[str, Any], changes: Mapping[str, Any], model: type[BaseModel] = ExperimentConfig) -> None:
    """Lay `changes` over the nested plain values `into`, which are those of `model`.

    What a changed setting overrules (`Section.overrules`) an earlier layer has asked for in vain. A setting that is a
    mapping itself (`runtime.pools`, `probe.superclasses`) is a value as a list is one: the new one takes its place.
    """
    overrules = model.overrules if issubclass(model, Section) else {}
    for name, overruled in overrules.items():
        if name in changes and overruled not in changes:
            into.pop(overruled, None)
    for name, value in changes.items():
        section = section_of(model, name)
        if isinstance(value, Mapping) and section is not None:
            below = into.get(name)
            into[name] = below = dict(below) if isinstance(below, Mapping) else {}
            merge(below, value, section)
        else:
            into[name] = value


def merge_section(base: Section, changes: BaseModel | Mapping[str, Any] | None) -> dict[str, Any]:
    """`base` as plain values, changed where `changes` was set explicitly (nested sections merge)."""
    merged = base.model_dump(mode="json")
    if isinstance(changes, BaseModel):
        changes = changes.model_dump(mode="json", exclude_unset=True)
    if changes is not None:
        merge(merged, changes, type(base))
    return merged


def section_of(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    """The section that `name` is in `model`; None where it is a setting or nothing."""
    annotation = model.model_fields[name].annotation if name in model.model_fields else None
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def unknown_setting(path: str, name: str, model: type[BaseModel]) -> str:
    """What is said of `name`, the part of `path` that `model` does not have.

    Meant may be a name like it beside it, else a setting that is called so in another section.
    """
    if "." in name and setting_named(path):
        nested = f"{path.replace('.', ': {')}: ...{'}' * path.count('.')}"
        return f"unknown setting {path!r}: a file nests its sections; write {nested}"
    parts = path.split(".")
    folded = {field.casefold(): field for field in model.model_fields}
    near = get_close_matches(name.casefold(), list(folded), n=1)
    meant = [".".join(folded[near[0]] if part == name else part for part in parts)] if near else []
    if not meant:
        meant = [dotted for dotted in names_in(ExperimentConfig) if dotted.rpartition(".")[2] == name.casefold()]
    hint = f"did you mean {' or '.join(map(repr, meant))}? " if meant else ""
    return f"unknown setting {path!r}: {hint}{name!r} is not one of: {', '.join(model.model_fields)}"


def names_in(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The dotted names of all settings in `model`."""
    for name in model.model_fields:
        if below := section_of(model, name):
            yield from names_in(below, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def setting_named(dotted: str) -> FieldInfo | None:
    """The field of a setting; None for a section, and for what there is not."""
    *sections, last = dotted.split(".")
    model: type[BaseModel] | None = ExperimentConfig
    for section in sections:
        model = section_of(model, section) if model else None
    return model.model_fields.get(last) if model and not section_of(model, last) else None


def _explain(error: dict[str, Any]) -> str:
    parts = [str(part) for part in error["loc"]]
    where = ".".join(parts) or "configuration"
    if error["type"] == "extra_forbidden":
        model: type[BaseModel] = ExperimentConfig
        for part in parts[:-1]:
            model = section_of(model, part) or model
        return unknown_setting(where, parts[-1], model)
    given = error.get("input")
    shown = f" (given {shortened(repr(given))})" if isinstance(given, str | int | float | bool) or given is None else ""
    return f"{where}: {error['msg'].removeprefix('Value error, ')}{shown}"
