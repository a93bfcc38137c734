"""JSON files: written whole or not at all, without NaN, and what is wrong with one is said with its name."""

import json
from pathlib import Path
from typing import Any

from storage.atomic import write_atomic
from storage.errors import DamagedError, StorageError

JsonObject = dict[str, Any]


def json_bytes(content: Any) -> bytes:
    """`content` as JSON, keys in the order given; StorageError where it is not plain."""
    try:
        return json.dumps(content, indent=1, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise StorageError(f"only plain values can be JSON (no arrays, no NaN): {error}") from error


def write_json(path: Path, content: Any) -> str:
    """Write `content` as JSON in one step; returns the file's sha256."""
    return write_atomic(path, json_bytes(content))


def read_json(path: Path) -> Any:
    """Content of a JSON file; DamagedError where it is missing, or no JSON."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DamagedError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise DamagedError(f"{path} is not JSON: {error}") from error


def read_json_object(path: Path) -> JsonObject:
    """As `read_json`, and DamagedError for anything but an object."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise DamagedError(f"{path} holds a JSON {type(content).__name__}, expected an object")
    return content
