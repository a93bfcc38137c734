"""Folders of empty files under videos' names, and reading the lists beside them."""

from pathlib import Path
from typing import Any

from mscl.config import DataConfig
from mscl.ingest.annotations import Annotations, read_annotations

Table = dict[str, tuple[str | None, str]]
"""Video -> its class and split."""


def table(found: Annotations) -> Table:
    return {sample.video: (sample.class_name, sample.split) for sample in found.samples}


def touch(root: Path, *videos: str) -> Path:
    for video in videos:
        (root / video).parent.mkdir(parents=True, exist_ok=True)
        (root / video).touch()
    return root


def read(root: Path, **settings: Any) -> Annotations:
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()}
    return read_annotations(DataConfig(root=str(root), **plain))


def read_text(tmp_path: Path, text: str | bytes, *videos: str, name: str = "train.csv") -> Annotations:
    """A list of that text, beside a folder of those videos."""
    root = touch(tmp_path / "v", *videos)
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(root, annotations=tmp_path / name)
