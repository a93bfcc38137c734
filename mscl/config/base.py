"""What all configuration sections share."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

PositiveInt = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


def _leave_empty(schema: dict[str, Any]) -> None:
    """A form sends every value that it shows, over the preset's: so it shows none but those that were filled in."""
    for entry in schema.get("properties", {}).values():
        entry.pop("default", None)
        if entry.get("type") == "boolean":  # a switch is always on or off; a choice may stay empty
            del entry["type"]
            entry["enum"] = [True, False]


class Section(BaseModel):
    """A frozen group of settings of one component; unknown names are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, json_schema_extra=_leave_empty
    )
