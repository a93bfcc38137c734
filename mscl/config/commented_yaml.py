"""A configuration as YAML with its help as comments: to be read, and to be saved as a preset of one's own."""

import textwrap
from typing import Any

import yaml
from pydantic import BaseModel

from mscl.config.base import Section
from mscl.config.describe import help_of, sections_of, settings_of

_WIDTH = 100


def commented_yaml(config: BaseModel, *, base: BaseModel | None = None) -> str:
    """Every setting of `config` with what it does and may be; with `base` only those that differ from it."""
    return "".join(f"{line}\n" for line in _lines(config, base, "")).lstrip("\n")


def _lines(section: BaseModel, base: BaseModel | None, indent: str) -> list[str]:
    lines = []
    settings = settings_of(section)
    if base is not None:
        differing = {ours.name for ours, theirs in zip(settings, settings_of(base), strict=True) if ours != theirs}
        # Read back, a setting that differs would set aside what it overrules.
        overrules = section.overrules if isinstance(section, Section) else {}
        said = {overruled for name, overruled in overrules.items() if name in differing}
        settings = [s for s in settings if s.name in differing or (s.name in said and s.value)]
    for setting in settings:
        values = f" [{setting.values}]" if setting.values else ""
        lines += _comment(setting.help + values, indent)
        lines.append(f"{indent}{setting.name}: {value_text(setting.value)}")
    inside = sections_of(base) if base is not None else {}
    for name, below in sections_of(section).items():
        if block := _lines(below, inside.get(name), f"{indent}  "):
            lines += ["", *_comment(help_of(below), indent), f"{indent}{name}:", *block]
    return lines


def _comment(text: str, indent: str) -> list[str]:
    start = f"{indent}# "
    return textwrap.wrap(
        text, _WIDTH, initial_indent=start, subsequent_indent=start, break_long_words=False, break_on_hyphens=False
    )


def value_text(value: Any) -> str:
    """A plain value as YAML on one line."""
    quote = '"' if isinstance(value, str) and not value.isprintable() else None  # writes line breaks as escapes
    text = yaml.safe_dump(value, default_flow_style=True, default_style=quote, allow_unicode=True, width=1 << 20)
    return text.removesuffix("...\n").rstrip()  # the mark after a bare scalar
