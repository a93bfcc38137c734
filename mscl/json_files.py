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
