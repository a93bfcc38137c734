"""The form of a run in the Prefect UI: what each parameter is called, may be and means, as the JSON schema shows it.

A form sends every value that it shows, over the preset's: so a section's fields are open and empty, an empty one keeps
the preset's value, and its help names that value for every preset that ships. Values are checked by this schema before
a run is made, and again, together, by `flows.parameters.resolve`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from mscl.config import ExperimentConfig, load_config
from mscl.config.commented_yaml import value_text
from mscl.config.experiment import section_of
from mscl.config.presets import overlay_names, preset_names, summary_of
from mscl.pipeline import PIPELINE, Stage

Schema = dict[str, Any]


@cache
def preset_schema() -> Schema:
    """A list of names, each with its line; beside it, a file or overlays."""
    lines = [f"- {name}: {summary_of(name)}" for name in preset_names()]
    overlays = f"overlays: {', '.join(overlay_names())}"
    return {
        "description": "\n\n".join(["Where all settings begin.", *lines]),
        "anyOf": [
            {"title": "preset", "type": "string", "enum": preset_names()},
            {
                "title": "YAML file, or PRESET+OVERLAY", "type": "string", "pattern": r"[+]|[.]ya?ml$",
                "description": f"A file that the worker can read, or ucf101+linear and its like; {overlays}",
            },
        ],
    }  # fmt: skip


def force_schema() -> Schema:
    """Any of the stages."""
    names = [stage.name for stage in PIPELINE]
    return {"type": "array", "uniqueItems": True, "items": {"type": "string", "enum": names}}


def until_schema() -> Schema:
    """One of the stages, or none."""
    return {"type": "string", "enum": ["", *(stage.name for stage in PIPELINE)]}


def inputs_schema(stage: Stage) -> Schema:
    """A key for each stage that this one reads."""
    key = {"type": "string", "description": "Key of a result, or its beginning; empty: the latest that fits."}
    properties = {name: key | {"title": name, "position": number} for number, name in enumerate(stage.needs)}
    return {"type": "object", "properties": properties, "additionalProperties": {"type": "string"}}


@cache
def section_schemas() -> dict[str, Schema]:
    """Name -> schema of a section, with those inside it; no default is shown."""
    definitions = ExperimentConfig.model_json_schema()["$defs"]
    presets = {name: load_config(name) for name in preset_names()}
    sections = {
        name: _section(section, definitions, {preset: getattr(config, name) for preset, config in presets.items()})
        for name in ExperimentConfig.model_fields
        if (section := section_of(ExperimentConfig, name))
    }
    runtime = sections["runtime"]["properties"]  # no lower floor knows the stages
    runtime["pools"] |= {"properties": {stage.name: {"type": "string", "title": stage.name} for stage in PIPELINE}}
    runtime["pools"]["additionalProperties"] = False
    runtime["pause_before"] |= force_schema()
    return sections


def _section(model: type[BaseModel], definitions: Mapping[str, Schema], values: Mapping[str, BaseModel]) -> Schema:
    """Args: values: preset -> its section of this model."""
    schema = definitions[model.__name__]
    properties: Schema = {}
    for position, (name, entry) in enumerate(schema["properties"].items()):
        theirs = {preset: getattr(section, name) for preset, section in values.items()}
        inner = section_of(model, name)
        shown = _section(inner, definitions, theirs) if inner else entry | {"description": _help(entry, theirs)}
        properties[name] = shown | {"title": name, "position": position}
    return {
        "type": "object", "additionalProperties": False, "properties": properties,
        "description": " ".join(schema.get("description", "").split()),
    }  # fmt: skip


def _help(entry: Schema, values: Mapping[str, Any]) -> str:
    """The setting's help, and what it is where it is left empty: "Empty: 7 (demo); 300 (ucf101)."."""
    presets: dict[str, list[str]] = {}
    for preset, value in values.items():
        text = value_text(to_jsonable_python(value)).strip("'\"")
        presets.setdefault("none" if text in ("", "[]", "{}", "null") else text, []).append(preset)
    said = " ".join(entry.get("description", "").split())
    if set(presets) == {"none"}:
        return said
    shown = [text if len(presets) == 1 else f"{text} ({', '.join(names)})" for text, names in presets.items()]
    return f"{said} Empty: {'; '.join(shown)}."
