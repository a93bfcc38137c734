"""Every setting with its help, what it may be, and its default: for people, and as a JSON schema for editors."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from mscl.config.base import Section
from mscl.config.experiment import ExperimentConfig, section_of


@dataclass(frozen=True)
class Setting:
    """One setting of a section."""

    name: str
    help: str
    """May hold Markdown."""
    values: str
    """What it may be, "whole number from 1" or "sgd | adamw"; empty: any text."""
    value: Any
    """As a plain JSON value."""


def settings_of(section: BaseModel) -> list[Setting]:
    """A section's own settings, with the values of `section` as defaults; not those of sections inside it."""
    model = type(section)
    return [
        Setting(
            name,
            " ".join((field.description or "").split()),
            _values(field.annotation, field.metadata),
            to_jsonable_python(getattr(section, name)),
        )
        for name, field in model.model_fields.items()
        if section_of(model, name) is None
    ]


def sections_of(section: BaseModel) -> dict[str, Section]:
    """Name -> section, of the sections inside `section`."""
    model = type(section)
    return {name: getattr(section, name) for name in model.model_fields if section_of(model, name) is not None}


def help_of(section: BaseModel) -> str:
    """What a section is about."""
    return " ".join((type(section).__doc__ or "").split())


def json_schema() -> dict[str, Any]:
    """JSON schema of a configuration file, for editors that complete and check YAML.

    Unlike the schema of the Prefect forms, which must not send what nobody filled in, it has every default.
    """
    schema = ExperimentConfig.model_json_schema()
    entries = {"ExperimentConfig": schema, **schema["$defs"]}

    def fill(model: type[BaseModel]) -> None:
        for name, field in model.model_fields.items():
            entry = entries[model.__name__]["properties"][name]
            entry["default"] = to_jsonable_python(field.default)
            if field.annotation is bool:
                del entry["enum"]
                entry["type"] = "boolean"
            if below := section_of(model, name):
                fill(below)

    fill(ExperimentConfig)
    base = {
        "type": "string",
        "description": "Preset, PRESET+OVERLAY or YAML file that this one differs from.",
    }
    schema["properties"] = {"base": base} | schema["properties"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "MSCL Pipeline configuration"}


def _values(annotation: Any, bounds: Sequence[Any] = ()) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        constraints = [c for info in arguments[1:] for c in getattr(info, "metadata", ())]
        return _values(arguments[0], constraints)
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (Union, UnionType):
        return " | ".join("null" if each is type(None) else _values(each, bounds) for each in arguments)
    if origin is dict:
        return "name: value"
    if origin is tuple:
        count = "" if arguments[-1] is Ellipsis else f"{len(arguments)} "
        return f"list of {count}" + (_values(arguments[0]).replace("number", "numbers") or "names")
    if annotation is bool:
        return "true | false"
    if annotation is str:
        return ""
    return ("whole number" if annotation is int else "number") + _range(bounds)


def _range(bounds: Sequence[Any]) -> str:
    least = next((c.ge for c in bounds if isinstance(c, Ge)), None)
    above = next((c.gt for c in bounds if isinstance(c, Gt)), None)
    most = next((c.le for c in bounds if isinstance(c, Le)), None)
    below = next((c.lt for c in bounds if isinstance(c, Lt)), None)
    low = f" from {least:g}" if least is not None else f" above {above:g}" if above is not None else ""
    return low + (f" to {most:g}" if most is not None else f" to below {below:g}" if below is not None else "")
