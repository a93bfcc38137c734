"""The record of a finished stage: what was computed, from what, by what, and every file it left."""

from __future__ import annotations

import json
import platform
import socket
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from storage.errors import UnreadableError
from storage.shards import crc32c

RECORD_NAME = "record.json"
_PACKAGES = (
    "mscl-pipeline",
    "torch",
    "torchvision",
    "numpy",
    "opencv-contrib-python",
    "av",
    "zarr",
    "prefect",
)


class OutputFile(BaseModel):
    """One file of a result; `path` is relative to the result's folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    size: int
    digest: str
    """sha256, hexadecimal."""


class Record(BaseModel):
    """Written last and atomically; a result without a valid record is not done."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    key: str
    version: int
    """Version of the stage's code: raised when its results change."""
    config: dict[str, Any]
    inputs: dict[str, str]
    """Stage name -> key of the result that was read."""
    contents: dict[str, str] = {}
    """Stage name -> `content_of` the result that was read. Empty in old records."""
    files: tuple[OutputFile, ...]
    metrics: dict[str, Any]
    timings: dict[str, float]
    """Seconds."""
    created_at: datetime
    host: str
    versions: dict[str, str]
    checksum: str = ""
    """crc32c of all the above, hexadecimal: a flipped bit of a score must not go unseen. Empty in old records."""

    @property
    def size(self) -> int:
        """Bytes of all output files."""
        return sum(file.size for file in self.files)


def sealed(record: Record) -> Record:
    """The record with its checksum."""
    plain = record.model_copy(update={"checksum": ""})
    later = None if record.contents else {"contents"}  # old records were sealed without it
    return plain.model_copy(update={"checksum": f"{crc32c(plain.model_dump_json(exclude=later).encode()):08x}"})


def content_of(record: Record) -> str:
    """16 hexadecimal digits of all files' digests. A result that is computed again under its key may differ."""
    return sha256(canonical_json([[file.path, file.digest] for file in record.files]).encode()).hexdigest()[:16]


def changed_since(record: Record, inputs: Mapping[str, Record]) -> list[str]:
    """Inputs whose files are others now than when the result was made from them."""
    return [name for name, read in inputs.items() if record.contents.get(name) not in (None, content_of(read))]


def result_key(stage: str, stage_version: int, config: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """16 hexadecimal digits that name a result: same stage, version, settings and inputs, same key."""
    parts = {
        "stage": stage,
        "version": stage_version,
        "config": config,
        "inputs": dict(inputs),
    }
    return sha256(canonical_json(parts).encode()).hexdigest()[:16]


def short_key(key: str) -> str:
    """Its first 8 digits, which people are shown: as many as every command needs to know a result by."""
    return key[:8]


def canonical_json(value: Any) -> str:
    """JSON with sorted names and no spaces; refuses NaN and what is not JSON."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def read_record(folder: Path) -> Record | None:
    """The record in `folder`, or None where there is none, or a single bit of it has changed.

    Raises:
        UnreadableError: it is there, and the user may not read it.
    """
    try:
        record = Record.model_validate_json((folder / RECORD_NAME).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValidationError):
        return None
    except OSError as error:
        raise UnreadableError(f"cannot read {folder / RECORD_NAME}: {error.strerror}; ask its owner") from error
    return record if record.checksum in ("", sealed(record).checksum) else None


def missing_files(folder: Path, record: Record) -> list[str]:
    """Files of the record that are absent or have another size; contents are `mscl verify`'s business."""
    return [file.path for file in record.files if not _has_size(folder / file.path, file.size)]


def provenance() -> dict[str, Any]:
    """`created_at`, `host` and `versions` of a record made now, here."""
    versions = {"python": platform.python_version(), "platform": sys.platform}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "created_at": datetime.now(UTC),
        "host": socket.gethostname(),
        "versions": versions,
    }


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except PermissionError as error:
        raise UnreadableError(f"cannot look at {path}: {error.strerror}; ask its owner") from error
    except OSError:
        return False
