"""Folders of empty files under videos' names, and reading the lists beside them."""

from pathlib import Path
from typing import Any

from mscl.config import DataConfig
from mscl.ingest.annotations import Annotations, read_annotations


def touch(root: Path, *videos: str) -> Path:
    for video in videos:
        (root / video).parent.mkdir(parents=True, exist_ok=True)
        (root / video).touch()
    return root


def read(root: Path, **settings: Any) -> Annotations:
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()}
    return read_annotations(DataConfig(root=str(root), **plain))
