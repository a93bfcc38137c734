"""Parameters of the flows: one per section of the configuration, over a preset."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar, cast

from pydantic import BaseModel, WithJsonSchema

from flows.form import AS_PRESET, Schema, preset_schema, section_schemas
from flows.runners import spread_for
from mscl.addresses import check_addresses
from mscl.config import ExperimentConfig, build_config, load_config, merge_section
from mscl.config.experiment import unknown_setting
from mscl.errors import ConfigError
from mscl.pipeline import stage_named

P = ParamSpec("P")
T = TypeVar("T")
_WHERE = {"data_root": "root", "annotations": "annotations"}
"""Settings of `data` that have a parameter of their own: in a form at the top, at the command line without JSON."""


def with_sections(**shown: Schema) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """`run(..., **sections)` gets a signature that names every section: of it Prefect makes a form and a check.

    A section that is added to `ExperimentConfig` is a parameter of all flows without more.

    Args:
        shown: parameter -> how the form shows it, where its type does not say it.
    """

    def name_them(run: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(run, eval_str=True)
        schemas = {"preset": preset_schema(), **section_schemas(), **shown}
        own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        sections = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in section_schemas()]
        named = [_shown(one, schemas[one.name]) if one.name in schemas else one for one in (*own, *sections)]
        # What it returns is left out: a flow goes to the workers of Ray and Dask pickled, and `State[Outcome]` cannot.
        cast("Any", run).__signature__ = signature.replace(parameters=named, return_annotation=inspect.Signature.empty)
        return run

    return name_them


def _shown(parameter: inspect.Parameter, schema: Schema) -> inspect.Parameter:
    """As the form shows it; a form has no None, and what is sent for a list that nobody filled in is an empty one."""
    empty = schema.get("default", {"array": [], "object": {}}.get(schema.get("type", ""), parameter.default))
    return parameter.replace(annotation=Annotated[Any, WithJsonSchema(schema)], default=empty)


def resolve(
    preset: str, sections: Mapping[str, Any], *, data_root: str = "", annotations: str = ""
) -> ExperimentConfig:
    """The preset's configuration, changed where a section sets a name; names left out keep the preset's value.

    Whether values fit together is asked of the whole, so the flows leave it to this function: by itself a section
    would be held against the values that it leaves out, which are the preset's and not the class's.

    Args:
        sections: name -> section, or plain values as a deployment's run has them.
        data_root: `data.root`, where it is given.
        annotations: `data.annotations`, where it is given.

    Raises:
        ConfigError: a setting that cannot be, or one that is given twice with two values.
    """
    config = load_config(preset)
    for name, section in sections.items():
        if name not in ExperimentConfig.model_fields:
            raise ConfigError(unknown_setting(name, name, ExperimentConfig))
        if not (section is None or section == AS_PRESET or isinstance(section, BaseModel | Mapping)):
            raise ConfigError(f"{name} is {section!r}; give its settings by name, or leave it out")
    changes = {name: None if section == AS_PRESET else section for name, section in sections.items()}
    tree = {name: merge_section(getattr(config, name), changes.get(name)) for name in ExperimentConfig.model_fields}
    for parameter, value in {"data_root": data_root, "annotations": annotations}.items():
        setting = _WHERE[parameter]
        other = tree["data"][setting]
        check_addresses(value, setting=parameter)
        check_addresses(other, setting=f"data.{setting}")
        if value and other != getattr(config.data, setting) and Path(other) != Path(value):
            raise ConfigError(f"{parameter} is {value!r} and data.{setting} is {other!r}; give one of them")
        tree["data"][setting] = value or other
    changed = build_config(tree, source=f"{preset} with the run's parameters")
    for name in (*changed.runtime.pools, *changed.runtime.pause_before):
        stage_named(name)
    spread_for(changed.runtime)  # refuses what is not installed, before anything runs
    return changed
