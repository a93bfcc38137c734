"""Nested settings and metrics by the joined names of their leaves."""

from collections.abc import Mapping
from typing import Any


def joined(tree: Mapping[str, Any], prefix: str = "", *, between: str = ".") -> dict[str, Any]:
    """`{"a.b": 1}` of `{"a": {"b": 1}}`; a mapping without anything in it leaves nothing."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found |= joined(value, f"{prefix}{name}{between}", between=between)
        else:
            found[f"{prefix}{name}"] = value
    return found
