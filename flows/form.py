"""The form of a run in the Prefect UI: what each parameter is called, may be and means, as the JSON schema shows it.

A form sends every value that it shows, over the preset's: so a section is folded until somebody changes it, its fields
are empty then, an empty one keeps the preset's value, and its help names that value for every preset that ships. Values
are checked by this schema before a run is made, and again, together, by `flows.parameters.resolve`.
"""

from __future__ import annotations

import json
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
AS_PRESET = "all as the preset has it"
"""What a folded section shows and sends."""
_AT_THE_TOP = {"data": ("root", "annotations")}
"""Settings that are parameters of their own: a form asks for them once."""


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


def place_schema() -> Schema:
    """A path or an address, without what would be a user, a password or a query: parameters of runs are kept."""
    return {"type": "string", "pattern": r"^(?!.*://([^/,]*@|[^/,]*:[^/,0-9]|[^,]*[?]))"}


def inputs_schema(stage: Stage) -> Schema:
    """A key for each stage that this one reads."""
    key = {"type": "string", "description": "Key of a result, or its beginning; empty: the latest that fits."}
    properties = {name: key | {"title": name, "position": number} for number, name in enumerate(stage.needs)}
    return {"type": "object", "properties": properties, "additionalProperties": {"type": "string"}}


@cache
def section_schemas() -> dict[str, Schema]:
    """Name -> schema of a section, with those inside it; no setting shows a default."""
    definitions = ExperimentConfig.model_json_schema()["$defs"]
    presets = {name: load_config(name) for name in preset_names()}
    sections: dict[str, Schema] = {
        name: _section(section, definitions, {preset: getattr(config, name) for preset, config in presets.items()})
        for name in ExperimentConfig.model_fields
        if (section := section_of(ExperimentConfig, name))
    }
    runtime = sections["runtime"]["properties"]  # no lower floor knows the stages
    runtime["pools"] |= {"properties": {stage.name: {"type": "string", "title": stage.name} for stage in PIPELINE}}
    runtime["pools"]["additionalProperties"] = False
    runtime["pause_before"] |= force_schema()
    for name, settings in _AT_THE_TOP.items():
        for setting in settings:
            del sections[name]["properties"][setting]
    return {name: _folded(section) for name, section in sections.items()}


def _folded(section: Schema) -> Schema:
    """Two tabs, the first of which has no fields.

    What is checked stands beside the tabs, so that what is refused is named by the setting and not by its section; the
    tabs name the settings by which the UI finds the one that a run's values belong to.
    """
    names: Schema = {name: {} for name in section["properties"]}
    rules = {name: rule for name, rule in section.items() if name != "type"}
    return rules | {
        "default": AS_PRESET,
        "anyOf": [
            {"title": "from the preset", "type": "string", "enum": [AS_PRESET]},
            {"title": "change", "type": "object", "properties": names},
        ],
    }


def _section(model: type[BaseModel], definitions: Mapping[str, Schema], values: Mapping[str, BaseModel]) -> Schema:
    """Args: values: preset -> its section of this model."""
    schema = definitions[model.__name__]
    properties: Schema = {}
    for position, (name, entry) in enumerate(schema["properties"].items()):
        theirs = {preset: getattr(section, name) for preset, section in values.items()}
        inner = section_of(model, name)
        shown = _section(inner, definitions, theirs) if inner else _setting(entry, theirs)
        properties[name] = shown | {"title": name, "position": position}
    return {
        "type": "object", "additionalProperties": False, "properties": properties,
        "description": " ".join(schema.get("description", "").split()),
    }  # fmt: skip


def _setting(entry: Schema, values: Mapping[str, Any]) -> Schema:
    """None has no tab of its own where it is what every preset has, and an empty field says it."""
    schema = entry | {"description": _help(entry, values)}
    others = [one for one in entry.get("anyOf", ()) if one != {"type": "null"}]
    if len(others) == 1 and set(values.values()) == {None}:
        del schema["anyOf"]
        schema |= others[0]
    return schema


@cache  # presets differ little, and YAML is slow
def _value_text(value: str) -> str:
    return value_text(json.loads(value)).strip("'\"")


def _help(entry: Schema, values: Mapping[str, Any]) -> str:
    """The setting's help, and what it is where it is left empty: "Empty: 7 (demo); 300 (ucf101)."."""
    presets: dict[str, list[str]] = {}
    for preset, value in values.items():
        text = _value_text(json.dumps(to_jsonable_python(value)))
        presets.setdefault("none" if text in ("", "[]", "{}", "null") else text, []).append(preset)
    said = " ".join(entry.get("description", "").split())
    if set(presets) == {"none"}:
        return said
    shown = [text if len(presets) == 1 else f"{text} ({', '.join(names)})" for text, names in presets.items()]
    return f"{said} Empty: {'; '.join(shown)}."
