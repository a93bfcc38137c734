"""Results as JSON: atomic, finite, readable by any tool."""

import json
from pathlib import Path
from typing import Any

from storage.atomic import write_atomic


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON in one step; refuses NaN, which is no JSON."""
    write_atomic(path, json.dumps(value, indent=1, allow_nan=False).encode())


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_bytes())


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Objects of a file of JSON lines, up to a line that a kill has torn off."""
    rows = []
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            break
        if isinstance(row, dict):
            rows.append(row)
    return rows
