"""What all configuration sections share."""

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator


def _least_first(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError(f"{limits[0]:g} is above {limits[1]:g}; give the least value first")
    return limits


PositiveInt = Annotated[int, Field(ge=1)]
NaturalInt = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
_Share = Annotated[float, Field(gt=0.0, le=1.0)]
_Ratio = Annotated[float, Field(gt=0.0)]
Shares = Annotated[tuple[_Share, _Share], AfterValidator(_least_first)]
"""Least and largest share of a whole."""
Ratios = Annotated[tuple[_Ratio, _Ratio], AfterValidator(_least_first)]
"""Least and largest ratio."""


_SURROGATE = re.compile("[\ud800-\udfff]")
"""What Python makes of a byte in a name that is no UTF-8."""


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

    before: ClassVar[Mapping[str, Any]] = {}
    """Settings that came when there were results already -> what was done before they came, which is their default."""

    overrules: ClassVar[Mapping[str, str]] = {}
    """Setting -> another one that goes back to its default where the first is set above it, and it is not."""

    @classmethod
    def done_before(cls) -> dict[str, Any]:
        """`before` of this section and of those inside it, by dotted names."""
        found = dict(cls.before)
        for name, field in cls.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
                found |= {f"{name}.{below}": value for below, value in field.annotation.done_before().items()}
        return found

    def key_values(self, *, leave_out: Collection[str] = ()) -> dict[str, Any]:
        """The plain values that a result's key is made of.

        A setting that came later is among them only where it says something new: results of before it keep their keys.

        Args:
            leave_out: settings that decide nothing.
        """
        plain = self.model_dump(mode="json", exclude=set(leave_out))
        for dotted, old in self.done_before().items():
            *sections, name = dotted.split(".")
            inner = plain
            for section in sections:
                inner = inner.get(section, {})
            if name in inner and inner[name] == old:
                del inner[name]
        return plain

    @field_validator("*", mode="before")
    @classmethod
    def _is_text(cls, value: Any) -> Any:
        """Records are UTF-8: said before everything is decoded in vain."""
        given = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(item, str) and not item.isascii() and _SURROGATE.search(item) for item in given):
            raise ValueError("this name is not UTF-8; rename the folder or file, for example with `convmv`")
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _yes_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML reads `on`, `yes` and `true` alike, and pydantic would make 1 of them where a number belongs."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        given = value if isinstance(value, list | tuple) else [value]
        if bool not in (annotation, *get_args(annotation)) and any(isinstance(item, bool) for item in given):
            raise ValueError("true and false, yes and no are no value of this setting")
        return value
